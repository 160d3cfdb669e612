"""Lists of what customers are about next, judged by what came after the transitions were learned.

At each stage after the cut every subject has a score from what its customer was about before; the list's place of each
subject that did come is what counts. Scores, p being the smoothed share of moves from a recent subject to this one:

- *transitions*: the sum of p over the latest subjects, faded by .8 a step;
- *journeys*: that, times the same sum of affinities (plus a little); in lists of all, the chance that the subject comes
  again, as learned by how long ago it was there, plus, for what does not come again, its share of those products;
- *popular*: the subject's share of all moves, whoever the customer is;
- *lately*: the same over the last tenth of the time that was learned from;
- *latest*: the customer's latest subjects, the latest first, then the popular ones (in lists of all only).

Lists of *new* subjects leave out what the customer was about before; lists of *all*, in a clickstream, the subject of
the stage before, because a visit to the same subject is no next one. What is learned stays as it is at the cut; what
the customer was about is known up to each stage.
"""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from features.log import I64, Bool, expand
from intents.affinity import Affinity
from intents.counts import F64
from intents.stages import Stages
from intents.transitions import (
    LOOK_BACK,
    SMOOTHING,
    Occasions,
    Transitions,
    next_occasions,
    rank_within,
    recent,
    resampled,
)

FADE: Final = 0.8
BASKETS_BACK: Final = 3
VISITS_BACK: Final = 5
"""Latest subjects that speak for what is next: all of three baskets, or of five visits."""
A_LITTLE: Final = 0.02
"""Affinity of subjects that no customer has both of."""
HITS: Final = (1, 3, 5, 10)
LISTS: Final = ("journeys", "transitions", "popular", "lately", "latest")
LATELY: Final = 0.1
_LATELY_PRIOR: Final = 50.0
_CHUNK: Final = 500_000
"""Scores that are held at once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its 95 % interval by customer."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Lists judged on one kind of what came: `what` it is, how often it came, to how many customers.

    `numbers[metric][list]`, metrics hit@1, 3, 5, 10 and mrr; `gain[metric]` is journeys less popular.
    """

    what: str
    came: int
    customers: int
    numbers: dict[str, dict[str, Measured]]
    gain: dict[str, Measured]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def judge(stages: Stages, cut_ms: int) -> list[Judged]:
    """Learn from the stages before the cut, and judge the lists on those from it on that have a stage before them."""
    early = stages.before(cut_ms)
    owner, _ = stages.of(np.arange(len(stages)))
    touched = _FirstTouch(stages)
    follows = np.zeros(len(stages), dtype=bool)
    follows[1:] = stages.customer[1:] == stages.customer[:-1]
    late = (~early & follows)[owner]
    new = touched.new(stages.customer[owner], stages.subject, owner)
    affinity = Affinity(stages, early)
    to_others = _Lists(stages, next_occasions(stages), early, affinity, touched)
    to_all = to_others
    if stages.baskets:
        to_all = _Lists(stages, next_occasions(stages, again=True), early, affinity, touched)
    kinds = [("next, new to the customer", to_others, late & new, True), ("next, all", to_all, late, False)]
    if not stages.baskets:
        bought = late & stages.outcome
        kinds += [
            ("next outcome, new to the customer", to_others, bought & new, True),
            ("next outcome, not even looked at", to_others, late & stages.direct & new, True),
            ("next outcome, all", to_others, bought, False),
        ]
    return [_judged(what, lists, owner[mine], stages.subject[mine], only_new) for what, lists, mine, only_new in kinds]


class _FirstTouch:
    """When each customer was first about each subject."""

    def __init__(self, stages: Stages) -> None:
        self._known = max(len(stages.names), 1)
        owner, _ = stages.of(np.arange(len(stages)))
        self.keys, at = np.unique(stages.customer[owner] * self._known + stages.subject, return_index=True)
        self.stage = owner[at]
        self.first = np.searchsorted(self.keys, np.arange(stages.customers + 1) * self._known)

    def new(self, customer: I64, subject: I64, stage: I64) -> Bool:
        """Whether a customer's stage is the first about a subject."""
        is_first: Bool = self.stage[np.searchsorted(self.keys, customer * self._known + subject)] == stage
        return is_first

    def had(self, customer: I64, stage: I64) -> tuple[I64, I64]:
        """(row, subject) of what the customer of each row was about before its stage."""
        row, place = expand(self.first[customer], np.diff(self.first)[customer])
        before = self.stage[place] < stage[row]
        return row[before], self.keys[place[before]] % self._known


