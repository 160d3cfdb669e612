"""Themes: words of products' names that say what products are for, found in what was sold and with what.

For shops whose products have names but no categories. A word is a theme if

1. many products and customers share it (it and its plural are one word);
2. it is no *variant*: where two names differ in one word only, that word tells versions of one product apart (colours,
   sizes, motifs); a word that does so in a quarter of its names (of three words or more) is left out;
3. its products go together: two of them are in one basket at least twice as often as any two that sell as well;
4. it is not among the few WORDS_APART (grammar, materials, looks), which pass the other three.

A word that hardly occurs without one certain neighbour ("water bottle") is told as that phrase. No theme is known
beforehand; rules 2 and 3 were set by looking at one wholesaler's words.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from features.log import I64, Bool
from intents.name_words import words_of

MIN_PRODUCTS: Final = 10
MIN_CUSTOMERS: Final = 30
MOST_VARIANT: Final = 0.25
"""Share of a word's names from which it counts as a variant."""
MIN_TOGETHER: Final = 2.0
"""How much oftener than by chance a theme's products are in one basket."""
PHRASE_SHARE: Final = 2 / 3
"""Share of a word's products whose names have it beside the same other word, from which the two are told as one."""
_SHORTEST: Final = 3
_TELLING: Final = 3
"""Words of a name that may be a version of another: two that share one word of two need not be one product."""
_BASKET: Final = 60
"""Products of the largest basket that is looked at: who buys everything says nothing about what goes together."""

_GRAMMAR: Final = "and for from in of on or the with"
_MATERIALS: Final = (
    "acrylic ceramic cotton crystal enamel felt glass gold metal paper silver wicker wire wood wooden zinc"
)
_LOOKS: Final = "antique assorted design mini jumbo new painted retro round style vintage"
_PACKING: Final = "box pack piece set"
WORDS_APART: Final = frozenset(f"{_GRAMMAR} {_MATERIALS} {_LOOKS} {_PACKING}".split())
"""Words that are no themes although products that share them go together."""


@dataclass(frozen=True, slots=True)
class Sales:
    """Lines of baskets, columns (n,): numbers of customer, basket and product; `names` are the products' names."""

    customer: I64
    basket: I64
    product: I64
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme: the strings of a catalogue's rule on names, and how much of the recording it is.

    `together` is how much oftener than by chance two of its products are in one basket.
    """

    name: str
    rule: tuple[str, ...]
    products: int
    customers: int
    together: float


def themes(
    sales: Sales,
    *,
    most: int = 60,
    min_products: int = MIN_PRODUCTS,
    min_customers: int = MIN_CUSTOMERS,
) -> list[Theme]:
    """At most `most` themes, those of most customers first."""
    vocabulary = _Vocabulary(sales)
    baskets = _Baskets(sales)
    rules = dict.fromkeys(
        vocabulary.rule(word)
        for word, products in vocabulary.products.items()
        if len(products) >= min_products and _readable(word) and vocabulary.variant_share(word) < MOST_VARIANT
    )
    found = []
    for rule in rules:
        products = vocabulary.caught(rule)
        count, customers = int(products.sum()), baskets.customers(products)
        if count >= min_products and customers >= min_customers:
            together = baskets.together(products)
            if together >= MIN_TOGETHER:
                found.append(Theme(rule[0].replace(" ", "_"), rule, count, customers, together))
    return sorted(found, key=lambda theme: (-theme.customers, theme.name))[:most]


def _readable(word: str) -> bool:
    return len(word) >= _SHORTEST and word.replace("-", "").isalpha() and word not in WORDS_APART


class _Vocabulary:
    """The words of the products that were sold, a word and its plural as one."""

    def __init__(self, sales: Sales) -> None:
        self._size = len(sales.names)
        self._words = {number: words_of(sales.names[number]) for number in np.unique(sales.product).tolist()}
        self.names = set(self._words.values())
        seen = {word for name in self.names for word in name}
        self._singular = {word: _singular(word, seen) for word in seen}
        self.products: dict[str, set[int]] = defaultdict(set)
        self._neighbours: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._pairs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for number, words in self._words.items():
            self._note(number, words)
        self._names_with: Counter[str] = Counter()
        self._variants: Counter[str] = Counter()
        self._count_variants()

    def _note(self, number: int, words: tuple[str, ...]) -> None:
        forms = [self._singular[word] for word in words]
        for form in forms:
            self.products[form].add(number)
        pairs = {pair: " ".join(both) for pair, both in zip(pairwise(forms), pairwise(words), strict=True)}
        for pair, said in pairs.items():
            self._pairs[pair].add(said)
            for form in set(pair):
                self._neighbours[form][pair] += 1

    def _count_variants(self) -> None:
        """Count each word's names, and those that become another name when only that word is another."""
        others: dict[tuple[str, ...], set[str]] = defaultdict(set)
        names = {tuple(self._singular[word] for word in name) for name in self.names if len(name) >= _TELLING}
        holes = [(word, (*name[:at], "", *name[at + 1 :])) for name in names for at, word in enumerate(name)]
        for word, rest in holes:
            others[rest].add(word)
        for word, rest in holes:
            self._names_with[word] += 1
            self._variants[word] += len(others[rest]) > 1

    def variant_share(self, word: str) -> float:
        """Share of a word's names that tell versions of one product apart by it."""
        return self._variants[word] / max(self._names_with[word], 1)

    def rule(self, word: str) -> tuple[str, ...]:
        """The word in the forms that occur, or with the neighbour that it hardly occurs without."""
        pair, count = next(iter(self._neighbours[word].most_common(1)), (("", ""), 0))
        if all(map(_readable, pair)) and count >= PHRASE_SHARE * len(self.products[word]):
            return tuple(sorted(self._pairs[pair]))
        return tuple(sorted(each for each, form in self._singular.items() if form == word))

    def caught(self, rule: tuple[str, ...]) -> Bool:
        """Which products (all,) a catalogue's rule of these strings catches."""
        wanted = [frozenset(text.split()) for text in rule]
        found = np.zeros(self._size, dtype=bool)
        for number, words in self._words.items():
            found[number] = any(each <= set(words) for each in wanted)
        return found


def _singular(word: str, seen: set[str]) -> str:
    for end, instead in (("ies", "y"), ("s", ""), ("es", "")):
        shorter = word.removesuffix(end) + instead
        if word.endswith(end) and len(shorter) >= _SHORTEST and shorter in seen:
            return shorter
    return word


class _Baskets:
    """What was sold together."""

    def __init__(self, sales: Sales) -> None:
        self._customer, self._product = sales.customer, sales.product
        rows = np.unique(np.stack([sales.basket, sales.product]), axis=1)
        sizes = np.bincount(rows[0], minlength=1)
        rows = rows[:, (sizes[rows[0]] > 1) & (sizes[rows[0]] <= _BASKET)]
        self._rows = rows
        sizes = np.bincount(rows[0], minlength=1)
        self._pairs = float((sizes * (sizes - 1)).sum())
        self._share = np.bincount(rows[1], minlength=len(sales.names)) / max(rows.shape[1], 1)

    def customers(self, products: Bool) -> int:
        """How many customers have any of `products` (all,)."""
        return len(np.unique(self._customer[products[self._product]]))

    def together(self, products: Bool) -> float:
        """How much oftener than by chance two of `products` (all,) are in one basket."""
        baskets = np.bincount(self._rows[0][products[self._rows[1]]], minlength=1)
        share = self._share[products]
        chance = self._pairs * (share.sum() ** 2 - (share**2).sum())
        return float((baskets * (baskets - 1)).sum() / chance) if chance > 0 else 0.0
