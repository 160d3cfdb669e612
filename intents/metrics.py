"""The numbers that models are judged by, vectorised: ranking, discrimination, calibration, alarms. Knows no files."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEVER: Final = -(2**62)
"""In place of a time: it never happened."""

CALIBRATION_BINS: Final = 15
"""Equal-width bins of [0, 1] over which the calibration error is taken."""


def auc(labels: Bools, scores: Floats) -> float:
    """Share of (positive, negative) couples in the score's order, a tie counting half; NaN without both kinds."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / positives / negatives)


def average_precision(labels: Bools, scores: Floats) -> float:
    """Precision averaged over the gains of recall, one step per distinct score; NaN without a positive."""
    positives = int(labels.sum())
    if not positives:
        return float("nan")
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    found = np.cumsum(np.bincount(place[labels], minlength=len(counts)))
    gains = np.diff(found, prepend=0) / positives
    return float((gains * found / np.cumsum(counts)).sum())


def calibration_error(labels: Bools, scores: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: |mean p - share of positives| over `bins` equal-width bins, weighted by their sizes.

    Bins are [k/bins, (k+1)/bins), the last one closed; NaN for no scores.
    """
    if not len(labels):
        return float("nan")
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, scores, bins) - np.bincount(place, labels, bins)
    return float(np.abs(gaps).sum() / len(labels))


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A bin of p: how many pairs it has, their mean p, and the share of positives among them."""

    pairs: int
    mean_p: float
    rate: float


def calibration_bins(labels: Bools, scores: Floats, bins: int = CALIBRATION_BINS) -> list[CalibrationBin]:
    """The bins that calibration_error is taken over, empty ones left out."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums, positives = np.bincount(place, scores, bins), np.bincount(place, labels, bins)
    return [
        CalibrationBin(int(counts[k]), float(sums[k] / counts[k]), float(positives[k] / counts[k]))
        for k in np.flatnonzero(counts).tolist()
    ]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well lists put what was wanted first; NaN where `count` is 0.

    `hit_k` is the share at rank k or better, `mrr` the mean of 1/rank, `recall` the share that is in the list at all.
    """

    count: int
    hit_1: float
    hit_3: float
    hit_5: float
    mrr: float
    recall: float


def ranking(ranks: Ints) -> Ranking:
    """Judge 1-based ranks, 0 meaning that the list lacks what was wanted."""
    if not len(ranks):
        return Ranking(0, *[float("nan")] * 5)
    listed = ranks > 0

    def hit(k: int) -> float:
        return float((listed & (ranks <= k)).mean())

    reciprocal = np.where(listed, 1.0 / np.maximum(ranks, 1), 0.0)
    return Ranking(len(ranks), hit(1), hit(3), hit(5), float(reciprocal.mean()), float(listed.mean()))


def next_time(keys: Ints, times_ms: Ints, happened_keys: Ints, happened_ms: Ints) -> Ints:
    """For each (key, time) the first time strictly after it at which something happened to that key, or NEVER."""
    if not len(happened_keys) or not len(keys):
        return np.full(len(keys), NEVER, np.int64)
    known, dense = np.unique(happened_keys, return_inverse=True)
    start = min(int(times_ms.min()), int(happened_ms.min()))
    span = max(int(times_ms.max()), int(happened_ms.max())) - start + 2
    line = np.sort(dense * span + (happened_ms - start))
    mine = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    after = np.searchsorted(line, mine * span + (times_ms - start), side="right")
    found = line[np.minimum(after, len(line) - 1)]
    exists = (known[mine] == keys) & (after < len(line)) & (found // span == mine)
    return np.where(exists, found % span + start, NEVER)


def within(first_ms: Ints, times_ms: Ints, horizon_ms: int) -> Bools:
    """Whether what next_time found lies in (t, t + horizon]."""
    there: Bools = (first_ms != NEVER) & (first_ms <= times_ms + horizon_ms)
    return there


def cooled_down(keys: Ints, times_ms: Ints, outcome_ms: Ints, cool_down_ms: int) -> Bools:
    """Which of these alarms, given in order, may sound.

    After an alarm its key is silent up to and including alarm + cool-down, or until its next outcome (`outcome_ms`, as
    next_time finds it), whichever comes first.
    """
    silent_until: dict[int, tuple[int, int]] = {}
    sounds = np.zeros(len(keys), bool)
    rows = zip(keys.tolist(), times_ms.tolist(), outcome_ms.tolist(), strict=True)
    for row, (key, time, outcome) in enumerate(rows):
        cooled, rearmed = silent_until.get(key, (NEVER, NEVER))
        if time > cooled or NEVER < rearmed <= time:
            sounds[row] = True
            silent_until[key] = (time + cool_down_ms, outcome)
    return sounds


@dataclass(frozen=True, slots=True)
class Emission:
    """What alarms are worth; NaN where nothing can be said.

    `precision`: share of alarms with an outcome of their customer and subject in (t, t + horizon]; `recall`: share of
    outcomes with such an alarm before them; `f1` of the two; `median_lead_s`: from a right alarm to the first outcome
    after it. In `f1_once` an alarm counts once, for that first outcome: 2 x caught / (alarms + outcomes).
    """

    alarms: int
    outcomes: int
    precision: float
    recall: float
    f1: float
    median_lead_s: float
    f1_once: float


class Worth(NamedTuple):
    """By alarm: was it `right`, the outcome that it `caught` alone (of two for the same one, the first), its lead.

    By outcome: whether an alarm `warned` of it. Leads are ms to the first outcome, meaningless where not right.
    """

    right: Bools
    caught: Bools
    lead_ms: Ints
    warned: Bools


def worth(keys: Ints, times_ms: Ints, outcome_keys: Ints, outcomes_ms: Ints, horizon_ms: int) -> Worth:
    """Judge alarms one by one, and outcomes by them."""
    first = next_time(keys, times_ms, outcome_keys, outcomes_ms)
    right = within(first, times_ms, horizon_ms)
    # An alarm in [o - horizon, o) before an outcome at o: the same question with the direction of time turned.
    warned = within(next_time(outcome_keys, -outcomes_ms, keys, -times_ms), -outcomes_ms, horizon_ms)
    caught = np.zeros(len(keys), bool)
    hits = np.flatnonzero(right)
    _, earliest = np.unique(np.stack([keys[hits], first[hits]], axis=1), axis=0, return_index=True)
    caught[hits[earliest]] = True
    return Worth(right, caught, first - times_ms, warned)


def emission(
    keys: Ints, times_ms: Ints, outcome_keys: Ints, outcomes_ms: Ints, scored_outcomes: Bools, horizon_ms: int
) -> Emission:
    """Judge alarms against all outcomes; recall is taken over the outcomes that `scored_outcomes` marks."""
    judged = worth(keys, times_ms, outcome_keys, outcomes_ms, horizon_ms)
    return emission_of(judged._replace(warned=judged.warned[scored_outcomes]))


def emission_of(judged: Worth) -> Emission:
    """Sum up alarms and outcomes."""
    alarms, outcomes = len(judged.right), len(judged.warned)
    precision, recall = _share(judged.right), _share(judged.warned)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else float("nan")
    lead = float(np.median(judged.lead_ms[judged.right])) / 1000 if judged.right.any() else float("nan")
    once = 2 * int(judged.caught.sum()) / (alarms + outcomes) if alarms + outcomes else float("nan")
    return Emission(alarms, outcomes, precision, recall, f1, lead, once)


def _share(marks: Bools) -> float:
    return float(marks.mean()) if len(marks) else float("nan")
