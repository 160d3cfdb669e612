"""Transitions between subjects, learned from customers' stages: how often, how surely, and how much oftener than else.

A *move* leads from a subject of one stage to another subject of a later one.

- To the *next* stage: from each subject of the stage before, to each that was not in it.
- To an *outcome* (clickstreams): to a subject that the stage carts or buys, from the three latest others before.

The formulas are those of the live tables (`intents/tables.py`): the share of a's moves that lead to b, over b's share
of all moves, is the *lift*; where a share is used to foresee, it is smoothed by SMOOTHING moves in proportion to b's
own. Two things differ. A visit counts once, not once a view: support and intervals are about occasions. And
`confidence` is the share of the stages with a, among those that something came after, that b came after. Where a stage
has one subject that is the share of moves; of a basket it is what people mean, while lift keeps to shares of moves,
because whoever buys much now buys much next time, and would lift everything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.log import I64, Bool, expand
from intents.counts import F64
from intents.stages import Stages

OUTCOME_ORIGINS: Final = 3
SMOOTHING: Final = 8.0
LOOK_BACK: Final = 16
"""Stages before an outcome among which its latest other subjects are looked for."""
RESAMPLES: Final = 200
_SEED: Final = 20_111_209


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves, columns (m,): the stage that each leads to, and its two subjects."""

    stage: I64
    origin: I64
    target: I64

    def part(self, keep: Bool) -> "Moves":
        """Those moves only."""
        return Moves(self.stage[keep], self.origin[keep], self.target[keep])


def recent(stages: Stages, at: I64, back: int) -> tuple[I64, I64, I64]:
    """(index into `at`, subject, age) of what each customer was about in the `back` stages before each of `at`.

    The age of a subject is how many stages ago it was last there, from 1. Each subject once, the latest first.
    """
    known = max(len(stages.names), 1)
    rows: list[tuple[I64, I64, I64]] = []
    for ago in range(1, back + 1):
        there = np.flatnonzero(at >= ago)
        there = there[stages.customer[at[there] - ago] == stages.customer[at[there]]]
        index, place = stages.of(at[there] - ago)
        rows.append((there[index], stages.subject[place], np.full(len(place), ago, dtype=np.int64)))
    owner, subject, age = (np.concatenate(column) for column in zip(*rows, strict=True))
    _, first = np.unique(owner * known + subject, return_index=True)  # of equal ones the latest
    first = np.sort(first)
    order = first[np.argsort(owner[first], kind="stable")]
    return owner[order], subject[order], age[order]


def rank_within(owner: I64) -> I64:
    """Place from 0 of each row among the rows of its owner; owners ascend."""
    rank: I64 = np.arange(len(owner)) - np.searchsorted(owner, owner, "left")
    return rank


def moves_next(stages: Stages, *, again: bool = False) -> Moves:
    """Moves to each customer's next stage; with `again` also to what was in the stage before, itself included."""
    owner, target = stages.of(np.arange(len(stages)))[0], stages.subject
    at, origin, _ = recent(stages, np.arange(len(stages)), 1)
    if not again:
        known = max(len(stages.names), 1)
        new = ~np.isin(owner * known + target, at * known + origin)
        owner, target = owner[new], target[new]
    first = np.searchsorted(owner, np.arange(len(stages) + 1))
    row, place = expand(first[at], np.diff(first)[at])
    return Moves(at[row], origin[row], target[place])


def moves_outcome(stages: Stages) -> Moves:
    """Moves to outcomes, from the latest other subjects."""
    at = np.flatnonzero(stages.outcome)
    stage, target = np.searchsorted(stages.starts, at, "right") - 1, stages.subject[at]
    index, origin, _ = recent(stages, stage, LOOK_BACK)
    other = origin != target[index]
    index, origin = index[other], origin[other]
    keep = rank_within(index) < OUTCOME_ORIGINS
    index, origin = index[keep], origin[keep]
    return Moves(stage[index], origin, target[index])


@dataclass(frozen=True, slots=True)
class Transition:
    """One transition: moves, customers who made one, confidence, lift, and the lift's 95 % interval by customer."""

    origin: str
    target: str
    moves: int
    customers: int
    confidence: float
    lift: float
    lift_low: float
    lift_high: float


