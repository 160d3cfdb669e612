"""Learners beside a trainer: each is asked what the trainer is asked, learns what it learns, and is judged alike.

They say what they think when a question comes, with what was learned until then, as workers do with their snapshot; the
trainer's own head too, which is always the first and called WHOLE. (Asked only when the answer is known, one that
remembers customers or subjects would have learned the same outcome from the question just before.) Judged are the
subjects touched last, as in task *detect* of `intents/evaluation.py`, where the recording has the answer.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from features.log import I64, U64, Bool
from intents.bootstrap import Measured
from intents.choice import Choice
from intents.counts import F64
from intents.evidence import SKIPPED_SHARE, Fold
from intents.head import Head
from intents.lessons import HeadName, Lesson, Pairs, Pick
from intents.metrics import Bools
from intents.occurrences import RECENT_SUBJECTS
from intents.subjects import customer_hash
from intents.weighed import Detection, rank_shares

WHOLE: Final = "whole"


class Learner(Protocol):
    """Is asked and learns beside one head."""

    def say(self, pairs: Pairs) -> F64:
        """What it thinks of pairs (n,): probabilities, or anything that puts them in order; NaN where not judged."""

    def learn(self, lesson: Lesson) -> None:
        """Learn a lesson."""


class ColumnSubset:
    """A head that reads some of the columns only."""

    def __init__(self, head: Head, columns: I64) -> None:
        """`columns` are the numbers of those that it reads, as many as the head has."""
        self.head, self.columns = head, columns

    def say(self, pairs: Pairs) -> F64:
        """As Head.probability."""
        return self.head.probability(pairs.columns[self.columns], pairs.ranks)

    def learn(self, lesson: Lesson) -> None:
        """As Head.learn."""
        pairs = lesson.pairs
        self.head.learn(pairs.columns[self.columns], pairs.ranks, lesson.labels, lesson.weights)


class Measurements(NamedTuple):
    """What was measured, and which customers (by number) are judged."""

    measured: list[Measured]
    customers: Bools


class HeadComparison:
    """The learners beside one head, what they and the head have said of what is judged, and the answers."""

    def __init__(self, learners: Mapping[str, Learner]) -> None:
        self.learners = learners
        self._said: dict[str, list[F64]] = {name: [] for name in (WHOLE, *learners)}
        self._customers: list[U64] = []
        self._asked: list[tuple[tuple[int, int], Bools]] = []
        self._answers: dict[tuple[int, int], Bool] = {}

    def asked(self, pairs: Pairs) -> None:
        """Let all of them say what they think."""
        judged = pairs.ranks < RECENT_SUBJECTS
        self._asked += [((each.offset, each.place), each.ranks < RECENT_SUBJECTS) for each in pairs.questions]
        self._customers.append(pairs.customers[judged])
        self._said[WHOLE].append(pairs.said[judged])
        for name, learner in self.learners.items():
            self._said[name].append(learner.say(pairs)[judged])

    def learned(self, lesson: Lesson) -> None:
        """Let all of them learn it."""
        start = 0
        for question in lesson.pairs.questions:
            end = start + len(question.subjects)
            self._answers[question.offset, question.place] = lesson.labels[start:end]
            start = end
        for learner in self.learners.values():
            learner.learn(lesson)

    def judged(self, fold: "HashedFold") -> Measurements:
        """Base rate, AUC, average precision and calibration error after the skipped share, the whole's first."""
        known, labels = self._labels()
        rows = np.flatnonzero(known)[int(known.sum() * SKIPPED_SHARE) :]
        if not len(rows):
            return Measurements([], np.zeros(0, bool))
        hashes, customers = np.unique(np.concatenate(self._customers)[rows], return_inverse=True)
        marks = fold.marks(hashes)
        counts, measured = {"pairs": int(marks[customers].sum())}, []
        for name, parts in self._said.items():
            said = np.concatenate(parts)[rows]
            probable = bool(((said >= 0) & (said <= 1)).all())
            detection = Detection(customers, labels[rows], said, len(hashes), calibrated=probable)
            measured.append(Measured(name, counts, {"detect": detection}))
        return Measurements(measured, marks)

    def _labels(self) -> tuple[Bools, Bools]:
        """Of every pair asked that is judged, whether its answer is known, and the answer."""
        known, labels = [np.zeros(0, bool)], [np.zeros(0, bool)]
        for place, judged in self._asked:
            answer = self._answers.get(place)
            known.append(np.full(judged.sum(), answer is not None))
            labels.append((np.zeros(len(judged), bool) if answer is None else answer)[judged])
        return np.concatenate(known), np.concatenate(labels)


