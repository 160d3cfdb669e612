"""What a trainer is asked and learns, step by step, told to a watcher that lets others learn the same beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from features.bundle import F32
from features.log import I64, U64, Bool
from intents.choice import Choice
from intents.counts import F64
from intents.head import Head
from intents.questions import Question

HeadName = Literal["now", "soon"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs (n,) of some questions, one after another, and what the trainer's head `said` of them just now.

    `columns` (f, n) are what heads read, `ranks` the recency ranks.
    """

    questions: Sequence[Question]
    columns: F32
    ranks: I64
    said: F64

    @property
    def customers(self) -> U64:
        """Keyed hash of each pair's customer."""
        return np.repeat(
            np.array([question.customer for question in self.questions], dtype=np.uint64),
            [len(question.subjects) for question in self.questions],
        )

    @property
    def subjects(self) -> U64:
        """Each pair's subject."""
        subjects: U64 = np.concatenate([question.subjects for question in self.questions])
        return subjects


@dataclass(frozen=True, slots=True)
class Lesson:
    """Pairs whose answers are known, that a head learned in one step; what it said was before that, `ready` or not."""

    pairs: Pairs
    labels: Bool
    weights: F64
    ready: bool


@dataclass(frozen=True, slots=True)
class Pick:
    """A list of touched subjects (n,) of which a customer took the one at `chosen`, and its `score` (n,) before that.

    `columns` (c, n) are what a choice reads, `customer` is a keyed hash.
    """

    customer: int
    columns: F64
    chosen: int
    score: F64


class Watcher(Protocol):
    """Hears of every step of a trainer, in order; what it is told stays the trainer's.

    `asks`: whether it wants to hear what is asked, too, which takes as much as scoring it.
    """

    @property
    def asks(self) -> bool:
        """As above."""

    def asked(self, head: HeadName, pairs: Pairs) -> None:
        """These were asked since the last step, and nothing was learned meanwhile."""

    def learned(self, head: HeadName, lesson: Lesson) -> None:
        """The head has learned this."""

    def picked(self, pick: Pick) -> None:
        """The choice is about to learn this."""


class Notifier:
    """Tells a watcher, if there is one, what its trainer is asked and learns."""

    def __init__(self, watcher: Watcher | None) -> None:
        self._watcher = watcher
        self._asked: list[Question] = []

    def note(self, question: Question) -> None:
        """It was asked; told at the next step."""
        if self._watcher is not None and self._watcher.asks:
            self._asked.append(question)

    def asked(self, now: Head, soon: Head) -> None:
        """Before a step: what was asked since the last one, and what the heads say of it."""
        if self._watcher is None or not self._asked:
            return
        columns = np.concatenate([question.columns for question in self._asked], axis=1)
        ranks = np.concatenate([question.ranks for question in self._asked])
        self._watcher.asked("now", Pairs(self._asked, columns, ranks, now.probability(columns, ranks)))
        self._watcher.asked("soon", Pairs(self._asked, columns, ranks, soon.probability(columns, ranks)))
        self._asked = []

    def learned(self, is_soon: bool, lesson: Lesson) -> None:
        """A head has learned this."""
        if self._watcher is not None:
            self._watcher.learned("soon" if is_soon else "now", lesson)

    def picked(self, customer: int, columns: F64, chosen: int, choice: Choice) -> None:
        """The choice is about to learn this."""
        if self._watcher is not None:
            self._watcher.picked(Pick(customer, columns, chosen, choice.score(columns)))
