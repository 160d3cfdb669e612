"""The processes of the job: three workers and a trainer, each replaced when it has ended, whatever ended it."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Final, NamedTuple

from tests.fault_points import died_at
from tests.job import KafkaRun
from tests.soak.patience import until
from tests.worker_program import memory_order

WORKERS: Final = 3
LOOK_S: Final = 0.1
STOP_S: Final = 20.0
"""How long all workers may take to end."""
_BEGUN: Final = "Starting..."
"""What a process logs once it minds SIGTERM."""
_CRASHED: Final = "worker crashed"
_CUT_SHORT: Final = "not stopped after"
"""What a process logs that ends itself because stopping takes too long."""


class Exit(NamedTuple):
    """How a process ended other than as told: its kind, and its exit code (minus the signal, if one ended it)."""

    kind: str
    code: int

    @property
    def allowed(self) -> bool:
        """Whether a supervisor starts it again and all is well: it had waited too long. None is ever done."""
        return self.code == os.EX_TEMPFAIL


@dataclass(eq=False)
class Member:
    """One process; `orders` is where it looks for an order to die, `replaced` whether another comes after it."""

    kind: str
    process: Popen[bytes]
    stack: ExitStack
    orders: Path
    replaced: bool = True
    stopped: bool = False  # by SIGSTOP
    ordered: bool = False
    told_to_end: bool = False  # by SIGTERM
    killed: bool = False  # by a SIGKILL of ours

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def starve(self, events: int) -> None:
        """Let its memory suffice for no more than so many events at a time."""
        written = self.orders.with_suffix(".new")
        written.write_text(str(events))
        written.rename(memory_order(self.orders))

    def feed(self) -> None:
        """Let its memory suffice again."""
        memory_order(self.orders).unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there; no second SIGTERM: at its very end a process no longer minds it."""
        if self.running and not (number == signal.SIGTERM and self.told_to_end):
            self.told_to_end |= number == signal.SIGTERM
            self.killed |= number == signal.SIGKILL
            self.stopped = number == signal.SIGSTOP or (self.stopped and number != signal.SIGCONT)
            os.kill(self.process.pid, number)


@dataclass
class Crew:
    """Starts, replaces and counts the processes of a job."""

    job: KafkaRun
    session_s: float
    members: list[Member] = field(default_factory=list)
    points: Counter[str] = field(default_factory=Counter)
    exits: Counter[Exit] = field(default_factory=Counter)
    started: int = 0
    hiring: bool = True
    vacant: list[str] = field(default_factory=list)

    def start(self, kind: str = "worker", *, die_at: str = "", replaced: bool = True) -> Member:
        """Start a process."""
        self.started += 1
        orders = self.job.folder / f"orders-{self.started}"
        stack = ExitStack()
        options = ("--orders", str(orders), "--session-s", str(self.session_s))
        process = stack.enter_context(self.job.process(kind, *options, die_at=die_at))
        member = Member(kind, process, stack, orders, replaced)
        self.members.append(member)
        return member

    async def run(self) -> None:
        """Start all, and replace what has ended, until cancelled."""
        for kind in ["worker"] * WORKERS + ["train"]:
            self.start(kind)
        while True:
            for member in [member for member in self.members if not member.running]:
                self.count(member)
                self.members.remove(member)
                member.stack.close()
                if member.replaced:
                    self.vacant.append(member.kind)
            while self.hiring and self.vacant:
                self.start(self.vacant.pop())
            await asyncio.sleep(LOOK_S)

    def count(self, member: Member) -> None:
        """Count the end of a process: at a fault point, or other than as it was told."""
        if point := died_at(self.log_of(member)):
            self.points[point] += 1
        elif not self._ended_as_told(member):
            self.exits[Exit(member.kind, member.process.returncode)] += 1

    def _ended_as_told(self, member: Member) -> bool:
        code, log = member.process.returncode, self.log_of(member)
        if code == -signal.SIGKILL:
            return member.killed
        if code == -signal.SIGTERM and _BEGUN in log:
            return False
        cut_short = code == 1 and _CUT_SHORT in log and _CRASHED not in log
        return member.told_to_end and (cut_short or code in (0, os.EX_TEMPFAIL, -signal.SIGTERM))

    def log_of(self, member: Member) -> str:
        """What a process has logged."""
        return (self.job.folder / f"process-{member.process.pid}.log").read_text(errors="replace")

    def times_said(self, words: str, member: Member) -> int:
        """How often a process has logged these words."""
        return self.log_of(member).count(words)

    async def without_workers(self, timeout_s: float) -> bool:
        """Have no more workers, until `hiring` is set again; whether all of them ended in time."""
        self.hiring = False
        return await until(self._no_worker, timeout_s)

    def _no_worker(self) -> bool:
        left = [member for member in list(self.members) if member.kind == "worker"]
        for member in left:
            if not member.told_to_end:
                member.signal(signal.SIGTERM)
        return not left

    def workers(self) -> list[Member]:
        """Workers that are at work and under no order to die."""
        return [
            member
            for member in self.members
            if member.kind == "worker" and member.running and not member.stopped and not member.ordered
        ]

    def trainer(self) -> Member:
        """The trainer."""
        return next(member for member in self.members if member.kind == "train")

    def end(self) -> None:
        """End all of them."""
        for member in self.members:
            member.signal(signal.SIGCONT)
            member.signal(signal.SIGTERM)
        for member in self.members:
            with suppress(TimeoutExpired):  # then closing tells
                member.process.wait(STOP_S)
            member.stack.close()
            self.count(member)
