"""An event loop that stands still ends its process, and says where; one that turns, or that slept, does not."""

import logging
import os
import threading

import pytest

from streams.stall import LONGEST_LOOK_S
from streams.watchdog import Watchdog


def never(code: int) -> None:
    """What must not happen."""
    raise AssertionError(code)


def test_a_loop_that_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the bound it ends with a code that asks for a new start, once, and the log has the place."""
    ended: list[int] = []
    dog = Watchdog(3.0, ended.append)
    for _ in range(3):
        dog.look(1.0)
    assert (ended, dog.silent_s) == ([], 3.0)
    dog.look(1.0)
    assert ended == [os.EX_TEMPFAIL]
    (told,) = caplog.records
    assert told.levelno == logging.CRITICAL and "stands still for 4 s" in told.message
    assert "test_a_loop_that_stands_still" in told.message


def test_a_loop_that_turns() -> None:
    """Each beat begins the count anew."""
    dog = Watchdog(3.0, never)
    for _ in range(100):
        dog.look(1.0)
        dog.look(1.0)
        dog.beat()
        dog.look(1.0)
        assert dog.silent_s == 0


def test_a_process_that_was_stopped() -> None:
    """An hour that the whole process stood still is not an hour of the loop's."""
    dog = Watchdog(60.0, never)
    dog.look(3600.0)
    assert dog.silent_s == LONGEST_LOOK_S


def test_its_thread() -> None:
    """It looks by itself, without the loop's help, until it is stopped."""
    ended = threading.Event()
    dog = Watchdog(0.0, lambda _: ended.set(), every_s=0.01)
    dog.start()
    assert ended.wait(10)
    quiet = Watchdog(0.0, never, every_s=0.01)
    quiet.stop()
    quiet.start()
