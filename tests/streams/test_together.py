"""Partitions that share steps: each as if it were alone, whatever befalls the others."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest
from faust.types import TP

from features.store import PartitionKey
from sinks.records import Record
from streams import metrics
from streams.engine import Engine
from streams.observer import Observer
from streams.record_chunk import RecordChunk
from streams.worker import Worker
from tests.intents.replaying import Pair
from tests.intents.steered import Shop, T
from tests.streams.losing import busy_shop, logs_of
from tests.streams.working import StandIn, TroubledStore, clean, worker


@dataclass
class Several:
    """What a worker of several partitions sees of Kafka: a stand-in for each, and all that is published."""

    logs: Sequence[Sequence[Pair]]
    published: list[Record] = field(default_factory=list)
    lanes: list[StandIn] = field(init=False)

    def __post_init__(self) -> None:
        places = [TP("clickstream", number) for number in range(len(self.logs))]
        self.assigned = frozenset(places)
        self.lanes = [StandIn(log, lane, frozenset({lane})) for log, lane in zip(self.logs, places, strict=True)]

    def __getattr__(self, name: str) -> Any:
        """What is asked of a partition, its stand-in answers."""
        return lambda topic, partition, *rest: getattr(self.lanes[partition], name)(topic, partition, *rest)

    def finish_after(self, publication: asyncio.Task[None]) -> None:
        """The chunks that are out are finished when this is through."""

    async def publish(self, records: Sequence[Record], timeout_s: float = 30.0) -> None:
        """Keep what is published."""
        self.published += records

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """All have as many."""
        return dict.fromkeys(topics, len(self.lanes))

    async def topic_id(self, topic: str) -> str:
        """The first that was made."""
        return "the first"

    async def read_back(
        self, topic: str, partition: int, *, last: int = 0
    ) -> AsyncIterator[Sequence[tuple[bytes, Sequence[tuple[str, bytes]]]]]:
        """What was published to a partition."""
        found = [record for record in self.published if (record.topic, record.partition) == (topic, partition)]
        yield [(record.value, record.headers) for record in found[-last:]]

    async def deliver(self, made: Worker, dice: random.Random, most: int = 30) -> None:
        """Hand out chunks of some partitions at a time, each from where it was sought, to all the ends."""
        for _ in range(1_000):
            left = [lane for lane in self.lanes if lane.sought < len(lane.records) and not lane.given_up]
            if not left:
                await made.steps.published()
                return
            some = dice.sample(left, dice.randint(1, len(left)))
            chunks = [lane.chunk(lane.sought, lane.sought + dice.randint(1, most)) for lane in some]
            await made.work_ahead(chunks)
            for lane, chunk in zip(some, chunks, strict=True):
                if chunk.generation == lane.current:
                    lane.sought = chunk.end
        raise AssertionError("there is no end of it")

    def said(self, number: int) -> list[tuple[str, str, str]]:
        """(status, customer, intent) of the intents of a partition; what is said again is said in the same words."""
        lane = self.lanes[number]
        lane.published = [record for record in self.published if record.partition == number or record.topic == "dead"]
        return lane.said()

    @property
    def app(self) -> "Several":
        """The stand-in, as what it stands in for."""
        return self

    def worker(self, store: TroubledStore, **options: Any) -> Worker:
        """A worker of all partitions."""
        return worker(cast(StandIn, self), store, **options)


def key(number: int) -> PartitionKey:
    """A partition."""
    return PartitionKey("default", "clickstream", number)


def same_as_alone(app: Several, store: TroubledStore) -> None:
    """Assert that each partition said, and holds, what a worker of its own would have it say and hold."""
    for number, log in enumerate(app.logs):
        said, states = clean(log)
        assert app.said(number) == said
        assert logs_of(dict(store._partitions[key(number)].states)) == logs_of(states)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many partitions each step has, from now on."""
    seen: list[int] = []
    step = Engine.step

    async def counted(engine: Engine, pieces: Any) -> Any:
        seen.append(len(pieces))
        return await step(engine, pieces)

    monkeypatch.setattr(Engine, "step", counted)
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_each_as_if_it_were_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of any size of any partitions: the same intents in the same order, in steps that are shared."""
    dice, steps = random.Random(seed), steps_of(monkeypatch)
    app, store = Several([busy_shop(100 * seed + number) for number in range(4)]), TroubledStore()
    asyncio.run(app.deliver(app.worker(store, most=dice.choice((2, 1_000))), dice))
    assert max(steps) > 1
    same_as_alone(app, store)


def test_a_step_is_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions share a step only as far as one commit's customers go, or one read would take too long."""
    seen: list[list[int]] = []
    step = Engine.step

    async def counted(engine: Engine, pieces: Any) -> Any:
        seen.append([len(piece.customers) for piece in pieces])
        return await step(engine, pieces)

    monkeypatch.setattr(Engine, "step", counted)
    app, store = Several([busy_shop(number) for number in range(5)]), TroubledStore()
    asyncio.run(app.deliver(app.worker(store, most=6), random.Random(5), most=8))
    assert all(len(customers) == 1 or sum(customers) <= 6 for customers in seen)
    assert max(map(len, seen)) > 1
    same_as_alone(app, store)


