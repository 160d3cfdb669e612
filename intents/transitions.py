"""Transitions between subjects, learned from customers' stages: how often, how surely, and how much oftener than else.

An *occasion* is something that came after something: subjects that came, after subjects of before.

- *Next*: a stage, after the stage before; what was in that one already does not come.
- *Outcome* (clickstreams): a subject that a stage carts or buys, after the three latest others of the stages before.

Every pair of a subject before and one that came is a *move*. A transition a → b has

- `confidence`: the share of the occasions with a, and without b, before, to which b came;
- `lift`: its moves over those that popularity alone would make, that is, if each occasion's newcomers were drawn from
  what was not there before, in proportion to how often each subject comes when it can.

For stages of one subject that is the lift of the live tables (`intents/tables.py`: the share of a's moves that lead to
b, over b's share of all moves) but for the factor 1 - share of a. Baskets need more: whoever buys much now buys much
next time, which would lift everything, and what is bought together with a cannot come after it, which would lower just
what belongs together. And a visit counts once, not once a view: support and intervals are about occasions. Where a
share is used to foresee, it is the live one, smoothed by SMOOTHING moves in proportion to b's own share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.log import I64, Bool, expand
from intents import bootstrap
from intents.counts import F64
from intents.stages import Stages

OUTCOME_ORIGINS: Final = 3
SMOOTHING: Final = 8.0
LOOK_BACK: Final = 16
"""Stages before an outcome among which its latest other subjects are looked for."""
RESAMPLES: Final = 200
_SEED: Final = 20_111_209


@dataclass(frozen=True, slots=True)
class Occasions:
    """Occasions in order, each of one `stage` (o,).

    What was before: `before_of` (p,) is the occasion, ascending, `before` (p,) the subject. What came: `came_of` (r,),
    `came` (r,).
    """

    stage: I64
    before_of: I64
    before: I64
    came_of: I64
    came: I64

    def part(self, keep: Bool) -> "Occasions":
        """Those occasions (o,) only."""
        number = np.cumsum(keep) - 1
        before, came = keep[self.before_of], keep[self.came_of]
        return Occasions(
            self.stage[keep],
            number[self.before_of[before]],
            self.before[before],
            number[self.came_of[came]],
            self.came[came],
        )


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


def next_occasions(stages: Stages, *, again: bool = False) -> Occasions:
    """Each customer's stages but the first; with `again` what was in the stage before may come, too."""
    at = np.flatnonzero(stages.customer[1:] == stages.customer[:-1]) + 1
    came_of, place = stages.of(at)
    came = stages.subject[place]
    before_of, before, _ = recent(stages, at, 1)
    if not again:
        known = max(len(stages.names), 1)
        new = ~np.isin(came_of * known + came, before_of * known + before)
        came_of, came = came_of[new], came[new]
    return Occasions(at, before_of, before, came_of, came)


