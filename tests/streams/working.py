"""A worker without Kafka: in place of its app a stand-in with a log and a list, which can refuse; the rest is real."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import orjson
import pytest
from faust.types import TP

from features.memory_store import MemoryStore
from features.store import Answer, Commit, Cursor, PartitionKey
from features.tombstones import REBUILD_MS
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.model import Model
from sinks.records import Record, unpack_outbox
from streams.claims import Claims
from streams.dead_letters import DeadLetters
from streams.engine import Engine
from streams.partition_count import PartitionCount
from streams.record_chunk import RecordChunk
from streams.recovery import Recovery
from streams.steps import Steps
from streams.transport import ChunkApp
from streams.wire import Decoder, Records
from streams.worker import Worker
from tests.intents.replaying import Pair
from tests.intents.steered import LATENESS, STEERED, T, steered_model

LANE: Final = TP("clickstream", 0)
KEY: Final = PartitionKey("default", "clickstream", 0)
DEAD: Final = "dead"
"""Where dead letters go."""


@dataclass
class Clock:
    """A monotonic clock that the test sets; put in place of a module's `time`."""

    now: float = 5_000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    @staticmethod
    def of_worker(monkeypatch: pytest.MonkeyPatch) -> "Clock":
        """A worker's clock: by it partitions are quiet, and Redis and Kafka are away."""
        made = Clock()
        for module in ("claims", "retry"):
            monkeypatch.setattr(f"streams.{module}.time", made)
        return made


@dataclass
class StandIn:
    """What a worker or trainer sees of Kafka: one partition's log, and what was asked of the app."""

    records: Sequence[tuple[bytes | None, bytes | None]]
    lane: TP = LANE
    assigned: frozenset[TP] = frozenset({LANE})
    published: list[Record] = field(default_factory=list)
    refuse: Callable[[Record], Exception | None] = lambda _: None
    owner: bool = True
    at_end: bool = True
    heard: float = 0.0
    sought: int = 0
    current: int = 1
    begin: int = 0
    young: int = 0
    acknowledged: int = -1
    kept: int = -1
    rewinds: list[int] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)
    asked: int = 0
    identified: int = 0
    given_up: set[TP] = field(default_factory=set)
    made: str = "the first"
    told: deque[str | Exception] = field(default_factory=deque)
    counts: dict[str, int] = field(default_factory=lambda: {"clickstream": 1, "intents": 1, "examples": 1, DEAD: 1})

    @property
    def app(self) -> ChunkApp:
        """The stand-in, as what it stands in for."""
        return cast(ChunkApp, self)

    def generation(self, topic: str, partition: int) -> int | None:
        """Of the last seek."""
        return self.current if (topic, partition) == self.lane and self.lane not in self.given_up else None

    def finish_after(self, publication: asyncio.Task[None]) -> None:
        """The chunk that is out is finished when this is through."""

    async def publish(self, records: Sequence[Record], timeout_s: float = 30.0) -> None:
        """Keep what is published, up to the first record that is refused."""
        for record in records:
            if (error := self.refuse(record)) is not None:
                raise error
            self.published.append(record)

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Seek, in a new generation."""
        assert (topic, partition) == self.lane
        self.rewinds.append(offset)
        self.seek(offset if offset >= 0 else max(self.acknowledged, self.begin))

    def seek(self, offset: int) -> None:
        """What Kafka hands out next begins at `offset`."""
        self.sought, self.current = max(offset, 0), self.current + 1
        self.given_up.clear()

    def heard_since(self, topic: str, partition: int) -> float:
        """Since when Kafka has answered, as the test has it."""
        return self.heard

    async def is_member(self, topic: str, partition: int) -> bool:
        """Whether this is the owner."""
        self.asked += 1
        return self.owner and (topic, partition) in self.assigned

    def give_up(self, topic: str, partition: int, generation: int) -> None:
        """Nothing more comes of a partition."""
        self.given_up.add(TP(topic, partition))

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions the topics have, as the test has it."""
        return {topic: self.counts.get(topic, 0) for topic in topics}

    async def topic_id(self, topic: str) -> str:
        """The topic's, as the test has it; before that, what brokers tell that lag, or are away."""
        self.identified += 1
        told = self.told.popleft() if self.told else self.made
        if isinstance(told, Exception):
            raise told
        return told

    async def committed(self, topic: str, partition: int) -> int:
        """What the group has committed, as the test has it."""
        return self.acknowledged

    def keep_committed(self, topic: str, partition: int, offset: int) -> None:
        """Note below what nothing is to be committed."""
        self.kept = offset

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log's."""
        return self.begin, len(self.records)

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first record that is young enough, as the test has it."""
        return max(self.begin, self.young)

    async def read_back(
        self, topic: str, partition: int, *, last: int = 0
    ) -> AsyncIterator[Sequence[tuple[bytes, Sequence[tuple[str, bytes]]]]]:
        """What was published to a topic."""
        yield [(record.value, record.headers) for record in self.of(topic)[-last:]]

    async def read_some(self, topic: str, partition: int, start: int, most: int) -> Records:
        """Records of the log."""
        first = max(start, self.begin)
        chunk = self.chunk(first, min(first + most, len(self.records)))
        columns = (chunk.keys, chunk.values, chunk.offsets, chunk.timestamps)
        return Records(topic, partition, chunk.start, chunk.end, *columns)

    def acknowledge(self, topic: str, partition: int, generation: int, offset: int) -> None:
        """Note what is to be committed to Kafka at a claim."""
        self.commits.append(offset)

    async def read_to_end(self, topic: str, partition: int, position: int) -> bool:
        """Whether there is no more, as the test has it."""
        return self.at_end

    def chunk(self, start: int = 0, end: int | None = None) -> RecordChunk:
        """The records [start, end) as a chunk of the current generation; where they are gone, as many that are left."""
        end = len(self.records) if end is None else end
        first = max(start, self.begin)
        end = min(first + end - start, len(self.records))
        keys, values = [list(column) for column in zip(*self.records[first:end], strict=True)] or [[], []]
        offsets, stamps = np.arange(first, end), np.full(end - first, -1)
        return RecordChunk(*self.lane, self.current, start, end, keys, values, offsets, stamps, first - start)

    async def deliver(self, work: Callable[[Sequence[RecordChunk]], Awaitable[None]], size: int = 1_000) -> None:
        """Hand out chunks of `size` from where it was sought until the end, honouring seeks."""
        for _ in range(1_000):
            if self.sought >= len(self.records) or self.given_up:
                return
            chunk = self.chunk(self.sought, min(self.sought + size, len(self.records)))
            await work([chunk])
            if chunk.generation == self.current:
                self.sought = chunk.end
        raise AssertionError("there is no end of it")

    def of(self, topic: str) -> list[Record]:
        """What was published to a topic."""
        return [record for record in self.published if record.topic == topic]

    def said(self) -> list[tuple[str, str, str]]:
        """(status, customer, intent) of the intents published; one said again, which must be with the same words, once.

        As every consumer takes them: a claim publishes again what its predecessor may not have.
        """
        told: dict[bytes, bytes] = {}
        for record in self.of("intents"):
            assert told.setdefault(dict(record.headers)["ce_id"], record.value) == record.value
        events = map(orjson.loads, told.values())
        return [(it["status"], it["customer_id"], it["intent"]) for it in events]

    def dead(self) -> list[tuple[int, str]]:
        """(offset, reason) of the dead letters published."""
        headers = [dict(record.headers) for record in self.of(DEAD)]
        return [(int(it["offset"]), it["reason"].decode()) for it in headers]


class TroubledStore(MemoryStore):
    """A memory store that goes wrong when the test wants it to.

    `before` and `after` a commit, and at `claims`: what to raise, or to await, one a call. `poison`: a customer whose
    state cannot be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: deque[Exception | Callable[[], Awaitable[object]]] = deque()
        self.after: deque[Exception] = deque()
        self.claims: deque[Exception] = deque()
        self.poison = ""
        self.taken: list[Commit] = []

    async def claim(self, key: PartitionKey, token: str, partitions: int = 0, topic_id: str = "") -> Any:
        """Claim, if nothing is in the way."""
        if self.claims:
            raise self.claims.popleft()
        return await super().claim(key, token, partitions, topic_id)

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        """States, unless one breaks."""
        if self.poison in customers:
            raise ZeroDivisionError(self.poison)
        return await super().read(key, cursor, customers)

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        """Commit, with trouble before or after."""
        if self.before:
            trouble = self.before.popleft()
            if isinstance(trouble, Exception):
                raise trouble
            await trouble()
        answer = await super().commit(key, commit)
        self.taken.append(commit)
        if self.after:
            raise self.after.popleft()
        return answer

    def outbox(self) -> list[Record]:
        """What the last commit wants published."""
        return unpack_outbox(self._partitions[KEY].outbox)

    def states(self) -> dict[str, bytes]:
        """All states of the partition."""
        return dict(self._partitions[KEY].states)

    def at(self) -> Cursor:
        """Where the partition stands."""
        return asyncio.run(self.cursor(KEY))


