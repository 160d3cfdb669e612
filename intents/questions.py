"""Questions that wait for their answers: for `now` until the horizon has passed, for `soon` until a day has.

A question waits for both at once. An outcome marks the open questions of its customer; a question is popped when it
is due, for one head after the other. Those that wait for `soon` are many, so they are a sample: at most MOST_SOON,
thinned by halving the share of those kept, chosen by a hash; each counts 1 / share when it is learned.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import I64, U64, Bool
from intents.model import SOON_MS

MOST_SOON: Final = 8_192
_MIX: Final = 0x9E37_79B9_7F4A_7C15
_WORD: Final = (1 << 64) - 1

Source = tuple[str, int]


@dataclass(slots=True, order=True)
class Question:
    """What was asked, waiting for its answer; sorts by (time, offset of its record, place in it).

    `columns` (f, n) are the candidates' whole vectors, `said` (n,) what the worker's model said of them (nothing, once
    that is judged); `now` and `soon` (n,) say which have had an outcome by now.
    `soon_open`: it is in the sample. `entry` is the (offset, index) of the event in its source; in no snapshot, for
    what waits for `soon` alone. `alarms` (n,): thresholds at which each sounds, as bits (None: not counted); `first`:
    it is the first one of its customer's day.
    """

    time: int
    offset: int
    place: int
    source: Source = field(compare=False)
    customer: int = field(compare=False)
    subjects: U64 = field(compare=False)
    ranks: I64 = field(compare=False)
    columns: F32 = field(compare=False)
    weight: float = field(compare=False)
    now: Bool = field(compare=False)
    soon: Bool = field(compare=False)
    said: F32 = field(default_factory=lambda: np.zeros(0, dtype=np.float32), compare=False)
    now_open: bool = field(default=True, compare=False)
    soon_open: bool = field(default=True, compare=False)
    entry: tuple[int, int] = field(default=(-1, -1), compare=False)
    alarms: U64 | None = field(default=None, compare=False)
    first: bool = field(default=False, compare=False)

    @property
    def chance(self) -> float:
        """A number in [0, 1) that depends on nothing that the answer could depend on."""
        mixed = ((self.offset << 20) + self.place) * _MIX & _WORD
        return ((mixed ^ (mixed >> 32)) * _MIX & _WORD) / 2**64

    def copy(self) -> "Question":
        """A copy whose answers are its own."""
        return replace(self, now=self.now.copy(), soon=self.soon.copy())


class Questions:
    """Open questions, by source and by customer."""

    def __init__(self, horizon_ms: int, share: float = 1.0, soon: "list[Question] | None" = None) -> None:
        """Those of a checkpoint go on waiting: `soon` of them, of the sample with this `share`."""
        self.horizon_ms, self.share = horizon_ms, share
        self._now: dict[Source, list[Question]] = defaultdict(list)
        self._soon: dict[Source, list[Question]] = defaultdict(list)
        self._of: dict[tuple[Source, int], list[Question]] = defaultdict(list)
        self._sampled = 0
        for question in soon or []:
            self._wait(question)

    def add(self, question: Question) -> None:
        """A new question; it waits for `soon` if it is open for that, and chosen for the sample."""
        question.soon_open &= question.chance < self.share
        self._wait(question)
        while self._sampled > MOST_SOON:
            self._thin()

    def outcome(self, source: Source, customer: int, subject: int, time: int) -> None:
        """An outcome answers the open questions of its customer that it came after."""
        for question in self._of.get((source, customer), ()):
            after = time - question.time
            if 0 < after <= max(SOON_MS, self.horizon_ms):
                same = question.subjects == subject
                question.soon |= same & (after <= SOON_MS)
                question.now |= same & (after <= self.horizon_ms)

    def due_now(self, source: Source, passed: int) -> list[Question]:
        """Questions whose horizon lies before `passed`; they may still wait for `soon`."""
        due = _pop(self._now[source], passed - self.horizon_ms)
        for question in due:
            question.now_open = False
            self._leave(question)
        return due

    def due_soon(self, source: Source, passed: int) -> list[Question]:
        """Questions of the sample that are a day old."""
        due = _pop(self._soon[source], passed - SOON_MS)
        for question in due:
            question.soon_open = False
            self._leave(question)
        self._sampled -= len(due)
        return due

    def sources(self) -> list[Source]:
        """Sources that have been asked about."""
        return list({**self._now, **self._soon})

    def oldest(self) -> int | None:
        """Offset of the oldest record with a question that waits for `now`."""
        return min((question.offset for questions in self._now.values() for question in questions), default=None)

    def now(self) -> list[Question]:
        """Questions that wait for `now`, in order."""
        return sorted(question for questions in self._now.values() for question in questions)

    def later(self) -> list[Question]:
        """Questions that wait for `soon` alone, in order."""
        return sorted(q for questions in self._soon.values() for q in questions if not q.now_open)

    def _wait(self, question: Question) -> None:
        if question.now_open:
            heappush(self._now[question.source], question)
        if question.soon_open:
            heappush(self._soon[question.source], question)
            self._sampled += 1
        self._of[question.source, question.customer].append(question)

    def _leave(self, question: Question) -> None:
        if question.now_open or question.soon_open:
            return
        mine = self._of[question.source, question.customer]
        mine[:] = [other for other in mine if other is not question]
        if not mine:
            del self._of[question.source, question.customer]

    def _thin(self) -> None:
        self.share /= 2
        self._sampled = 0
        for questions in self._soon.values():
            for question in questions:
                question.soon_open = question.chance < self.share
                self._leave(question)
            questions[:] = [question for question in questions if question.soon_open]
            heapify(questions)
            self._sampled += len(questions)


def _pop(questions: list[Question], before: int) -> list[Question]:
    """Questions older than `before`, oldest first."""
    popped = []
    while questions and questions[0].time < before:
        popped.append(heappop(questions))
    return popped
