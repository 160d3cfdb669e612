"""Resamples are of customers, repeatable and shared, and intervals cover what they say."""

import math

import numpy as np
import pytest

from intents.bootstrap import Measured, bootstrap, differences, interval, intervals, resamples
from intents.weighed import Shares

JUDGED = np.array([True, True, False, True, True])


def measured(values: list[float]) -> Measured:
    """A mean of one value a customer, of the customers that are judged."""
    owners = np.flatnonzero(JUDGED)
    return Measured("m", {"rows": 4}, {"task": Shares(("mean",), owners, np.array(values)[:, None], len(JUDGED))})


def test_resamples_draw_judged_customers_only_and_repeat() -> None:
    """As many draws as judged customers, none of the others, the same by seed, another by another."""
    drawn = [weights.tolist() for weights in resamples(JUDGED, 50, seed=1)]
    assert all(sum(weights) == 4 and weights[2] == 0 for weights in drawn)
    assert len({tuple(weights) for weights in drawn}) > 10
    assert [weights.tolist() for weights in resamples(JUDGED, 50, seed=1)] == drawn
    assert [weights.tolist() for weights in resamples(JUDGED, 50, seed=2)] != drawn


def test_a_number_is_what_it_is_with_every_customer_once() -> None:
    """The numbers themselves come from weights of one, and go into plain values with counts and intervals."""
    each = measured([1.0, 2.0, 3.0, 6.0])
    assert each.numbers(JUDGED.astype(float)) == {("task", "mean"): 3.0}
    found = intervals(bootstrap([each], JUDGED, 40)[0])
    told = each.to_dict(JUDGED, found)
    assert told["name"] == "m" and told["rows"] == 4 and told["task"] == {"mean": 3.0}
    assert told["intervals"]["task"]["mean"]["low_95"] == found["task", "mean"].low_95  # type: ignore[index]
    assert "intervals" not in each.to_dict(JUDGED)


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    """The mean of 400 customers, half at 0 and half at 1, has a standard error of .025."""
    owners = np.arange(400)
    each = Measured("m", {}, {"t": Shares(("mean",), owners, (owners % 2)[:, None].astype(float), 400)})
    drawn = bootstrap([each], np.ones(400, bool), 2_000)[0]["t", "mean"]
    found = interval(drawn)
    assert (found.low_95, found.high_95) == pytest.approx((0.5 - 0.049, 0.5 + 0.049), abs=0.006)
    assert (found.low_90, found.high_90) == pytest.approx((0.5 - 0.041, 0.5 + 0.041), abs=0.006)


def test_a_customer_s_rows_are_drawn_together() -> None:
    """A hundred alike rows of one customer say no more than one: the interval does not narrow."""
    values = np.arange(10.0)
    one = Measured("m", {}, {"t": Shares(("mean",), np.arange(10), values[:, None], 10)})
    hundred = Measured("m", {}, {"t": Shares(("mean",), np.arange(10).repeat(100), values.repeat(100)[:, None], 10)})
    few, many = bootstrap([one, hundred], np.ones(10, bool), 100)
    assert few["t", "mean"] == pytest.approx(many["t", "mean"])


def test_differences_are_paired() -> None:
    """Two files that differ by .1 for each customer differ by .1 in every resample, however much customers differ."""
    mine, theirs = measured([1.1, 5.1, 9.1, 100.1]), measured([1.0, 5.0, 9.0, 100.0])
    drawn = bootstrap([mine, theirs], JUDGED, 100)
    found = differences((mine, theirs), (drawn[0], drawn[1]), JUDGED)["task", "mean"]
    assert (found.difference, found.interval.low_95, found.interval.high_95) == pytest.approx((0.1, 0.1, 0.1))
    assert found.beyond_chance
    same = differences((mine, mine), (drawn[0], drawn[0]), JUDGED)["task", "mean"]
    assert (same.difference, same.beyond_chance) == (0.0, False)
    # Unpaired they would be within chance: the intervals of the two overlap nearly everywhere.
    assert interval(drawn[0]["task", "mean"]).low_95 < interval(drawn[1]["task", "mean"]).high_95


def test_what_cannot_be_said_has_no_interval() -> None:
    """Resamples without a value are left out; none at all is NaN, which excludes nothing."""
    found = interval(np.array([np.nan, 1.0, np.nan]))
    assert (found.low_95, found.high_95) == (1.0, 1.0)
    nothing = interval(np.array([np.nan]))
    assert math.isnan(nothing.low_90) and not nothing.excludes_zero


def test_progress_is_told() -> None:
    """Each resample is told, with the share done."""
    told: list[tuple[float, int]] = []
    bootstrap([measured([1.0, 2.0, 3.0, 4.0])], JUDGED, 4, told=lambda share, count: told.append((share, count)))
    assert told == [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)]