def worker(
    app: StandIn,
    store: MemoryStore,
    *,
    model: Model | None = None,
    limit: int = 1_000,
    idle_s: float = 0.0,
    most: int = 1_000,
    rebuild_ms: int = REBUILD_MS,
) -> Worker:
    """A worker as its process begins: nothing is claimed yet."""
    catalogue = Catalogue()
    setup = Setup(STEERED, catalogue, catalogue.names)
    engine = Engine(store, setup, model or steered_model(), LATENESS, max_customers=most, rebuild_ms=rebuild_ms)
    recovery = Recovery(app.app, engine, Decoder(catalogue), lambda: T)
    claims = Claims(app.app, engine, recovery, PartitionCount(app.app, "intents"))
    steps = Steps(app.app, engine, Decoder(catalogue), DeadLetters(DEAD, limit), recovery)
    return Worker(app.app, claims, steps, idle_s)


def run(app: StandIn, store: MemoryStore, size: int = 1_000, **options: Any) -> Worker:
    """A new worker that works all there is in chunks of `size`."""
    made = worker(app, store, **options)

    async def all_of_it() -> None:
        await app.deliver(made.work_ahead, size)
        await made.steps.published()

    asyncio.run(all_of_it())
    return made


def clean(records: Sequence[Pair]) -> tuple[list[tuple[str, str, str]], dict[str, bytes]]:
    """What an undisturbed worker says, and the states that it leaves."""
    app, store = StandIn(records), TroubledStore()
    run(app, store)
    return app.said(), store.states()
