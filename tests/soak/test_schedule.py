"""A seed gives one schedule, with everything in it, spread over the run."""

from itertools import pairwise

import pytest

from tests.fault_points import POINTS
from tests.soak.schedule import KINDS, LAST, POINT_HITS, schedule


def test_a_seed_gives_one_schedule() -> None:
    """The same seed and length repeat; another seed differs."""
    assert schedule(1, 120.0) == schedule(1, 120.0)
    assert schedule(1, 120.0) != schedule(2, 120.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("run_s", [60.0, 120.0, 600.0, 3_600.0])
def test_everything_happens_within_the_run(seed: int, run_s: float) -> None:
    """Every kind of fault comes at least once and every fault point often enough, in order, before the end."""
    found = schedule(seed, run_s)
    assert {item.name for item in found.faults} == set(KINDS) - {LAST}
    assert {item.name for item in found.points} == set(POINTS)
    assert all(sum(item.name == point for item in found.points) >= POINT_HITS for point in POINTS)
    for track in (found.faults, found.points):
        assert all(a.at_s <= b.at_s for a, b in pairwise(track))
        assert track[0].at_s > 0 and track[-1].at_s < run_s


@pytest.mark.parametrize("run_s", [60.0, 120.0, 3_600.0])
def test_retention_comes_last_and_once(run_s: float) -> None:
    """What Redis loses after it could not be rebuilt: it waits for the end of all others."""
    found = schedule(1, run_s)
    assert (found.last.name, found.last.at_s) == ("retention", run_s)
    assert found.last.length_s == min(10.0, 2.0 * max(1.0, run_s / 120.0))


def test_outages_grow_with_the_run_up_to_a_minute() -> None:
    """What is seconds in a short run is a minute in a long one; a pause stays what it is."""
    away = {run_s: KINDS["redis_away"].lasts_s(run_s) for run_s in (60.0, 120.0, 600.0, 3_600.0)}
    assert away == {60.0: 3.0, 120.0: 3.0, 600.0: 15.0, 3_600.0: 60.0}
    assert KINDS["redis_pause"].lasts_s(3_600.0) == 5.0