def test_all_is_published_before_the_next_commit() -> None:
    """Before a partition's next commit everything of its last one is published, whatever the others wait for."""
    shop = Shop()
    for n in range(6):
        shop.view(n, f"tea{n}", 0.4)
    app, store, seen = Several([shop.records] * 3), TroubledStore(), []

    async def look() -> None:
        seen.append((len(store.taken), sum(record.topic == "intents" for record in app.published)))

    async def go() -> None:
        made = app.worker(store)
        for start in range(0, 6, 2):
            await made.work([lane.chunk(start, start + 2) for lane in app.lanes])

    store.before.extend([look] * 9)
    asyncio.run(go())
    assert [published for _, published in seen] == [0, 0, 0, 6, 6, 6, 12, 12, 12]


def test_one_is_taken_away() -> None:
    """A partition that another worker has claimed is given up; the others go on, and commit nothing twice."""
    app, store = Several([busy_shop(number) for number in range(3)]), TroubledStore()
    made, dice = app.worker(store), random.Random(1)

    async def go() -> None:
        await made.work([lane.chunk(0, 50) for lane in app.lanes])
        for lane in app.lanes:
            lane.sought = 50
        await store.claim(key(1), "thief")
        app.lanes[1].owner = False
        before = len(store.taken)
        await made.work([lane.chunk(50, 90) for lane in app.lanes])
        assert sum(commit.start < commit.position for commit in store.taken[before:]) == 2
        assert [(await store.cursor(key(number))).position for number in range(3)] == [90, 50, 90]
        assert [bool(lane.given_up) for lane in app.lanes] == [False, True, False]
        for lane in (app.lanes[0], app.lanes[2]):
            lane.sought = 90
        await app.deliver(made, dice)

    asyncio.run(go())
    for number in (0, 2):
        assert app.said(number) == clean(app.logs[number])[0]


def test_one_is_refused_at_its_commit() -> None:
    """A claim that is void only when the commit comes: what the others committed is published, and not worked again."""
    app, store = Several([busy_shop(number) for number in range(3)]), TroubledStore()
    made, dice = app.worker(store), random.Random(2)

    async def steal() -> None:
        await store.claim(key(0), "thief")

    async def go() -> None:
        await made.work([lane.chunk(0, 50) for lane in app.lanes])
        for lane in app.lanes:
            lane.sought = 50
        store.before.append(steal)  # the worker is still the owner, and claims again
        await made.work([lane.chunk(50, 90) for lane in app.lanes])
        assert app.lanes[0].rewinds == [50]
        assert [lane.rewinds for lane in app.lanes[1:]] == [[], []]
        for lane in app.lanes[1:]:
            lane.sought = 90
        await app.deliver(made, dice)

    asyncio.run(go())
    same_as_alone(app, store)


