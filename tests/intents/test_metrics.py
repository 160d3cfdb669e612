"""Each vectorised number equals its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.metrics import (
    NEVER,
    auc,
    average_precision,
    calibration_bins,
    calibration_error,
    cooled_down,
    emission,
    emission_of,
    next_time,
    ranking,
    within,
    worth,
)
from tests.intents import naive_evaluation as naive

# Few distinct scores, so that ties are many.
SCORED = st.lists(st.tuples(st.booleans(), st.integers(0, 8).map(lambda k: k / 8)), max_size=40)
HAPPENED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=30)


def split(rows: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as columns."""
    return np.array([label for label, _ in rows], bool), np.array([score for _, score in rows], float)


def column(values: list[int]) -> np.ndarray:
    """An int64 column."""
    return np.array(values, np.int64)


@given(SCORED)
def test_auc_counts_couples(rows: list[tuple[bool, float]]) -> None:
    """AUC is the share of rightly ordered couples, ties a half; NaN with one kind only."""
    labels, scores = split(rows)
    assert naive.same(auc(labels, scores), naive.auc(labels.tolist(), scores.tolist()))


@given(SCORED)
def test_average_precision_walks_thresholds(rows: list[tuple[bool, float]]) -> None:
    """Average precision takes one step per distinct score, so the order within a tie is nothing."""
    labels, scores = split(rows)
    assert naive.same(average_precision(labels, scores), naive.average_precision(labels.tolist(), scores.tolist()))
    assert naive.same(average_precision(labels[::-1], scores[::-1]), average_precision(labels, scores))


@given(SCORED, st.sampled_from([1, 4, 10, 15]))
def test_calibration_error_is_taken_by_bin(rows: list[tuple[bool, float]], bins: int) -> None:
    """The error is each bin's |mean p - rate|, weighted by its size; p = 1 belongs to the last bin."""
    labels, scores = split(rows)
    slow = naive.calibration_error(labels.tolist(), scores.tolist(), bins)
    assert naive.same(calibration_error(labels, scores, bins), slow)


def test_calibration_of_a_known_case() -> None:
    """Ten pairs at .1 with one positive are calibrated; with five they are .4 off."""
    scores = np.full(10, 0.1)
    assert calibration_error(np.arange(10) == 0, scores) == pytest.approx(0.0)
    assert calibration_error(np.arange(10) < 5, scores) == pytest.approx(0.4)


def test_ranking_of_a_known_case() -> None:
    """Ranks 1, 2, 4 and a miss: a miss is worth nothing in any number."""
    found = ranking(column([1, 2, 4, 0]))
    assert (found.count, found.hit_1, found.hit_3, found.hit_5) == (4, 0.25, 0.5, 0.75)
    assert found.mrr == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)
    assert found.recall == 0.75
    assert math.isnan(ranking(column([])).mrr)


@given(HAPPENED, HAPPENED, st.sampled_from([0, 1_700_000_000_000, -1_700_000_000_000]))
def test_next_time_is_the_first_strictly_after(
    asked: list[tuple[int, int]], happened: list[tuple[int, int]], start: int
) -> None:
    """For each (key, time): the earliest time of that key after it, NEVER without one; equal times are not after."""
    keys, times = column([key for key, _ in asked]), column([start + time for _, time in asked])
    found = next_time(keys, times, column([k for k, _ in happened]), column([start + t for _, t in happened]))
    slow = [min((start + t for k, t in happened if k == key and t > time), default=NEVER) for key, time in asked]
    assert found.tolist() == slow


def test_the_horizon_is_closed_at_its_end() -> None:
    """(t, t + horizon]: exactly one horizon later still counts, one ms more does not, and never does not."""
    assert within(column([130, 131, NEVER]), column([100, 100, 100]), 30).tolist() == [True, False, False]


def test_cool_down() -> None:
    """Silent up to and including one cool-down after an alarm, each key for itself."""
    sounds = cooled_down(column([1, 1, 2, 1, 1]), column([0, 30, 30, 31, 62]), np.full(5, NEVER), 30)
    assert sounds.tolist() == [True, False, True, True, True]


def test_an_outcome_ends_the_cool_down() -> None:
    """From its next outcome on a key may sound again; a silenced alarm starts no cool-down of its own."""
    times = column([0, 10, 20, 25])
    sounds = cooled_down(column([1, 1, 1, 1]), times, column([15, 15, NEVER, NEVER]), 30)
    assert sounds.tolist() == [True, False, True, False]


def test_emission_of_a_known_case() -> None:
    """Two alarms, one right by 5 s; two outcomes that count, one warned of."""
    found = emission(
        column([1, 2]),
        column([10_000, 10_000]),
        column([1, 1, 1]),
        column([10_000, 15_000, 90_000]),
        np.array([False, True, True]),
        horizon_ms=30_000,
    )
    assert (found.alarms, found.outcomes, found.precision, found.recall, found.f1) == (2, 2, 0.5, 0.5, 0.5)
    assert found.median_lead_s == 5.0


def test_an_outcome_is_caught_once() -> None:
    """Of two alarms before one outcome only the first caught it, though both are right; a wrong one caught nothing."""
    found = worth(column([1, 1, 1]), column([0, 25, 31]), column([1, 1]), column([40, 50]), horizon_ms=20)
    assert (found.right.tolist(), found.caught.tolist()) == ([False, True, True], [False, True, False])
    assert (found.warned.tolist(), found.lead_ms.tolist()[1:]) == ([True, True], [15, 9])
    assert emission_of(found).f1_once == 2 / 5


@given(SCORED)
def test_bins_are_those_of_the_calibration_error(rows: list[tuple[bool, float]]) -> None:
    """Every pair is in a bin, and the error is what the bins say."""
    labels, scores = split(rows)
    bins = calibration_bins(labels, scores)
    assert sum(each.pairs for each in bins) == len(rows) and all(each.pairs for each in bins)
    if rows:
        error = sum(each.pairs * abs(each.mean_p - each.rate) for each in bins) / len(rows)
        assert naive.same(error, calibration_error(labels, scores))


def test_emission_without_alarms_or_outcomes() -> None:
    """Nothing said: no precision, no recall of what there was; nothing happened: no recall."""
    none = column([])
    silent = emission(none, none, column([1]), column([5]), np.array([True]), 30)
    assert (silent.alarms, silent.recall) == (0, 0.0)
    assert math.isnan(silent.precision) and math.isnan(silent.f1) and math.isnan(silent.median_lead_s)
    idle = emission(column([1]), column([5]), none, none, np.array([], bool), 30)
    assert idle.precision == 0.0
    assert math.isnan(idle.recall)
