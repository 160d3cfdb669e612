"""The catalogue: from an event's category, search and product name to subjects, their labels, and declared journeys.

With no catalogue every category is its own subject, and journeys are only learned.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Any, Final

from intents.name_words import words_of
from intents.subjects import Names, subject_hash

MAX_SUBJECTS: Final = 8
"""Most subjects that one event maps to; further matches are left out, in the catalogue's order."""
MOST_NAMES: Final = 200_000
"""Distinct product names whose rules are remembered; at more of them remembering begins anew."""


class CatalogueError(Exception):
    """A mistake in a catalogue, with its line: correct it and start again."""


@dataclass(frozen=True, slots=True)
class Journey:
    """A declared journey: subjects that customers want one after another."""

    name: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    intent: str
    label: str
    category: re.Pattern[str] | None
    queries: tuple[frozenset[str], ...]
    product_names: tuple[frozenset[str], ...]

    def names_product(self, words: frozenset[str]) -> bool:
        """Whether a product whose name has these words is the rule's."""
        return any(wanted <= words for wanted in self.product_names)


@dataclass(slots=True)
class Catalogue:
    """Rules from events to subjects; `names` and `labels` grow with the categories that are seen."""

    rules: tuple[_Rule, ...] = ()
    journeys: tuple[Journey, ...] = ()
    names: Names = field(default_factory=Names)
    labels: dict[str, str] = field(default_factory=dict)
    _by_name: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def reads_names(self) -> bool:
        """Whether any rule is about products' names; if not, subjects do not depend on them."""
        return any(rule.product_names for rule in self.rules)

    @staticmethod
    def load(path: Path) -> "Catalogue":
        """Read a TOML catalogue; raises CatalogueError naming the line of a mistake."""
        try:
            return Catalogue.parse(path.read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise CatalogueError(f"{path}: not UTF-8 text: {error}") from error

    @staticmethod
    def parse(text: str, source: str = "catalogue") -> "Catalogue":
        """Build a catalogue from TOML text; `source` names it in errors."""
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or what tomllib passes on
            raise CatalogueError(f"{source}: {error}") from error
        where = _Lines(text, source)
        for name, table in tables.items():
            if name not in ("intent", "journey") or not isinstance(table, dict):
                raise CatalogueError(where.say(name, f"[{name}] is neither [intent.NAME] nor [journey.NAME]"))
        rules = tuple(_rule(key, table, where) for key, table in tables.get("intent", {}).items())
        known = {rule.intent for rule in rules}
        journeys = tuple(_journey(key, table, known, where) for key, table in tables.get("journey", {}).items())
        catalogue = Catalogue(rules, journeys, labels={rule.intent: rule.label for rule in rules})
        for rule in rules:
            catalogue.names.learn(subject_hash(rule.intent), rule.intent)
        return catalogue

    def subjects(self, category: str | None, query: str | None, name: str | None = None) -> tuple[int, ...]:
        """Subjects of an event: every rule that its category, search or product name matches, else its category."""
        words = set(query.lower().split()) if query else set()
        named = self._named(name) if name else frozenset()
        matched = [
            rule.intent
            for rule in self.rules
            if (category and rule.category and rule.category.match(category))
            or any(q <= words for q in rule.queries)
            or rule.intent in named
        ]
        if not matched and category:
            matched = [category]
        found = tuple(subject_hash(name) for name in matched[:MAX_SUBJECTS])
        for subject, name in zip(found, matched, strict=False):
            self.names.learn(subject, name)
        return found

    def _named(self, name: str) -> frozenset[str]:
        """Intents whose rules a product name matches: found once for each name, and remembered."""
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= MOST_NAMES:
                self._by_name.clear()
            words = frozenset(words_of(name))
            found = frozenset(rule.intent for rule in self.rules if rule.names_product(words))
            self._by_name[name] = found
        return found

    def label(self, intent: str) -> str:
        """What people call an intent; its own name where the catalogue has no label."""
        return self.labels.get(intent, intent)

    def stage(self, intent: str) -> tuple[Journey, int] | None:
        """The first declared journey with `intent` as a stage, and the stage's index; None if there is none."""
        for journey in self.journeys:
            if intent in journey.stages:
                return journey, journey.stages.index(intent)
        return None

    def steps(self) -> list[tuple[int, int]]:
        """Declared transitions (from, to) as subjects, in the catalogue's order."""
        return [
            (subject_hash(a), subject_hash(b))
            for journey in self.journeys
            for a, b in zip(journey.stages, journey.stages[1:], strict=False)
        ]

    def idle_rules(self, categories: Iterable[str], queries: Iterable[str], names: Iterable[str] = ()) -> list[str]:
        """Names of rules that catch nothing among `categories`, `queries` and product `names`: likely mistakes."""
        seen_names = [frozenset(words_of(name)) for name in set(names)]
        seen_categories, seen_queries = set(categories), [set(q.lower().split()) for q in queries]
        return [
            rule.intent
            for rule in self.rules
            if not any(rule.category and rule.category.match(c) for c in seen_categories)
            and not any(words <= q for words in rule.queries for q in seen_queries)
            and not any(map(rule.names_product, seen_names))
        ]


class _Lines:
    """Where a table begins in a catalogue's text."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.lines = text.splitlines()

    def say(self, table: str, message: str) -> str:
        """`message` with the source and line of `table`."""
        parts = r"\s*\.\s*".join(rf"[\"']?{re.escape(part)}[\"']?" for part in table.split(".", 1))
        pattern = re.compile(rf"\s*\[*\s*{parts}\s*[\].=]")
        number = next((i for i, line in enumerate(self.lines, 1) if pattern.match(line)), 1)
        return f"{self.source}:{number}: {message}"


def _strings(value: Any, table: str, name: str, where: _Lines) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and item.strip() for item in values):
        raise CatalogueError(where.say(table, f"{name} of [{table}] must be a string or a list of strings, none empty"))
    return tuple(values)


def _known(table: Any, name: str, fields: tuple[str, ...], where: _Lines) -> None:
    if not isinstance(table, dict):
        raise CatalogueError(where.say(name, f"[{name}] must be a table"))
    unknown = set(table) - set(fields)
    if unknown:
        raise CatalogueError(where.say(name, f"[{name}] has {sorted(unknown)[0]!r}; known are {', '.join(fields)}"))
    label = table.get("label", "-")
    if not isinstance(label, str) or not label.strip():
        raise CatalogueError(where.say(name, f"label of [{name}] must be a string, not empty"))


def _rule(key: str, table: Any, where: _Lines) -> _Rule:
    name = f"intent.{key}"
    _known(table, name, ("label", "category", "query", "name"), where)
    globs = _strings(table.get("category", []), name, "category", where)
    queries = _strings(table.get("query", []), name, "query", where)
    names = [frozenset(words_of(text)) for text in _strings(table.get("name", []), name, "name", where)]
    if not globs and not queries and not names:
        raise CatalogueError(where.say(name, f"[{name}] catches nothing: give it a category, a query or a name"))
    if not all(names):
        raise CatalogueError(where.say(name, f"name of [{name}] must have a word (letters or digits) in each string"))
    pattern = re.compile("|".join(translate(glob) for glob in globs)) if globs else None
    searches = tuple(frozenset(q.lower().split()) for q in queries)
    return _Rule(key, table.get("label", key), pattern, searches, tuple(names))


def _journey(key: str, table: Any, known: set[str], where: _Lines) -> Journey:
    name = f"journey.{key}"
    _known(table, name, ("stages",), where)
    stages = _strings(table.get("stages", []), name, "stages", where)
    if len(stages) < 2:
        raise CatalogueError(where.say(name, f"[{name}] needs at least two stages"))
    for stage in stages:
        if stage not in known:
            raise CatalogueError(where.say(name, f"[{name}] has the stage {stage!r}, which is no [intent.{stage}]"))
    if len(set(stages)) < len(stages):
        raise CatalogueError(where.say(name, f"[{name}] has a stage twice"))
    return Journey(key, stages)
