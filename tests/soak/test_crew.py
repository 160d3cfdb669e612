"""Ends of processes are counted as what they are."""

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.job import KafkaRun
from tests.soak.crew import Crew, Exit, Member

WAITING = "import signal; signal.pause()"


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    """A crew of nobody."""
    return Crew(KafkaRun(Settings(), tmp_path), 4.0)


def member(crew: Crew, kind: str, program: str, said: str = "") -> Member:
    """A process that runs a line of Python, and has logged something."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    (crew.job.folder / f"process-{process.pid}.log").write_text(said)
    return Member(kind, process, ExitStack(), crew.job.folder / "orders")


@pytest.mark.parametrize(("kind", "code"), [("worker", 1), ("train", 1), ("worker", 75), ("worker", 0)])
def test_an_end_by_itself(crew: Crew, kind: str, code: int) -> None:
    """Its code is kept, and only waiting too long, or being done, is allowed."""
    one = member(crew, kind, f"raise SystemExit({code})")
    one.process.wait(20)
    crew.count(one)
    assert dict(crew.exits) == {Exit(kind, code): 1} and not crew.points
    assert [ended.allowed for ended in crew.exits] == [code in (0, 75)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_that_was_asked_for(crew: Crew, number: signal.Signals) -> None:
    """A signal of ours is not counted; the same signal of somebody else's is."""
    told, killed = (member(crew, "worker", WAITING) for _ in range(2))
    told.signal(number)
    killed.process.send_signal(number)
    for one in (told, killed):
        one.process.wait(20)
        crew.count(one)
    assert dict(crew.exits) == {Exit("worker", -number): 1} and not Exit("worker", -number).allowed


def test_an_end_at_a_fault_point(crew: Crew) -> None:
    """It is the point's hit, and no exit."""
    one = member(crew, "worker", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "dying before a commit\n")
    one.process.wait(20)
    crew.count(one)
    assert dict(crew.points) == {"before_commit": 1} and not crew.exits


def test_who_has_ended_before_the_end_is_counted_there(crew: Crew) -> None:
    """The last look at the crew comes too late for nobody."""
    crew.members += [member(crew, "worker", "raise SystemExit(1)"), member(crew, "train", WAITING)]
    first, last = crew.members
    first.process.wait(20)
    last.stack.callback(last.process.wait, 20)
    crew.end()
    assert dict(crew.exits) == {Exit("worker", 1): 1}
