"""While Kafka takes what a step led to, the next one is computed; its commits wait, whatever goes on."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from faust.types import TP

from features.store import Answer, Commit, PartitionKey
from sinks.records import Record, unpack_outbox
from streams.engine import Engine
from streams.observer import Observer
from streams.retry import CannotPublish
from tests.streams.losing import Job, busy_shop
from tests.streams.test_together import steps_of
from tests.streams.test_worker import wishes
from tests.streams.working import DEAD, LANE, StandIn, TroubledStore, clean, worker


@dataclass
class Slow(StandIn):
    """A Kafka that takes its time, `turns` of the loop, or until it is let go on."""

    turns: int = 0
    gate: asyncio.Event | None = None

    async def publish(self, records: list[Record], timeout_s: float = 30.0) -> None:  # type: ignore[override]
        """Keep what is published, later."""
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.gate is not None and records and records[0].topic != DEAD:
            await self.gate.wait()
        await super().publish(records, timeout_s)


@dataclass
class Watched(TroubledStore):
    """A store that looks before each commit whether all of the partition's last outbox is published."""

    app: StandIn = field(default_factory=lambda: StandIn([]))
    looked: int = 0
    overwritten: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        """Commit, and count what gets lost by it."""
        left = unpack_outbox(self._partitions[key].outbox)
        self.looked += len(left)
        self.overwritten += sum(record not in self.app.published for record in left)
        return await super().commit(key, commit)


RECORDS: Final = wishes(4)


async def turns(until: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    for _ in range(1_000):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never comes")


def test_the_next_step_is_computed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next chunk is taken and computed while the last one's intents are on their way, but is not committed."""
    app, store, steps = Slow(RECORDS), TroubledStore(), steps_of(monkeypatch)
    made = worker(app, store)

    async def go() -> None:
        app.gate = asyncio.Event()
        await made.work_ahead([app.chunk(0, 2)])
        assert (len(store.taken), app.published) == (1, [])
        second = asyncio.create_task(made.work_ahead([app.chunk(2, 4)]))
        await turns(lambda: len(steps) == 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (len(store.taken), app.published, second.done()) == (1, [], False)
        app.gate.set()
        await second
        await made.steps.published()

    asyncio.run(go())
    assert (app.said(), store.states()) == clean(RECORDS)
    assert len(app.of("intents")) == 4  # nothing twice


@pytest.mark.parametrize("seed", range(6))
def test_nothing_unpublished_is_overwritten(seed: int) -> None:
    """Forgets, bursts, losses of the store and a Kafka that takes its time: every outbox is out before the next."""
    dice = random.Random(seed)
    job = Job(busy_shop(seed), size=dice.choice((3, 11)))
    job.app = app = Slow(job.records, turns=dice.choice((1, 300)))
    job.store = store = Watched(app=app)
    job.restart()
    job.until(60)
    store._partitions.clear()
    job.restart(acknowledged=dice.choice((-1, 40)))
    job.until(len(job.records))
    assert store.looked > 20
    assert store.overwritten == 0
    assert app.said() == clean(job.records)[0]


def test_a_publication_that_fails_behind_ones_back() -> None:
    """It stops the worker at the next chunk, before that is committed; the next claim publishes it."""
    app, store = StandIn(RECORDS), TroubledStore()
    app.refuse = lambda record: TypeError("None") if record.topic == "intents" else None
    made = worker(app, store)

    async def go() -> None:
        await made.work_ahead([app.chunk(0, 2)])
        with pytest.raises(CannotPublish):
            await made.work_ahead([app.chunk(2, 4)])
        assert (len(store.taken), app.published) == (1, [])
        app.refuse = lambda _: None
        await made.work([app.chunk(2, 4)])

    asyncio.run(go())
    assert (app.said(), store.states()) == clean(RECORDS)


@pytest.mark.parametrize("assigned", [frozenset({LANE}), frozenset[TP]()])
def test_a_publication_that_fails_in_a_quiet_moment(assigned: frozenset[TP]) -> None:
    """A tick finds it, and stops the worker, whatever is assigned by then."""
    app, store = StandIn(wishes(2)), TroubledStore()
    app.refuse = lambda record: TypeError("None") if record.topic == "intents" else None
    made = worker(app, store)

    async def go() -> None:
        await made.work_ahead([app.chunk(0, 2)])
        app.assigned = assigned
        with pytest.raises(CannotPublish):
            await made.tick()

    asyncio.run(go())


def test_a_bug_behind_ones_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong once all is committed is no record's fault: the worker stops, and overwrites nothing."""
    app, store = StandIn(RECORDS), TroubledStore()
    made = worker(app, store)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Observer, "worked", broken)

    async def go() -> None:
        await made.work_ahead([app.chunk(0, 2)])
        with pytest.raises(CannotPublish, match="ZeroDivisionError"):
            await made.work_ahead([app.chunk(2, 4)])

    asyncio.run(go())
    assert len(store.taken) == 1 and app.dead() == []


def test_a_new_claim_waits_for_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance meanwhile: what was on its way is not published a second time beside itself."""
    app, store = Slow(RECORDS), TroubledStore()
    made, claims, claim = worker(app, store), [], Engine.claim

    async def counted(engine: Engine, key: PartitionKey, *rest: Any) -> Any:
        claims.append(key)
        return await claim(engine, key, *rest)

    async def go() -> None:
        app.gate = asyncio.Event()
        await made.work_ahead([app.chunk(0, 2)])
        app.seek(2)
        monkeypatch.setattr(Engine, "claim", counted)
        second = asyncio.create_task(made.work([app.chunk(2, 4)]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert (claims, app.published) == ([], [])
        app.gate.set()
        await second

    asyncio.run(go())
    assert len(claims) == 1
    assert (app.said(), store.states()) == clean(RECORDS)


def test_all_who_wait_wait_to_the_end() -> None:
    """Several partitions wait for one publication: none of them goes on before it is through."""
    app, store = Slow(RECORDS), TroubledStore()
    made = worker(app, store)

    async def go() -> None:
        app.gate = asyncio.Event()
        await made.work_ahead([app.chunk(0, 2)])
        waiting = [asyncio.create_task(made.steps.published()) for _ in range(3)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        app.gate.set()
        await asyncio.gather(*waiting)
        assert len(app.of("intents")) == 2

    asyncio.run(go())
