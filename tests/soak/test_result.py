"""What makes a run bad, and its line of JSON."""

from collections import Counter

import orjson
import pytest

from tests.fault_points import POINTS
from tests.soak.crew import Exit
from tests.soak.judge import Verdict
from tests.soak.progress import Fault
from tests.soak.result import Happened, Plan, Result
from tests.soak.schedule import KINDS, POINT_HITS


def came(*exits: Exit) -> Result:
    """A run in which everything planned happened, and these processes ended by themselves."""
    faults = [Fault(name, 10, 10, 5) for name in KINDS]
    points = Counter(dict.fromkeys(POINTS, POINT_HITS))
    return Result(Plan(1, 2.0), Verdict(events=9), Happened(faults, points, Counter(exits)))


@pytest.mark.parametrize("ended", [Exit("worker", 75), Exit("train", 75)])
def test_a_process_that_waited_too_long_is_counted_and_forgiven(ended: Exit) -> None:
    """A supervisor starts it again."""
    result = came(ended, ended)
    assert result.good
    line = orjson.loads(result.line())
    assert (line["exits"], line["crashes"]) == ({f"{ended.kind} {ended.code}": 2}, 0)


@pytest.mark.parametrize(
    "ended", [Exit("worker", 1), Exit("train", 0), Exit("worker", 0), Exit("worker", -11), Exit("train", -9)]
)
def test_a_crash_makes_a_run_bad(ended: Exit) -> None:
    """Any other end that nobody had asked for is one, of a worker or of the trainer: neither is ever done."""
    result = came(Exit("worker", 75), ended)
    assert not result.good
    assert orjson.loads(result.line())["crashes"] == 1


def test_what_has_not_happened_makes_a_run_bad() -> None:
    """A fault, or a fault point, that the schedule promised."""
    assert came().good
    less = came()
    less.happened.points["during_claim"] -= 1
    gone = less.happened.faults.pop()
    assert not less.good
    assert orjson.loads(less.line())["not_happened"] == [gone.name, "during_claim"]