def test_one_is_taken_away_at_its_commit() -> None:
    """What a fenced commit would have published is not published: its new owner says it."""
    app, store = Several([busy_shop(number) for number in range(3)]), TroubledStore()
    made = app.worker(store)

    async def steal() -> None:
        await store.claim(key(2), "thief")
        app.lanes[2].owner = False

    async def go() -> None:
        store.before.append(steal)  # when the first of them commits
        await made.work([lane.chunk(0, 90) for lane in app.lanes])
        assert [(await store.cursor(key(number))).position for number in range(3)] == [90, 90, -1]

    asyncio.run(go())
    assert app.said(0) and app.said(1) and not app.said(2)


def test_one_is_rebuilt_beside_others(caplog: pytest.LogCaptureFixture) -> None:
    """One partition's states are lost, while others go their usual way: it is rebuilt, and all say what they should."""
    app, store = Several([busy_shop(number) for number in range(3)]), TroubledStore()
    first, dice = app.worker(store), random.Random(4)

    async def go() -> None:
        await first.work([lane.chunk(0, 60) for lane in app.lanes])
        del store._partitions[key(1)]
        for lane in app.lanes:
            lane.acknowledged = 60
            lane.seek(60)
        app.lanes[1].seek(0)
        made = app.worker(store)
        for _ in range(3):  # each time one chunk of the rebuilt one ends where its rebuilding does
            await made.work([lane.chunk(lane.sought, lane.sought + 30) for lane in app.lanes])
            for lane in app.lanes:
                lane.sought += 30
        await app.deliver(made, dice)

    asyncio.run(go())
    same_as_alone(app, store)
    assert "for itself" not in caplog.text


def test_a_fault_is_its_own_partitions(caplog: pytest.LogCaptureFixture) -> None:
    """One customer's state breaks the step of all: each goes on alone, and only that customer's record is refused."""
    shop = Shop()
    for n in range(8):
        shop.view(n, "tea", 0.4, "mallory" if n == 3 else f"c{n}")
    app, store = Several([shop.records, busy_shop(5), busy_shop(6)]), TroubledStore()
    store.poison = "mallory"
    asyncio.run(app.deliver(app.worker(store), random.Random(3)))
    letters = [orjson.loads(record.value)["customer_id"] for record in app.published if record.topic == "dead"]
    assert letters == ["mallory"]
    assert "together" in caplog.text
    for number in (1, 2):
        assert app.said(number) == clean(app.logs[number])[0]
    assert len(app.said(0)) == 7


@pytest.mark.parametrize("seed", range(4))
def test_rebuilt_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is emptied: all partitions are rebuilt in shared steps, and say what they would have said."""
    dice, steps = random.Random(seed), steps_of(monkeypatch)
    app, store = Several([busy_shop(10 * seed + number) for number in range(3)]), TroubledStore()
    first = app.worker(store)

    async def go() -> None:
        await first.work([lane.chunk(0, dice.randint(60, 120)) for lane in app.lanes])
        store._partitions.clear()
        for lane in app.lanes:
            lane.acknowledged = dice.choice((-1, 40))
            lane.seek(max(lane.acknowledged, 0))
        steps.clear()
        await app.deliver(app.worker(store), dice, most=25)

    asyncio.run(go())
    assert max(steps) > 1
    same_as_alone(app, store)


def test_what_is_told_of_each() -> None:
    """Events and intents of every partition of a step are counted, and each latency from its own record's time."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    app, store = Several([shop.records, shop.records]), TroubledStore()
    made = app.worker(store)
    observer = made.steps.observer = Observer(clock=lambda: T / 1_000 + 60)

    def stamped(chunk: RecordChunk, at_s: float) -> RecordChunk:
        chunk.timestamps[:] = T + round(at_s * 1000)
        return chunk

    asyncio.run(made.work([stamped(app.lanes[n].chunk(0, 1), at) for n, at in enumerate((59.5, 50.0))]))
    assert observer.meter.value(metrics.EVENTS) == observer.meter.value(metrics.LATENCY) == 2
    (spread,) = [family for family in observer.meter.registry.collect() if family.name == metrics.LATENCY.name]
    (seconds,) = [sample.value for sample in spread.samples if sample.name.endswith("_sum")]
    assert seconds == pytest.approx(0.5 + 10.0)
