"""What a scores file says to a recording's questions, in columns; fields that old files lack are optional."""

from array import array
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np

from intents.metrics import Bools, Floats, Ints
from intents.occurrences import Questions

__all__ = ["Answers", "BadScores"]


class BadScores(ValueError):
    """Raised for a line of a scores file that breaks the format or contradicts the recording; names the line."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} of the scores: {reason}")


class _Line(msgspec.Struct):
    """One line of a scores file; `soon` is there in detect lines of models that foresee a day."""

    ask: Literal["rank", "detect"]
    customer_id: str
    time: int
    event_id: str
    scores: list[tuple[str, float]]
    soon: list[tuple[str, float]] | None = None
    intent: str | None = None
    ready: bool = True


class Answers:
    """Columns of what was said, beside the columns of Questions.

    By pair: `pair_scores`, `pair_soon` (p, 0 where nothing was said). By outcome: `ranks` in the list and `next_ranks`
    among its candidates that the customer had never touched (1-based, 0: not there). By candidate of a detect line, in
    file order: `keys`, `ms`, `rows` (of the view), `p`, `ready`. Counts: `missing_*` of what the recording asks and no
    line answers (`missing_soon`: where any line has `soon`; else `has_soon` is False), `unknown`, `disordered`,
    `not_ready` of lines. Customers that `judged` (by number) does not mark are passed over. Raises BadScores.
    """

    def __init__(self, lines: Iterable[bytes], asked: Questions, judged: Bools) -> None:
        self.pair_scores: Floats = np.zeros(len(asked.pair_keys))
        self.pair_soon: Floats = np.zeros(len(asked.pair_keys))
        self.ranks: Ints = np.zeros(len(asked.rule_ranks), np.int64)
        self.next_ranks: Ints = np.zeros(len(asked.rule_ranks), np.int64)
        self.unknown = self.disordered = self.not_ready = 0
        self._asked = asked
        self._judged: list[bool] = judged.tolist()
        self._names = asked.customers
        self._owners: list[int] = asked.event_customers[asked.outcome_rows].tolist()
        self._candidates = array("q"), array("q"), array("q"), array("q")
        self._p = array("d")
        self._soon: set[str] = set()
        self._read(lines)
        self.keys, self.ms, self.rows, ready = (np.frombuffer(column, np.int64) for column in self._candidates)
        self.ready: Bools = ready.astype(bool)
        self.p: Floats = np.frombuffer(self._p, np.float64)

    def _read(self, lines: Iterable[bytes]) -> None:
        decoder = msgspec.json.Decoder(_Line)
        answered: set[tuple[str, str | None]] = set()
        for number, text in enumerate(lines, 1):
            line = _checked(decoder, text, number)
            if (line.event_id, line.intent) in answered:
                raise BadScores(number, f"a second answer for event {line.event_id!r}")
            known = self._detect(line, number) if line.ask == "detect" else self._rank(line)
            if known is None:
                continue
            descending = [p for _, p in line.scores]
            self.disordered += descending != sorted(descending, reverse=True)
            self.not_ready += not line.ready
            self.unknown += not known
            if known:
                answered.add((line.event_id, line.intent))
        views = [name for name, view in self._asked.views.items() if view.pairs > 0 and self._judged[view.customer]]
        outcomes = sum(self._judged[owner] for owner in self._owners)
        self.missing_detect = sum((name, None) not in answered for name in views)
        self.missing_rank = outcomes - sum(intent is not None for _, intent in answered)
        self.has_soon = bool(self._soon)
        self.missing_soon = sum(name not in self._soon for name in views) if self.has_soon else 0

    def _rank(self, line: _Line) -> bool | None:
        """Note a rank line: whether its event is known, None for a customer that is passed over."""
        place = self._asked.outcomes.get((line.event_id, line.intent or ""))
        if place is None:
            return False
        if not self._judged[self._owners[place]]:
            return None
        self.ranks[place] = next((rank for rank, (name, _) in enumerate(line.scores, 1) if name == line.intent), 0)
        if self._asked.rule_ranks[place] == 0 and self.ranks[place]:
            owner, row = self._names[self._owners[place]], int(self._asked.outcome_rows[place])
            before = line.scores[: self.ranks[place]]
            self.next_ranks[place] = sum(not self._asked.touched(owner, name, row) for name, _ in before)
        return True

    def _detect(self, line: _Line, number: int) -> bool | None:
        """Note a detect line: whether its event is known, None for a customer that is passed over."""
        view = self._asked.views.get(line.event_id)
        if view is None:
            return False
        if view.customer_id != line.customer_id:
            whose = f"customer {view.customer_id!r}'s, not {line.customer_id!r}'s"
            raise BadScores(number, f"event {line.event_id!r} is {whose}")
        if not self._judged[view.customer]:
            return None
        key, pairs = self._asked.key, slice(view.first_pair, view.first_pair + view.pairs)
        said = {key(view.customer_id, name): p for name, p in line.scores}
        wanted: list[int] = self._asked.pair_keys[pairs].tolist()
        self.pair_scores[pairs] = [said.get(each, 0.0) for each in wanted]
        if line.soon is not None:
            self._soon.add(line.event_id)
            soon = {key(view.customer_id, name): p for name, p in line.soon}
            self.pair_soon[pairs] = [soon.get(each, 0.0) for each in wanted]
        keys, ms, rows, ready = self._candidates
        count = len(said)
        keys.extend(said)
        ms.extend([line.time] * count)
        rows.extend([view.row] * count)
        ready.extend([line.ready] * count)
        self._p.extend(said.values())
        return True


def _checked(decoder: msgspec.json.Decoder[_Line], text: bytes, number: int) -> _Line:
    try:
        line = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        raise BadScores(number, str(refused)) from refused
    if (line.ask == "rank") != (line.intent is not None):
        raise BadScores(number, "a rank line names its intent, a detect line has none")
    if line.ask == "rank" and line.soon is not None:
        raise BadScores(number, "only a detect line has soon")
    for said in (line.scores, line.soon or []):
        if any(not 0 <= p <= 1 for _, p in said):
            raise BadScores(number, "a p outside [0, 1]")
        if len({name for name, _ in said}) < len(said):
            raise BadScores(number, "a candidate is there twice")
    return line