def outcome_occasions(stages: Stages) -> Occasions:
    """Each outcome's subject of a stage, an occasion of its own."""
    at = np.flatnonzero(stages.outcome)
    stage, came = np.searchsorted(stages.starts, at, "right") - 1, stages.subject[at]
    before_of, before, _ = recent(stages, stage, LOOK_BACK)
    other = before != came[before_of]
    before_of, before = before_of[other], before[other]
    keep = rank_within(before_of) < OUTCOME_ORIGINS
    return Occasions(stage, before_of[keep], before[keep], np.arange(len(at)), came)


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
    """What was learned from some occasions.

    Distinct transitions in ascending order of (origin, target), columns (t,): `origin`, `target`, `count` (of moves),
    `customers`. By subject (s,): `leaving` and `arriving` moves; transitions from it are [first[s], first[s + 1]).
    """

    def __init__(self, stages: Stages, occasions: Occasions) -> None:
        """Count occasions of `stages`, all or a part of them."""
        self.names = stages.names
        known = self.known = max(len(stages.names), 1)
        self._occasions, self._people = occasions, stages.customers
        self._customer = stages.customer[occasions.stage]
        starts = np.searchsorted(occasions.came_of, np.arange(len(occasions.stage) + 1))
        row, place = expand(starts[occasions.before_of], np.diff(starts)[occasions.before_of])
        origin, target = occasions.before[row], occasions.came[place]
        self._came = np.diff(starts)
        self._move_of = occasions.before_of[row]
        key, self._transition = np.unique(origin * known + target, return_inverse=True)
        self.origin, self.target = key // known, key % known
        self.count = np.bincount(self._transition, minlength=len(key)).astype(np.int64)
        self.leaving = np.bincount(origin, minlength=known).astype(np.int64)
        self.arriving = np.bincount(target, minlength=known).astype(np.int64)
        pairs = np.unique(self._transition * (self._people + 1) + self._customer[self._move_of])
        self.customers = np.bincount(pairs // (self._people + 1), minlength=len(key)).astype(np.int64)
        self.first = np.searchsorted(self.origin, np.arange(known + 1))
        self._together_of, self._together = self._both_before(key)

    def _both_before(self, key: I64) -> tuple[I64, I64]:
        """(occasion, transition) wherever both subjects of a transition were before."""
        before_of, before = self._occasions.before_of, self._occasions.before
        starts = np.searchsorted(before_of, np.arange(len(self._came) + 1))
        row, other = expand(starts[before_of], np.diff(starts)[before_of])
        both = before[row] * self.known + before[other]
        place = np.minimum(np.searchsorted(key, both), len(key) - 1)
        found = key[place] == both if len(key) else np.zeros(0, dtype=bool)
        return before_of[row[found]], place[found]

    @property
    def total(self) -> int:
        """Number of moves."""
        return len(self._transition)

    def share(self) -> F64:
        """Each subject's share of all moves (s,), smoothed by one move of each."""
        return (self.arriving + 1.0) / (self.total + self.known)

    def confidence(self) -> F64:
        """(t,) the share of the occasions with the origin and without the target before to which the target came."""
        with_origin = np.bincount(self._occasions.before, minlength=self.known)[self.origin]
        with_both = np.bincount(self._together, minlength=len(self.count))
        share: F64 = self.count / np.maximum(with_origin - with_both, 1)
        return share

    def lift(self) -> F64:
        """(t,) moves over those that popularity alone would make."""
        return self._lift(np.ones(self._people), np.arange(len(self.count)), self._transition, self._together)

    def _lift(self, weight: F64, rows: I64, moved: I64, together: I64) -> F64:
        """Lift of transitions `rows`, customers weighted; `moved`, `together`: each one's place among `rows`, or -1."""
        said, known = self._occasions, self.known
        each = weight[self._customer]
        newcomers = each * self._came
        chances = newcomers.sum() - np.bincount(said.before, newcomers[said.before_of], known)
        rate = np.bincount(said.came, each[said.came_of], known) / np.maximum(chances, 1.0)
        left = rate.sum() - np.bincount(said.before_of, rate[said.before], len(each))
        draws = newcomers / np.maximum(left, 1e-12)
        with_origin = np.bincount(said.before, draws[said.before_of], known)[self.origin[rows]]
        mine, both = moved >= 0, together >= 0
        count = np.bincount(moved[mine], each[self._move_of[mine]], len(rows))
        with_both = np.bincount(together[both], draws[self._together_of[both]], len(rows))
        expected = rate[self.target[rows]] * (with_origin - with_both)
        lift: F64 = np.divide(count, expected, out=np.zeros(len(rows)), where=expected > 1e-9)
        return lift

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
        moved, together = place[self._transition], place[self._together]
        lifts = [self._lift(weight, rows, moved, together) for weight in resampled(self._people, resamples)]
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


def resampled(people: int, count: int = RESAMPLES) -> Iterator[F64]:
    """How often each customer (people,) is drawn, in `count` draws with replacement; always the same draws."""
    return bootstrap.resamples(np.ones(people, dtype=bool), count, _SEED)
