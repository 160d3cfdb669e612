"""Programs started beside this process that cannot outlive it: the embedded services, and those of the tests.

Every child holds the reading end of a pipe from its parent: when the parent stops or dies in any way, the pipe ends,
and the child ends what it runs. Children are in sessions of their own, so Ctrl-C reaches the parent alone.
"""

import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

START_TIMEOUT_S: Final = 60.0
"""How long a program may take until it answers."""

GRACE_S: Final = 10.0
"""How long a program may take to end by itself before it is killed."""

READY: Final = "ready "
"""A child's first line begins with this when what it runs has started; the rest of the line is its answer."""

_KEEP: Final = b"k"
_PORTS: Final = range(15_000, 30_000)


class ServiceFailed(RuntimeError):
    """A service is not installed or did not come up; the message says what to do, or what the service said."""


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Ask `condition` again and again until it holds; raises ServiceFailed naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{what}: nothing after {timeout_s:g} s")
        time.sleep(0.02)  # noqa: TID251 - the one place that waits for a condition


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on; raises ServiceFailed when there seems to be none.

    Below the range that systems choose outgoing ports from: a client that reconnects to a stopped service's port inside
    that range can end up connected to itself and keep the port occupied.
    """
    for _ in range(100):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceFailed(f"no free port between {_PORTS.start} and {_PORTS.stop}")


class Child:
    """`python -m module arguments…`, which says one `READY` line and then lives until this process closes the pipe.

    `answer` is the rest of that line. Raises ServiceFailed with what the child said instead.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parent.parent,  # where `streams` is found, whatever the caller's directory
            start_new_session=True,
        )
        try:
            self.answer = self._first_answer()
        except BaseException:  # Ctrl-C too: nothing may be left running
            self.stop()
            raise

    def _first_answer(self) -> str:
        assert self._process.stdout is not None
        said = b""
        while select.select([self._process.stdout], [], [], START_TIMEOUT_S)[0]:
            part = os.read(self._process.stdout.fileno(), 65_536)
            said += part
            for line in said.decode(errors="replace").splitlines(keepends=True):
                if line.startswith(READY) and line.endswith("\n"):
                    return line.removeprefix(READY).strip()
            if not part:
                raise ServiceFailed(f"did not start: {said.decode(errors='replace').strip()[-2000:]}")
        raise ServiceFailed(f"said nothing for {START_TIMEOUT_S:g} s")

    @property
    def running(self) -> bool:
        """Whether the child has not ended yet."""
        return self._process.poll() is None

    def stop(self, keep: bool = False) -> None:
        """Close the pipe and wait for the end; with `keep`, the child leaves its directory."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if keep:
                self._process.stdin.write(_KEEP)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # gone already
        try:
            self._process.wait(2 * GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Program:
    """A foreign program run under a child that ends it with its parent, in `directory`, where its `output.log` grows.

    `start` may be called again after `stop(keep=True)` or `kill`: same command, same directory. A plain `stop`, or the
    parent's death, removes the directory. `pid` is the program's own.
    """

    def __init__(self, command: Sequence[str], directory: Path, answers: Callable[[], bool]) -> None:
        self.command = list(command)
        self.directory = directory
        self.pid = 0
        self._answers = answers
        self._child: Child | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises ServiceFailed with the end of its output."""
        self._child = Child("streams.children", str(self.directory), *self.command)
        self.pid = int(self._child.answer)
        try:
            wait_for(self._answers_or_died, self.command[0])
        except BaseException:  # Ctrl-C too: nothing may be left running
            self.stop(keep=True)
            raise

    def _answers_or_died(self) -> bool:
        if self._child is None or not self._child.running:
            output = (self.directory / "output.log").read_text(errors="replace")
            raise ServiceFailed(f"{self.command[0]} ended by itself: {output[-2000:]}")
        return self._answers()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.running

    def stop(self, keep: bool = False) -> None:
        """End it as SIGTERM does, if it runs, and remove its directory unless told to `keep` it."""
        if self._child is not None:
            self._child.stop(keep)
            self._child = None
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL); the directory stays."""
        if self._child is not None:
            if self._child.running:
                os.kill(self.pid, signal.SIGKILL)
            self._child.stop(keep=True)
            self._child = None


def until_the_parent_ends() -> bytes:
    """Wait, in a child, for the end of the pipe; returns what the parent said before."""
    said = b""
    while part := os.read(0, 64):
        said += part
    return said


def run(directory: Path, command: Sequence[str]) -> int:
    """Be the child: run `command` until it or the parent ends; a parent without a last word takes the directory."""
    with open(directory / "output.log", "ab") as output:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    print(f"{READY}{program.pid}", flush=True)
    forget = threading.Event()

    def end_with_parent() -> None:
        if until_the_parent_ends() != _KEEP:
            forget.set()
        program.terminate()
        try:
            program.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            program.kill()

    threading.Thread(target=end_with_parent, daemon=True).start()
    code = program.wait()
    if forget.is_set():
        shutil.rmtree(directory, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
