"""The profile by stage: whose time is whose."""

import asyncio
import io
from collections.abc import Iterator

import pytest

from streams.stage_profile import STAGES, StageProfile


class Spent:
    """A clock that moves only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def work(self, seconds: float) -> None:
        """Work for so long."""
        self.now += seconds


def test_a_stages_time_is_its_own() -> None:
    """What a stage calls that is a stage itself is not counted twice."""
    spent = Spent()
    profile = StageProfile(spent)
    inner = profile.wrapped("inner", lambda: spent.work(2))

    def all_of_it() -> None:
        spent.work(1)
        inner()
        spent.work(3)

    profile.wrapped("outer", all_of_it)()
    assert profile.seconds == {"outer": 4, "inner": 2}


def test_errors_pass_and_close_the_stage() -> None:
    """A stage that raises is over: what follows is not its time."""
    spent = Spent()
    profile = StageProfile(spent)

    def fails() -> None:
        spent.work(1)
        raise LookupError

    with pytest.raises(LookupError):
        profile.wrapped("fails", fails)()
    spent.work(5)
    profile.wrapped("next", lambda: spent.work(2))()
    assert profile.seconds == {"fails": 1, "next": 2}


def test_waiting_is_nobodys_time() -> None:
    """A coroutine's time is what it works between its awaits; others' work meanwhile is theirs."""
    spent = Spent()
    profile = StageProfile(spent)

    async def waits() -> str:
        spent.work(1)
        await asyncio.sleep(0)
        spent.work(2)
        return "done"

    async def other() -> None:
        spent.work(10)

    async def both() -> list[str | None]:
        return list(await asyncio.gather(profile.wrapped("waits", waits)(), other()))

    assert asyncio.run(both()) == ["done", None]
    assert profile.seconds == {"waits": 3}


def test_an_error_reaches_a_waiting_coroutine() -> None:
    """A time-out or a cancellation is raised inside the coroutine, as without a profile."""
    profile = StageProfile(Spent())
    seen = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def cut_short() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await profile.wrapped("waits", waits)()

    asyncio.run(cut_short())
    assert seen == ["cancelled"]


def test_a_generators_steps() -> None:
    """What is done with what it yields is not its time."""
    spent = Spent()
    profile = StageProfile(spent)

    def steps() -> Iterator[int]:
        for n in range(3):
            spent.work(1)
            yield n

    for _ in profile.wrapped("steps", steps)():
        spent.work(7)
    assert profile.seconds == {"steps": 3}


def test_every_stage_is_there() -> None:
    """Each stage names a function that exists where its callers look for it."""
    for _, owner, name in STAGES:
        assert callable(getattr(owner, name))


def test_the_table() -> None:
    """Each stage has its µs an event, and the rest of the process is the loop's."""
    spent = Spent()
    profile = StageProfile(spent, spent)
    profile.begin()
    profile.wrapped("decode", lambda: spent.work(0.002))()
    spent.work(0.006)
    profile.events = 1_000
    out = io.StringIO()
    profile.print(out)
    lines = {line.split()[0]: line.split()[1] for line in out.getvalue().splitlines()[1:]}
    assert (lines["decode"], lines["loop"], lines["all"]) == ("2.00", "6.00", "8.00")
    assert out.getvalue().startswith("1,000 events")
