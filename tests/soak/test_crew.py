"""Ends of processes are counted as what they are."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.children import wait_for
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


@pytest.mark.parametrize(("kind", "code"), [("worker", 1), ("train", 1), ("worker", 75), ("worker", 0), ("train", 0)])
def test_an_end_by_itself(crew: Crew, kind: str, code: int) -> None:
    """Its code is kept, and only waiting too long is allowed: neither a worker nor a trainer is ever done."""
    one = member(crew, kind, f"raise SystemExit({code})")
    one.process.wait(20)
    crew.count(one)
    assert dict(crew.exits) == {Exit(kind, code): 1} and not crew.points
    assert [ended.allowed for ended in crew.exits] == [code == 75]


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


def told_to_end(crew: Crew, ending: str, said: str = "") -> dict[Exit, int]:
    """What is counted of a worker that was told to end and then does this."""
    ready = crew.job.folder / "ready"
    program = (
        f"signal.signal(signal.SIGTERM, lambda *_: {ending}); pathlib.Path({str(ready)!r}).touch(); signal.pause()"
    )
    one = member(crew, "worker", f"import os, pathlib, signal; {program}", said)
    wait_for(ready.exists, "a worker that minds SIGTERM")
    one.signal(signal.SIGTERM)
    one.process.wait(20)
    crew.count(one)
    return dict(crew.exits)


LATE = "CRITICAL streams.running: not stopped after 4 s, ending the process"


@pytest.mark.parametrize(("code", "said"), [(0, ""), (75, ""), (1, LATE)])
def test_an_end_as_told(crew: Crew, code: int, said: str) -> None:
    """Told to end, a process may be done, have waited too long before, or have cut its stopping short and said so."""
    assert told_to_end(crew, f"os._exit({code})", said) == {}


@pytest.mark.parametrize(
    ("ending", "said", "code"),
    [
        ("1 / 0", "", 1),
        ("os._exit(1)", f"CRITICAL streams.running: worker crashed\n{LATE}", 1),
        ("os._exit(2)", LATE, 2),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "", -11),
        ("os.kill(os.getpid(), signal.SIGKILL)", "", -9),
    ],
)
def test_a_crash_while_stopping(crew: Crew, ending: str, said: str, code: int) -> None:
    """A traceback or a signal is counted, though the process had been told to end."""
    assert told_to_end(crew, ending, said) == {Exit("worker", code): 1}


def test_who_does_not_mind_the_signal(crew: Crew) -> None:
    """SIGTERM itself ends only what has not begun yet; what has begun stops by itself, and with a code."""
    one = member(crew, "worker", WAITING, "INFO streams.transport: [^ChunkApp]: Starting...\n")
    one.signal(signal.SIGTERM)
    one.process.wait(20)
    crew.count(one)
    assert dict(crew.exits) == {Exit("worker", -signal.SIGTERM): 1}


def test_nobody_is_told_twice(crew: Crew) -> None:
    """A second SIGTERM could meet a process whose handler is gone already."""
    one = member(crew, "worker", WAITING)
    sent: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "kill", lambda _, number: sent.append(number))
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            one.signal(number)
    one.process.kill()
    one.process.wait(20)
    assert sent == [signal.SIGTERM, signal.SIGKILL]


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
