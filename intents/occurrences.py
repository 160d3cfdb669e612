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
    """A view: its row among the events, whose it is (id and number), and where its pairs are in the columns."""

    row: int
    customer_id: str
    customer: int
    first_pair: int
    pairs: int


class _Touch(NamedTuple):
    """A subject's last touch and how long after the one before it that was."""

    last_ms: int
    gap_ms: int


class Questions:
    """A recording's questions and answers: columns of pairs (asked at each view) and of outcomes.

    A *key* numbers a (customer, subject); both have numbers of their own. `pair_ages` is ms since the subject's
    last touch, `pair_places` its 0-based place by recency, `pair_gaps` ms from the touch before the last to the last
    (ONCE if there is none), `rule_ranks` the 1-based rank by recency of an outcome's subject before the outcome (0:
    never touched); `*_rows` number the events, `touch_*` are all touches, `first_touches` the first row by key. By
    event: `event_ms`, `event_customers` (numbers), `event_counts` (the customer's events before it) and `event_gaps`
    (ms since the one before it, ONCE if there is none). "Earlier", "before" and "last" mean
    file order. An event_id seen before is the same event and is left out.
    """

    def __init__(self, events: Iterable[Occurrence]) -> None:
        self.events = 0
        self.views: dict[str, View] = {}
        self.outcomes: dict[tuple[str, str], int] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._key_parts: list[tuple[int, ...]] = []
        self._customers: dict[str, int] = {}
        self._subjects: dict[str, int] = {}
        self._touches: list[tuple[int, ...]] = []
        self._events: list[tuple[int, ...]] = []
        self._last: dict[int, tuple[int, int]] = {}
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
        self.touch_keys, self.touch_rows = columns(self._touches, 2)
        self.event_customers, self.event_ms, self.event_counts, self.event_gaps = columns(self._events, 4)
        self.first_touches = dict(zip(self.touch_keys[::-1].tolist(), self.touch_rows[::-1].tolist(), strict=True))

    def key(self, customer_id: str, subject: str) -> int:
        """Number of a (customer, subject), a new one if it was never asked for."""
        key = self._keys.setdefault((customer_id, subject), len(self._keys))
        if key == len(self._key_parts):
            customer = self._customers.setdefault(customer_id, len(self._customers))
            self._key_parts.append((customer, self._subjects.setdefault(subject, len(self._subjects))))
        return key

    @property
    def customers(self) -> list[str]:
        """Ids of the customers by their numbers."""
        return list(self._customers)

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects by their numbers."""
        return list(self._subjects)

    def key_parts(self) -> tuple[Ints, Ints]:
        """(customers, subjects) by key, as numbers."""
        customers, subjects = columns(self._key_parts, 2)
        return customers, subjects

    def touched(self, customer_id: str, subject: str, row: int) -> bool:
        """Whether the customer touched the subject in an event before this row."""
        key = self._keys.get((customer_id, subject), -1)
        return bool(self.first_touches.get(key, row) < row)

    def _ask(self, event: Occurrence, recent: dict[str, _Touch]) -> None:
        """Note an event; `recent` holds its customer's touches by subject, the latest touched last."""
        row, (customer, kind, time) = self.events, event[:3]
        self.events += 1
        number = self._customers.setdefault(customer, len(self._customers))
        count, last_ms = self._last.get(number, (0, time - ONCE))
        self._last[number] = count + 1, time
        self._events.append((number, time, count, time - last_ms))
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
                self._touches.append((self.key(customer, subject), row))
        if kind == "view":
            asked = list(islice(reversed(recent.items()), RECENT_SUBJECTS))
            self.views[event.event_id] = View(row, customer, number, len(self._pairs), len(asked))
            self._pairs += [
                (self.key(customer, subject), time, time - touch.last_ms, place, touch.gap_ms, row)
                for place, (subject, touch) in enumerate(asked)
            ]


def columns(rows: Sequence[tuple[int, ...]], width: int) -> tuple[Ints, ...]:
    """Rows of `width` integers as that many int64 columns."""
    table = np.array(rows, np.int64).reshape(-1, width)
    return tuple(np.ascontiguousarray(table[:, column]) for column in range(width))