class Transitions:
    """What was learned from some moves.

    Distinct transitions in ascending order of (origin, target), columns (t,): `origin`, `target`, `count` (of moves),
    `customers`. By subject (s,): `leaving` and `arriving` moves, and `stages_with` it that something came after.
    """

    def __init__(self, stages: Stages, moves: Moves) -> None:
        """Count moves of `stages`, all or a part of them."""
        self.names = stages.names
        known = self.known = max(len(stages.names), 1)
        key, self._transition = np.unique(moves.origin * known + moves.target, return_inverse=True)
        self.origin, self.target = key // known, key % known
        self.count = np.bincount(self._transition, minlength=len(key)).astype(np.int64)
        self.leaving = np.bincount(moves.origin, minlength=known).astype(np.int64)
        self.arriving = np.bincount(moves.target, minlength=known).astype(np.int64)
        self.stages_with = np.bincount(np.unique(moves.stage * known + moves.origin) % known, minlength=known)
        self._moves, self._people = moves, stages.customers
        self._customer = stages.customer[moves.stage]
        pairs = np.unique(self._transition * (self._people + 1) + self._customer)
        self.customers = np.bincount(pairs // (self._people + 1), minlength=len(key)).astype(np.int64)
        self.first = np.searchsorted(self.origin, np.arange(known + 1))

    @property
    def total(self) -> int:
        """Number of moves."""
        return len(self._customer)

    def share(self) -> F64:
        """Each subject's share of all moves (s,), smoothed by one move of each."""
        return (self.arriving + 1.0) / (self.total + self.known)

    def confidence(self) -> F64:
        """(t,) the share of the stages with the origin that the target came after."""
        share: F64 = self.count / np.maximum(self.stages_with[self.origin], 1)
        return share

    def lift(self) -> F64:
        """(t,) the share of the origin's moves that lead to the target, over the target's share of all."""
        return _lift(self.count, self.leaving[self.origin], self.arriving[self.target], self.total)

    def supported(self, min_customers: int) -> I64:
        """Rows of the transitions that at least so many customers made."""
        return np.flatnonzero(self.customers >= min_customers)

    def find(self, origin: str, target: str) -> int | None:
        """Row of a transition, None where it was never seen."""
        if origin not in self.names or target not in self.names:
            return None
        key = self.names.index(origin) * self.known + self.names.index(target)
        row = int(np.searchsorted(self.origin * self.known + self.target, key))
        return row if row < len(self.count) and self.origin[row] * self.known + self.target[row] == key else None

    def intervals(self, rows: I64, resamples: int = RESAMPLES) -> tuple[F64, F64]:
        """95 % intervals, low (rows,) and high (rows,), of some transitions' lift: customers drawn anew each time."""
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        place = np.full(len(self.count), -1)
        place[rows] = np.arange(len(rows))
        mine = place[self._transition] >= 0
        where, who = place[self._transition[mine]], self._customer[mine]
        lifts = np.empty((resamples, len(rows)))
        for number, weight in enumerate(resampled(self._people, resamples)):
            each = weight[self._customer]
            leaving = np.bincount(self._moves.origin, each, self.known)[self.origin[rows]]
            arriving = np.bincount(self._moves.target, each, self.known)[self.target[rows]]
            lifts[number] = _lift(np.bincount(where, weight[who], len(rows)), leaving, arriving, float(each.sum()))
        low, high = np.quantile(lifts, [0.025, 0.975], axis=0)
        return low, high

    def told(self, rows: I64) -> list[Transition]:
        """Some transitions for people, in the order of `rows`."""
        low, high = self.intervals(rows)
        columns = (self.confidence()[rows], self.lift()[rows], low, high)
        return [
            Transition(
                self.names[int(self.origin[row])],
                self.names[int(self.target[row])],
                int(self.count[row]),
                int(self.customers[row]),
                *numbers,
            )
            for row, numbers in zip(rows.tolist(), zip(*(c.tolist() for c in columns), strict=True), strict=True)
        ]


def resampled(people: int, resamples: int = RESAMPLES) -> Iterator[F64]:
    """How often each customer (people,) is drawn, in `resamples` draws with replacement; always the same draws."""
    draw = np.random.default_rng(_SEED)
    for _ in range(resamples):
        yield np.bincount(draw.integers(0, people, people), minlength=people).astype(np.float64)


def _lift(count: I64 | F64, leaving: I64 | F64, arriving: I64 | F64, total: float) -> F64:
    expected = leaving * arriving.astype(np.float64) / max(total, 1.0)
    lift: F64 = np.divide(count, expected, out=np.zeros(len(count)), where=expected > 0)
    return lift
