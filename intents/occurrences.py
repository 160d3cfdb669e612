"""What a recording asks a model, and what came of it, in columns: the material of evaluation, apart from the engine."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from features.kinds import OUTCOMES, TOUCHES
from intents.metrics import Ints

ONCE: Final = 2**40
"""In place of the ms between two touches: there was only one."""
RECENT_SUBJECTS: Final = 6
"""How many of the subjects that a customer touched last are asked about after a view."""


class Occurrence(NamedTuple):
    """One event of a recording, as far as judging needs it; `time_ms` is event time (UTC)."""

    customer_id: str
    kind: str
    time_ms: int
    subjects: tuple[str, ...]
    event_id: str


class View(NamedTuple):
    """A view: its row among the events, whose it is, and where its pairs are in the columns."""

    row: int
    customer_id: str
    first_pair: int
    pairs: int


class _Touch(NamedTuple):
    """A subject's last touch and how long after the one before it that was."""

    last_ms: int
    gap_ms: int


class Questions:
    """A recording's questions and answers: columns of pairs (asked at each view) and of outcomes.

    A *key* numbers a (customer, subject). `pair_ages` is ms since the subject's last touch, `pair_places` its 0-based
    place by recency, `pair_gaps` ms from the touch before the last to the last (ONCE if there is none), `rule_ranks`
    the 1-based rank by recency of an outcome's subject before the outcome (0: never touched); `*_rows` number the
    events. "Earlier" and "last" mean file order. An event_id seen before is the same event and is left out.
    """

    def __init__(self, events: Iterable[Occurrence]) -> None:
        self.events = 0
        self.views: dict[str, View] = {}
        self.outcomes: dict[tuple[str, str], int] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._pairs: list[tuple[int, ...]] = []
        self._outcomes: list[tuple[int, ...]] = []
        seen: set[str] = set()
        recent: dict[str, dict[str, _Touch]] = {}
        for event in events:
            if event.event_id not in seen:
                seen.add(event.event_id)
                self._ask(event, recent.setdefault(event.customer_id, {}))
        pairs = columns(self._pairs, 6)
        self.pair_keys, self.pair_ms, self.pair_ages, self.pair_places, self.pair_gaps, self.pair_rows = pairs
        self.outcome_keys, self.outcome_ms, self.rule_ranks, self.outcome_rows = columns(self._outcomes, 4)

    def key(self, customer_id: str, subject: str) -> int:
        """Number of a (customer, subject), a new one if it was never asked for."""
        return self._keys.setdefault((customer_id, subject), len(self._keys))

    def _ask(self, event: Occurrence, recent: dict[str, _Touch]) -> None:
        """Note an event; `recent` holds its customer's touches by subject, the latest touched last."""
        row, (customer, kind, time) = self.events, event[:3]
        self.events += 1
        if kind in OUTCOMES:
            order = list(reversed(recent))
            for subject in event.subjects:
                rank = order.index(subject) + 1 if subject in recent else 0
                self.outcomes[event.event_id, subject] = len(self._outcomes)
                self._outcomes.append((self.key(customer, subject), time, rank, row))
        if kind in TOUCHES:
            for subject in event.subjects:
                before = recent.pop(subject, None)
                recent[subject] = _Touch(time, min(time - before.last_ms, ONCE) if before else ONCE)
        if kind == "view":
            asked = list(islice(reversed(recent.items()), RECENT_SUBJECTS))
            self.views[event.event_id] = View(row, customer, len(self._pairs), len(asked))
            self._pairs += [
                (self.key(customer, subject), time, time - touch.last_ms, place, touch.gap_ms, row)
                for place, (subject, touch) in enumerate(asked)
            ]


def columns(rows: Sequence[tuple[int, ...]], width: int) -> tuple[Ints, ...]:
    """Rows of `width` integers as that many int64 columns."""
    table = np.array(rows, np.int64).reshape(-1, width)
    return tuple(np.ascontiguousarray(table[:, column]) for column in range(width))
