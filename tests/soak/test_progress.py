"""Stalls are seen partition by partition, and held against the fault that leaves them the most time."""

from tests.soak.progress import Fault, Progress, Stall
from tests.soak.schedule import CALM_S

ENDS = {0: 10, 1: 10}


def played(*samples: tuple[float, dict[int, int] | None]) -> Progress:
    """Progress after these samples of (time, positions), closed at the last."""
    progress = Progress(ENDS, lambda: None)
    for now, positions in samples:
        progress.note(now, positions, ENDS)
    progress.close(samples[-1][0])
    return progress


def test_a_partition_stands_while_it_has_work_and_does_not_move() -> None:
    """One partition moves on, the other does not for four seconds."""
    progress = played((0, {0: 1, 1: 1}), (1, {0: 2, 1: 2}), (3, {0: 3, 1: 2}), (5, {0: 4, 1: 3}), (5.5, {0: 5, 1: 4}))
    assert progress.stalls == [Stall(0, 1, 3), Stall(0, 3, 5), Stall(1, 1, 5)]


def test_without_work_nothing_stands() -> None:
    """At its end a partition waits for events, as long as it takes."""
    assert played((0, {0: 10, 1: 10}), (60, {0: 10, 1: 10})).stalls == []


def test_while_positions_cannot_be_read_all_that_had_work_stand() -> None:
    """A silent Redis is no excuse; nor is the end of the run."""
    assert played((0, {0: 1, 1: 10}), (1, None), (9, None)).stalls == [Stall(0, 0, 9)]


def test_a_partition_that_goes_back_moves() -> None:
    """What is worked again after a loss is progress too."""
    assert played((0, {0: 9, 1: 10}), (0.5, {0: -1, 1: 10}), (1, {0: 4, 1: 10})).stalls == []


def test_all_moved_since() -> None:
    """Each partition has moved after a time, or had nothing to do then."""
    progress = played((0, {0: 1, 1: 1}), (1, {0: 2, 1: 10}), (2, {0: 2, 1: 10}))
    assert progress.all_moved_since(0.5) and not progress.all_moved_since(1.5)


def test_a_stall_is_held_against_the_fault_that_leaves_it_the_most_time() -> None:
    """It is over its bound when it goes on after every fault before its end has ended and had its time."""
    faults = [Fault("a", 10, 15, 5), Fault("b", 18, 18, 10), Fault("c", 100, 100, 50)]
    assert Stall(0, 11, 27).over_s(faults) == 0
    assert Stall(0, 11, 30).over_s(faults) == 2
    cause = Stall(0, 11, 30).cause(faults)
    assert cause is not None and cause.name == "b"


def test_a_stall_of_a_fault_has_the_time_of_that_fault_alone() -> None:
    """The time that calm leaves is for what begins in calm, though a fault comes in its course."""
    quick = Fault("a", 10, 10, 5)
    assert [Stall(0, began, 16).over_s([quick]) for began in (9.5, 11, 15)] == [1, 1, 1]
    assert Stall(0, 8, 16).over_s([quick]) == 0
    assert Stall(0, 15.5, 16 + CALM_S).over_s([quick]) == 0.5


def test_a_stall_without_a_fault_has_a_bound_too() -> None:
    """Where nothing is the matter, nothing may stand for long."""
    assert Stall(0, 50, 50 + CALM_S).over_s([Fault("a", 10, 15, 5)]) == 0
    assert Stall(0, 50, 51 + CALM_S).over_s([Fault("a", 10, 15, 5)]) == 1