class ChoiceComparison:
    """Choices that each do without some of their columns, beside the trainer's."""

    def __init__(self, without: Mapping[str, Sequence[int]]) -> None:
        """`without` are the numbers of the columns that each takes for 0."""
        self._without = without
        self._choices = {name: Choice.empty() for name in without}
        self._ranks: dict[str, list[int]] = {name: [] for name in (WHOLE, *without)}
        self._customers: list[int] = []

    def picked(self, pick: Pick) -> None:
        """Let all of them choose, then learn it."""
        self._customers.append(pick.customer)
        self._ranks[WHOLE].append(_rank(pick.score, pick.chosen))
        for name, columns in self._without.items():
            masked = pick.columns.copy()
            masked[list(columns)] = 0.0
            choice = self._choices[name]
            self._ranks[name].append(_rank(choice.score(masked), pick.chosen))
            choice.learn(masked, pick.chosen)

    def judged(self, fold: "HashedFold") -> Measurements:
        """Hit@1 and mean reciprocal rank among the touched, of outcomes whose subject is among them."""
        hashes, customers = np.unique(np.array(self._customers, dtype=np.uint64), return_inverse=True)
        marks = fold.marks(hashes)
        counts = {"outcomes": int(marks[customers].sum())}
        measured = [
            Measured(name, counts, {"rank": rank_shares(customers, np.array(ranks), len(hashes), hits=(1,))})
            for name, ranks in self._ranks.items()
        ]
        return Measurements(measured if len(customers) else [], marks)


def _rank(score: F64, chosen: int) -> int:
    """1-based place of the chosen one, best first, of equals the latest touched."""
    return 1 + int((score > score[chosen]).sum() + (score[:chosen] == score[chosen]).sum())


class LearnerComparison:
    """The watcher of a trainer that lets learners learn by head, and choices."""

    asks = True

    def __init__(
        self,
        now: Mapping[str, Learner],
        soon: Mapping[str, Learner] | None = None,
        choice: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.heads: dict[HeadName, HeadComparison] = {"now": HeadComparison(now)}
        if soon is not None:
            self.heads["soon"] = HeadComparison(soon)
        self.choice = ChoiceComparison(choice or {})

    def asked(self, head: HeadName, pairs: Pairs) -> None:
        """Ask those beside that head."""
        if head in self.heads:
            self.heads[head].asked(pairs)

    def learned(self, head: HeadName, lesson: Lesson) -> None:
        """To those beside that head."""
        if head in self.heads:
            self.heads[head].learned(lesson)

    def picked(self, pick: Pick) -> None:
        """To the choices."""
        self.choice.picked(pick)


class HashedFold:
    """A fold of customers that are known by their keyed hashes; without a fold, all of them."""

    def __init__(self, fold: Fold | None = None, customers: Sequence[str] = (), key: bytes = b"") -> None:
        """`customers` are all ids of the recording, `key` that of the hashes."""
        self.fold = fold
        self._held = [customer_hash(name, key) for name in customers if fold is not None and fold.holds(name)]

    def marks(self, hashes: U64) -> Bools:
        """Which of them are in it."""
        held: Bools = np.isin(hashes, np.array(self._held, dtype=np.uint64)) | (self.fold is None)
        return held
