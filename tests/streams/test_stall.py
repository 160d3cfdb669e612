"""A stall is records and nothing that comes of them; idleness, a sleeping machine and hard work are none."""

import pytest

from streams.monitor import LOOK_EVERY_S
from streams.retry import RETRY_FOR_S
from streams.stall import LONGEST_LOOK_S, READY_S, STALL_S, Behind, Place, Stall
from streams.transport_publish import PUBLISH_TIMEOUT_S

HERE: Place = ("clickstream", 0)
THERE: Place = ("clickstream", 1)


def looked(stall: Stall, times: int, now: dict[Place, Behind] | None, moved: tuple[Place, ...] = ()) -> float:
    """How long the worst is silent after `times` looks, five seconds apart."""
    for _ in range(times):
        stall.look(5.0, [HERE, THERE], now, moved)
    return stall.seconds


def test_longer_than_any_wait() -> None:
    """Redis or Kafka that is away ends the worker first, by its own rule: the two do not fight."""
    assert STALL_S > RETRY_FOR_S + PUBLISH_TIMEOUT_S + 10
    assert LOOK_EVERY_S < LONGEST_LOOK_S < READY_S < RETRY_FOR_S


def test_records_and_nothing_comes_of_them() -> None:
    """Time is counted from the first look on, of the partition that is worst off; what comes ends it."""
    stall = Stall()
    assert looked(stall, 3, {HERE: Behind(7, 2), THERE: Behind(0, 0)}) == 15
    assert stall.said == "nothing was finished of clickstream/0 at offset 7 for 15 s, and 2 records are left"
    assert looked(stall, 1, {HERE: Behind(8, 1), THERE: Behind(0, 0)}, (HERE,)) == 0
    assert looked(stall, 2, {HERE: Behind(8, 1), THERE: Behind(0, 0)}, (THERE,)) == 10


def test_nothing_to_do() -> None:
    """A partition without records is never silent."""
    assert looked(Stall(), 1_000, {HERE: Behind(7, 0), THERE: Behind(0, 0)}) == 0


def test_a_seek_is_no_progress() -> None:
    """A worker that is fenced and seeks, again and again, has positions that move, and nothing comes of it."""
    stall = Stall()
    for n in range(40):
        stall.look(5.0, [HERE], {HERE: Behind(100 + n % 2, 50)}, ())
    assert stall.seconds == 200


@pytest.mark.parametrize("now", [None, {THERE: Behind(0, 0)}, {HERE: Behind(3, None), THERE: Behind(0, 0)}])
def test_nobody_knows(now: dict[Place, Behind] | None) -> None:
    """Where Kafka does not say, or a partition is not sought, silence counts: it could be a stall."""
    stall = Stall()
    assert looked(stall, 4, now) == 20
    assert "Kafka does not say how many records are left" in stall.said


def test_a_process_that_was_stopped() -> None:
    """After an hour of SIGSTOP, or of sleep, little has been missed."""
    stall = Stall()
    stall.look(3600.0, [HERE], {HERE: Behind(0, 9)}, ())
    assert stall.seconds == LONGEST_LOOK_S


def test_a_partition_that_goes_takes_its_silence_along() -> None:
    """What another worker has now is not ours to count, and begins anew when it comes back."""
    stall = Stall()
    assert looked(stall, 4, {HERE: Behind(0, 9), THERE: Behind(0, 0)}) == 20
    stall.look(5.0, [THERE], {THERE: Behind(0, 0)}, ())
    assert stall.seconds == 0
    stall.look(5.0, [HERE, THERE], {HERE: Behind(0, 9), THERE: Behind(0, 0)}, ())
    assert stall.seconds == 5


def test_a_group_that_is_never_joined() -> None:
    """Joining counts too; rebalances in between do not make a silent partition forget."""
    stall = Stall()
    for _ in range(4):
        stall.look(5.0, None, None, ())
    assert (stall.seconds, stall.said) == (20, "the group was not joined for 20 s")
    assert looked(stall, 2, {HERE: Behind(0, 9), THERE: Behind(0, 0)}) == 10
    stall.look(5.0, None, None, ())
    assert stall.seconds == 10
    assert looked(stall, 1, {HERE: Behind(0, 9), THERE: Behind(0, 0)}) == 15