class _Lists:
    """Scores of all subjects at any stage."""

    def __init__(
        self, stages: Stages, occasions: Occasions, early: Bool, affinity: Affinity, touched: _FirstTouch
    ) -> None:
        """Learn from the occasions at the `early` stages (s,)."""
        self.stages, self._touched, self._affinity = stages, touched, affinity
        self._learned = Transitions(stages, occasions.part(early[occasions.stage]))
        self._share = self._learned.share()
        self._lately = _lately(stages, occasions, early, self._share)
        self._returns = _Returns(stages, early)

    def places(self, stage: I64, subject: I64, new: bool) -> I64:
        """Places from 1, (LISTS, w), of the subjects that came at these stages, which ascend."""
        places = np.zeros((len(LISTS), len(stage)), dtype=np.int64)
        at_all = np.unique(stage)
        step = max(1, _CHUNK // len(self._share))
        for low in range(0, len(at_all), step):
            at = at_all[low : low + step]
            mine = slice(*np.searchsorted(stage, [at[0], at[-1] + 1]).tolist())
            row = np.searchsorted(at, stage[mine])
            out = self._left_out(at, new)
            for number, scores in enumerate(self._scores(at, new)):
                scores[out] = -1.0
                places[number, mine] = _place(scores, row, subject[mine])
        return places

    def _scores(self, at: I64, new: bool) -> tuple[F64, ...]:
        """Scores (at, s) by each of LISTS."""
        learned, known = self._learned, len(self._share)
        baskets = self.stages.baskets
        owner, origin, age = recent(self.stages, at, BASKETS_BACK if baskets else LOOK_BACK)
        rank = age - 1 if baskets else rank_within(owner)
        if not baskets:
            keep = rank < VISITS_BACK
            owner, origin, rank = owner[keep], origin[keep], rank[keep]
        fade = np.power(FADE, rank.astype(np.float64)) / (learned.leaving[origin] + SMOOTHING)
        row, place = expand(learned.first[origin], np.diff(learned.first)[origin])
        seen = _summed(owner[row], learned.target[place], fade[row] * learned.count[place], len(at), known)
        transitions = seen + np.bincount(owner, fade * SMOOTHING, len(at))[:, None] * self._share
        kin = self._affinity
        row, place = expand(kin.first[origin], np.diff(kin.first)[origin])
        faded = np.power(FADE, rank.astype(np.float64))[row]
        affinities = _summed(owner[row], kin.other[place], faded * kin.cosine[place], len(at), known)
        journeys = transitions * (affinities + A_LITTLE)
        if not new:
            journeys = self._returns.added(journeys, at)
        popular, lately = (np.tile(share, (len(at), 1)) for share in (self._share, self._lately))
        return journeys, transitions, popular, lately, self._latest(at)

    def _latest(self, at: I64) -> F64:
        owner, subject, _ = recent(self.stages, at, LOOK_BACK)
        latest = np.tile(self._share, (len(at), 1))
        latest[owner, subject] = 1.0 + 1.0 / (1.0 + rank_within(owner))
        return latest

    def _left_out(self, at: I64, new: bool) -> Bool:
        out = np.zeros((len(at), len(self._share)), dtype=bool)
        if new:
            out[self._touched.had(self.stages.customer[at], at)] = True
        elif not self.stages.baskets:
            owner, subject, _ = recent(self.stages, at, 1)
            out[owner, subject] = True
        return out


class _Returns:
    """What comes again: how likely each recent subject is, by how long ago it was there, and how much else comes."""

    def __init__(self, stages: Stages, early: Bool) -> None:
        self._stages = stages
        at = np.flatnonzero(early[1:] & (stages.customer[1:] == stages.customer[:-1])) + 1
        owner, subject, ago = self._recent(at)
        index, place = stages.of(at)
        known = max(len(stages.names), 1)
        again = np.isin(owner * known + subject, index * known + stages.subject[place])
        there = np.bincount(ago, minlength=LOOK_BACK)
        self._chance = np.bincount(ago[again], minlength=len(there)) / np.maximum(there, 1)
        self._else = (len(place) - int(again.sum())) / max(len(at), 1)

    def _recent(self, at: I64) -> tuple[I64, I64, I64]:
        """(index into `at`, subject, how long ago): baskets ago, or its place among the latest that may come next."""
        owner, subject, age = recent(self._stages, at, LOOK_BACK)
        if self._stages.baskets:
            return owner, subject, age - 1
        owner, subject = owner[age > 1], subject[age > 1]
        return owner, subject, np.minimum(rank_within(owner), LOOK_BACK - 1)

    def added(self, scores: F64, at: I64) -> F64:
        """Scores (at, s) as expected numbers of each subject: again, or as a share of what else comes."""
        owner, subject, ago = self._recent(at)
        expected: F64 = self._else * scores / scores.sum(axis=1, keepdims=True)
        expected[owner, subject] += self._chance[ago]
        return expected


def _lately(stages: Stages, occasions: Occasions, early: Bool, share: F64) -> F64:
    """Each subject's share of what came in the last part of the early time, shrunk to its share of all of it."""
    if not early.any():
        return share
    first, last = int(stages.time_ms[early].min()), int(stages.time_ms[early].max())
    late = (early & (stages.time_ms >= last - (last - first) * LATELY))[occasions.stage]
    came = np.bincount(occasions.part(late).came, minlength=len(share))
    lately: F64 = (came + _LATELY_PRIOR * share) / (came.sum() + _LATELY_PRIOR)
    return lately


def _summed(row: I64, column: I64, values: F64, rows: int, columns: int) -> F64:
    flat: F64 = np.bincount(row * columns + column, values, rows * columns).astype(np.float64, copy=False)
    return flat.reshape(rows, columns)


def _place(scores: F64, row: I64, subject: I64) -> I64:
    """Places from 1 of subjects in their rows' lists; of equal scores the subject that was seen first is first."""
    mine = scores[row]
    own = mine[np.arange(len(row)), subject][:, None]
    tied = (mine == own) & (np.arange(scores.shape[1]) < subject[:, None])
    place: I64 = (mine > own).sum(axis=1) + tied.sum(axis=1) + 1
    return place


def _judged(what: str, lists: _Lists, stage: I64, subject: I64, new: bool) -> Judged:
    places = lists.places(stage, subject, new)
    customer = lists.stages.customer[stage]
    names = LISTS[:-1] if new else LISTS
    worth = {f"hit@{k}": (places <= k).astype(np.float64) for k in HITS} | {"mrr": 1.0 / np.maximum(places, 1)}
    people, person = np.unique(customer, return_inverse=True)
    popular = LISTS.index("popular")
    rows = [row for values in worth.values() for row in (*values[: len(names)], values[0] - values[popular])]
    measured = iter(_measured(np.array(rows), person, len(people)))
    numbers, gain = {}, {}
    for metric in worth:
        numbers[metric] = {name: next(measured) for name in names}
        gain[metric] = next(measured)
    return Judged(what, len(stage), len(people), numbers, gain)


def _measured(rows: F64, person: I64, people: int) -> list[Measured]:
    """The mean of each of the rows (r, w), and its interval over draws of the persons (w,)."""
    if not people:
        return [Measured(*[float("nan")] * 3)] * len(rows)
    sums = np.array([np.bincount(person, row, people) for row in rows])
    counts = np.bincount(person, minlength=people).astype(np.float64)
    means = np.array([sums @ weight / max(float(counts @ weight), 1.0) for weight in resampled(people)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return [Measured(*map(float, each)) for each in zip(rows.mean(axis=1), low, high, strict=True)]
