"""One run: services, processes, the feed and the faults together; then the end, and what came of it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.job import KafkaRun, learned
from tests.soak.crew import STOP_S, Crew
from tests.soak.faults import Faults, NotMade
from tests.soak.feed import Feed, learnable, recorded, sendable, stream
from tests.soak.installation import install
from tests.soak.judge import judge
from tests.soak.outcome import Outcome, collect
from tests.soak.patience import until
from tests.soak.progress import Fault, Progress, read_positions
from tests.soak.result import Happened, Plan, Result
from tests.soak.schedule import KINDS, POINT_KIND, Planned, schedule

START_S: Final = 60.0
"""How long the first commit may take."""
TRAILING_S: Final = 150.0
"""How much longer than planned the faults may take."""
DRAIN_S: Final = 120.0
"""How long the job may take, after the last fault and the last record, to have worked everything."""
SETTLED_S: Final = 60.0
"""How long it may take, after the other faults, until every partition goes on, before the last fault."""
QUIET_MS: Final = 6 * 3_600_000
"""The last event of each partition is so much later than all others: every intent ends."""
SHOW_S: Final = 5.0


def say(words: str) -> None:
    """Show progress to a person."""
    print(words, file=sys.stderr, flush=True)


class Run:
    """A run in a folder."""

    def __init__(self, plan: Plan, folder: Path, stack: ExitStack) -> None:
        """Start the services, whose end is up to `stack`; nothing is sent yet."""
        self.plan = plan
        say("learning a model, starting Kafka and Redis")
        batch = recorded()
        self.snapshot = None if plan.swapping else learned(learnable(batch))
        (folder / "frozen.snapshot").write_bytes(self.snapshot or b"")
        self.installation = install(stack, folder, frozen=not plan.swapping)
        settings = self.settings = self.installation.settings
        self.job = KafkaRun(settings, folder)
        self.crew = Crew(self.job, plan.session_s)
        self.feed = Feed(settings.broker, settings.clickstream, stream(sendable(batch), plan.seed), plan.per_s)
        watching = stack.enter_context(self.installation.client(1.0))
        self.progress = Progress(self.feed.ends, lambda: read_positions(watching, settings))
        self.happened = Happened(points=self.crew.points, exits=self.crew.exits, stalls=self.progress.stalls)
        self.acts = Faults(
            self.crew,
            self.feed,
            self.installation,
            stack.enter_context(self.installation.client(5.0)),
            Random(f"faults {plan.seed}"),
            plan.session_s,
        )
        self.now: dict[str, str] = {}
        self.began = 0.0

    def outcome(self) -> Outcome:
        """Play the run to its end, and read back what came of it."""
        try:
            asyncio.run(self._play())
            say("reading everything back")
            return collect(self.job, self.installation.lags(), self.acts.cut)
        finally:
            self.crew.end()

    def clock(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time() - self.began

    async def _play(self) -> None:
        self.began = asyncio.get_running_loop().time()
        self.progress.clock = self.clock
        works = (self.crew.run(), self.progress.run(), self.feed.run(), self._show())
        beside: asyncio.Future[Any] = asyncio.gather(*works)
        playing: asyncio.Future[Any] = asyncio.ensure_future(self._faults_and_end())
        try:
            await asyncio.wait({playing, beside}, return_when=asyncio.FIRST_COMPLETED)
            await (playing if playing.done() else beside)  # raises what went wrong
        finally:
            self.progress.close(self.clock())
            playing.cancel()
            beside.cancel()
            await asyncio.gather(playing, beside, return_exceptions=True)

    async def _faults_and_end(self) -> None:
        await until(lambda: max(self.progress.positions.values(), default=0) > 0, START_S)
        self.happened.faults.append(Fault("start", 0.0, self.clock(), START_S))
        begin, plan = self.clock(), schedule(self.plan.seed, self.plan.length_s)
        with suppress(TimeoutError):  # then `Happened.missing` tells
            async with asyncio.timeout(self.plan.length_s + TRAILING_S):
                await asyncio.gather(
                    self._track(plan.faults, begin, self._fault), self._track(plan.points, begin, self._point)
                )
                await asyncio.sleep(max(0.0, begin + self.plan.length_s - self.clock()))
        await self._last(plan.last)
        self.now = {"end": "working the rest"}
        await self.feed.end(quiet_ms=QUIET_MS)
        await until(self._all_worked, DRAIN_S, every_s=1.0)
        await self.crew.without_workers(STOP_S)  # a late claim would publish examples again
        await until(self._all_worked, DRAIN_S, every_s=1.0)

    async def _last(self, planned: Planned) -> None:
        over = self.clock()
        await until(lambda: self.progress.all_moved_since(over), SETTLED_S)  # what Redis has lost is noticed
        await self._fault(planned)

    def _all_worked(self) -> bool:
        lags = self.installation.lags() if self.progress.lag == 0 else {}
        self.now = {"end": f"not committed in Kafka: {lags}"}
        return self.progress.lag == 0 and not lags

    async def _track(self, planned: list[Planned], begin: float, act: Callable[[Planned], Awaitable[None]]) -> None:
        for item in planned:
            await asyncio.sleep(max(0.0, begin + item.at_s - self.clock()))
            await act(item)

    async def _fault(self, planned: Planned) -> None:
        bound_s = KINDS[planned.name].bound_s(self.plan.session_s)
        await self._noted(planned.name, bound_s, self.acts.happen(planned.name, planned.length_s))
        ended = self.clock()
        await until(lambda: self.progress.all_moved_since(ended), bound_s)

    async def _point(self, planned: Planned) -> None:
        await self._noted(planned.name, POINT_KIND.bound_s(self.plan.session_s), self.acts.reach(planned.name))

    async def _noted(self, name: str, bound_s: float, act: Awaitable[None]) -> None:
        track = "fault" if name in KINDS else "point"
        began, self.now[track] = self.clock(), name
        try:
            await act
            self.happened.faults.append(Fault(name, began, self.clock(), bound_s))
        except NotMade as error:  # then `Happened.missing` tells
            say(f"no {name}: {error}")
        self.now[track] = f"after {name}"

    async def _show(self) -> None:
        while True:
            position = sum(max(position, 0) for position in self.progress.positions.values())
            workers = len(self.crew.workers())
            now = ", ".join(f"{track}: {what}" for track, what in sorted(self.now.items()))
            say(f"{self.clock():6.1f} s  worked {position:,}, lag {self.progress.lag:,}, workers {workers}; {now}")
            await asyncio.sleep(SHOW_S)


def run(plan: Plan, folder: Path) -> Result:
    """Run, judge, and say what is wrong."""
    with ExitStack() as stack:
        this = Run(plan, folder, stack)
        outcome = this.outcome()
    say("judging")
    result = Result(plan, judge(outcome, this.settings, this.snapshot), this.happened)
    longest = sorted(this.happened.stalls, key=lambda stall: -stall.length_s)[:10]
    for stall in longest:
        cause = stall.cause(this.happened.faults)
        say(f"{stall} after {cause}")
    for word in (*result.verdict.words, *this.happened.over()):
        say(word)
    return result
