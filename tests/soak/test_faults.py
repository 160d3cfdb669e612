"""Faults reach whom they are meant for, or it is said that they did not."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from features.events import Batch, Chunk
from streams.settings import Settings
from tests.features.building import chunk
from tests.features.naive_log import Event
from tests.job import KafkaRun
from tests.soak import faults as module
from tests.soak.crew import Crew, Member
from tests.soak.faults import Faults, NotMade
from tests.soak.patience import until
from tests.worker_program import memory_order, run_out_of_memory

TALKING = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)
print(pathlib.Path(sys.argv[1]).read_text(), 'events: out of memory', flush=True)
time.sleep(60)
"""


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    """A crew of nobody."""
    return Crew(KafkaRun(Settings(), tmp_path), 4.0)


def faults_of(crew: Crew) -> Faults:
    """Faults that need neither Kafka nor Redis."""
    nothing = cast("Any", None)
    return Faults(crew, nothing, nothing, nothing, Random(1), 4.0)


def hired(crew: Crew, stack: ExitStack, program: str) -> Member:
    """A worker that runs a program, which is told where an order about its memory would lie."""
    orders = crew.job.folder / "orders"
    with (crew.job.folder / "new.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", program, str(memory_order(orders))], stdout=log)
    (crew.job.folder / "new.log").rename(crew.job.folder / f"process-{process.pid}.log")
    stack.callback(process.wait)
    stack.callback(process.kill)
    crew.members.append(Member("worker", process, ExitStack(), orders))
    return crew.members[-1]


def test_a_starved_worker_is_fed_again(crew: Crew) -> None:
    """The fault lasts from when the worker has met it, and then its order is gone."""
    with ExitStack() as stack:
        member = hired(crew, stack, TALKING)
        asyncio.run(faults_of(crew)._starved(2, "out of memory", 0.0))
        assert crew.times_said("2 events: out of memory", member) == 1
        assert not memory_order(member.orders).exists()


def test_a_fault_that_nobody_meets_is_none(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without it is not good."""
    monkeypatch.setattr(module, "EFFECT_S", 0.0)
    with ExitStack() as stack:
        member = hired(crew, stack, "import signal; signal.pause()")
        with pytest.raises(NotMade, match="out of memory"):
            asyncio.run(faults_of(crew)._starved(2, "out of memory", 0.0))
        assert not memory_order(member.orders).exists()


def test_memory_suffices_for_what_the_order_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, and after one, for everything."""
    made: list[int] = []

    def real(chunks: Sequence[Chunk], *_: Any) -> None:
        made.append(sum(map(len, chunks)))

    monkeypatch.setattr(Batch, "of", staticmethod(real))
    order = memory_order(tmp_path / "orders")
    run_out_of_memory(order)
    few, many = (chunk([Event("anna", "view", n, n) for n in range(count)]) for count in (2, 3))
    Batch.of([few, many], cast("Any", None), [], 0)
    order.write_text("2")
    Batch.of([few], cast("Any", None), [], 0)
    with pytest.raises(MemoryError):
        Batch.of([many], cast("Any", None), [], 0)
    order.unlink()
    Batch.of([many], cast("Any", None), [], 0)
    assert made == [5, 2, 3]


def test_nobody_is_hired_while_there_should_be_no_workers(crew: Crew) -> None:
    """Workers end and stay away; places are kept, and filled when hiring again."""
    hired_again: list[str] = []

    async def play() -> None:
        crew.start = lambda kind, **_: hired_again.append(kind)  # type: ignore[method-assign, assignment]
        running = asyncio.create_task(crew.run())
        await asyncio.sleep(0)
        assert await crew.without_workers(20.0)
        assert hired_again == ["worker"] * 3 + ["train"]
        crew.hiring = True
        assert await until(lambda: len(hired_again) > 4, 20.0)
        running.cancel()

    with ExitStack() as stack:
        hired(crew, stack, "import signal; signal.pause()")
        asyncio.run(play())
    assert hired_again[4:] == ["worker"]
