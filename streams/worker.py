"""The worker.

A Faust agent that takes chunks of the clickstream through the engine, and publishes what came of them.

For each chunk: claim its partition if this is the first of an assignment (and publish the outbox found there),
decode, publish what is refused, then detect and commit, publish the outbox, and only then take the next chunk. What
goes wrong is sorted at this edge by what to do next: wait and try again, claim again, or find the one record that is
at fault.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from faust.types import TP, StreamT

from features.core_bundle import CORE
from features.events import Chunk
from features.kinds import CODE
from features.redis_store import RedisStore
from features.state import UnreadableState
from features.store import NotOwner, PartitionKey, StoreUnavailable
from intents.detect import Setup
from intents.model import Model
from intents.model_store import ModelStore
from intents.subjects import SubjectCollision
from sinks.records import Record
from streams.dead_letters import DeadLetters, TooManyDeadLetters
from streams.engine import Engine, LostPartition, Partition, Piece
from streams.log_lines import stand_at, stand_nowhere
from streams.models import ModelWatch, load_model
from streams.monitor import Monitor
from streams.observed_store import observed
from streams.observer import Observer
from streams.partition_count import PartitionCount, PartitionsChanged
from streams.recovery import Recovery
from streams.redis_fitness import EvictingRedis, RedisFitness
from streams.rights import admit, worker_rights
from streams.settings import Settings
from streams.stall import STALL_S
from streams.topics import REBUILD_DAYS
from streams.transport import ChunkApp, PublishAgain, RecordChunk, chunk_app, run_worker
from streams.wire import Decoder, Records

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

TRIES: Final = 3
"""How often a chunk is tried before the record at fault is looked for."""
RETRY_FOR_S: Final = 120.0
"""How long Redis or Kafka may be away before the worker ends with a code that asks for a new start."""
_LONGEST_PAUSE_S: Final = 5.0
_ASK_KAFKA_S: Final = 5.0
_LOST: Final = (LostPartition, NotOwner)
_FORGET: Final = CODE["forget"]


class CannotPublish(Exception):
    """Kafka refuses records that are committed: the worker stops, and its successor publishes them first."""


class OutOfMemory(MemoryError):
    """Memory does not even suffice for one record: the worker stops, to be started again."""


_FATAL: Final = (
    OutOfMemory,
    PartitionsChanged,
    TooManyDeadLetters,
    UnreadableState,
    SubjectCollision,
    StoreUnavailable,
    EvictingRedis,
    PublishAgain,
    CannotPublish,
)


@dataclass(slots=True)
class Held:
    """A claimed partition, the assignment it was claimed under, and since when (monotonic s) nothing came.

    `sought`: a rebuild of it was begun without waiting for a record.
    """

    partition: Partition
    generation: int
    quiet_since: float
    sought: bool = False


@dataclass(slots=True)
class Worker:
    """Works chunks of any of its partitions, one at a time."""

    app: ChunkApp
    engine: Engine
    decoder: Decoder
    dead_letters: DeadLetters
    recovery: Recovery
    count: PartitionCount
    idle_s: float
    fitness: RedisFitness | None = None
    held: dict[int, Held] = field(default_factory=dict)
    observer: Observer = field(default_factory=Observer)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def work(self, chunk: RecordChunk) -> None:
        """Work one chunk to its end: committed and published, or the partition given up."""
        async with self._busy:
            tp = TP(chunk.topic, chunk.partition)
            try:
                held = await self._claimed(chunk.topic, chunk.partition, chunk.generation)
            except _LOST as lost:
                await self._lost(tp, chunk.generation, lost)
                return
            position = held.partition.cursor.position
            if position not in (-1, chunk.start):
                _log.info("%s/%d continues at %d, not %d", chunk.topic, chunk.partition, position, chunk.start)
                await self.app.rewind(chunk.topic, chunk.partition, position)
                held.generation = self.app.generation(chunk.topic, chunk.partition) or held.generation
                self._acknowledge(held)
                return
            records = Records(
                chunk.topic,
                chunk.partition,
                chunk.start,
                chunk.end,
                chunk.keys,
                chunk.values,
                chunk.offsets,
                chunk.timestamps,
            )
            try:
                await self._careful(held.partition, records)
            except _LOST as lost:
                await self._lost(tp, chunk.generation, lost)
                return
            held.quiet_since = time.monotonic()
            if chunk.missing:
                self.observer.gone(chunk.missing)
                told = (*tp, chunk.start, chunk.start + chunk.missing, chunk.missing)
                _log.error("%s/%d: records %d to %d were deleted before they were read: %d are missing", *told)

    async def _claimed(self, topic: str, partition: int, generation: int) -> Held:
        """A partition, claimed once an assignment; what its last owner may not have published, is."""
        if self.fitness is not None:
            await lasting(self.fitness.look)
        held = self.held.get(partition)
        if held is None or held.generation != generation:
            key = self._key(topic, partition)
            if not await lasting(lambda: self.app.is_member(topic, partition)):
                raise NotOwner("the group has gone on without this worker")  # which was paused: no claim of its own
            count = await lasting(lambda: self.count.now(topic))
            found = await lasting(lambda: self.engine.claim(key, secrets.token_hex(16), count))
            self.count.compare(topic, found.partitions, count)
            await lasting(lambda: self.count.beside(topic, count))
            await self._publish(found.outbox)
            if found.outbox and found.tombstones.times:
                await lasting(lambda: self.engine.clear_outbox(found))
            await lasting(lambda: self.recovery.settle(found))
            await lasting(lambda: self.recovery.take_over(found))
            held = self.held[partition] = Held(found, generation, time.monotonic())
            self._acknowledge(held)
            _log.info("claimed %s/%d, next is %d", topic, partition, found.cursor.position)
        return held

    def _acknowledge(self, held: Held) -> None:
        """Have committed what its last owner published and did not acknowledge: no further record may come."""
        key, cursor = held.partition.key, held.partition.cursor
        if cursor.adopt_until < 0:
            self.app.acknowledge(key.topic, key.partition, held.generation, cursor.position)

    def _key(self, topic: str, partition: int) -> PartitionKey:
        return PartitionKey(self.engine.setup.namespace, topic, partition)

    async def _lost(self, tp: TP, generation: int, lost: Exception) -> None:
        """Ask Kafka who owns the partition; if it is still us, go on from Redis' position with a claim of our own."""
        self.held.pop(tp.partition, None)
        ours = await lasting(lambda: self.app.is_member(*tp))
        _log.warning("%s/%d: %s; by Kafka it is %s", *tp, lost, "still ours" if ours else "another's")
        if ours:
            await self._again(tp)
        else:
            self.app.give_up(*tp, generation)

    async def _again(self, tp: TP) -> None:
        """Seek to Redis' position, or Kafka's where it has none."""
        found = await lasting(lambda: self.engine.store.cursor(self._key(*tp)))
        await self.app.rewind(*tp, found.position)

    async def _careful(self, partition: Partition, records: Records) -> None:
        """Work records; an unexpected error is tried again, then halved down to the one record that causes it."""
        bug = ""
        for attempt in range(1, TRIES + 1):
            records = records.part(max(records.start, partition.cursor.position), records.end)
            try:
                await self._work(partition, records)
                return
            except (*_FATAL, *_LOST):
                raise
            except MemoryError as error:
                _log.warning("%s/%d from %d: out of memory", records.topic, records.partition, records.start)
                if len(records.offsets) <= 1:
                    raise OutOfMemory(
                        f"{records.topic}/{records.partition}: not enough memory for one record, {records.start}; "
                        "nothing is lost: give the worker more memory (see what takes it)"
                    ) from error
                break  # no fault of the records: fewer of them need less
            except Exception as error:  # noqa: BLE001  # the agent's edge: Faust would drop the chunk
                _log.exception("%s/%d from %d, try %d", records.topic, records.partition, records.start, attempt)
                bug = f"bug: {type(error).__name__}"
        records = records.part(max(records.start, partition.cursor.position), records.end)
        if len(records.offsets) <= 1:
            await self._pass_over(partition, records, bug)
            return
        middle = int(records.offsets[len(records.offsets) // 2])
        await self._careful(partition, records.part(records.start, middle))
        await self._careful(partition, records.part(middle, records.end))

    async def _pass_over(self, partition: Partition, records: Records, bug: str) -> None:
        """Dead-letter the one record that detect cannot work, and go on behind it."""
        await self._divert(partition, records, [(offset, bug) for offset in records.offsets.tolist()])
        nothing = Chunk.empty(records.topic, records.partition, records.start, records.end)
        await self._piece(Piece(partition, nothing, []))

    async def _work(self, partition: Partition, records: Records) -> None:
        chunk, refusals = self.decoder.decode(records)
        await self._divert(partition, records, [(refusal.offset, refusal.reason) for refusal in refusals])
        rest = chunk
        while True:
            await lasting(lambda: self.recovery.take_over(partition))
            piece, more = await lasting(lambda: self.engine.cut(partition, rest))  # noqa: B023  # called at once
            await self._piece(piece, records)
            if more is None:
                break
            rest = more

    async def _piece(self, piece: Piece, records: Records | None = None) -> None:
        """Detect, commit, publish: one piece of one partition."""
        step, (commit,) = await lasting(lambda: self.engine.step([piece]))
        if records is not None:
            late = [(offset, "unverifiable_late") for offset in step.unverifiable(0)]
            await self._divert(piece.partition, records, late)
        if step.detected.unslotted:
            _log.warning("%d intents found no free slot of their customers", step.detected.unslotted)
        await lasting(lambda: self.engine.commit(piece, commit))
        await self._publish(step.records[0])
        if (piece.chunk.kind == _FORGET).any():
            await lasting(lambda: self.engine.clear_outbox(piece.partition))
        self.observer.worked(piece, step, records)

    async def _divert(self, partition: Partition, records: Records, refused: list[tuple[int, str]]) -> None:
        """Publish dead letters of the (offset, reason) in `refused`, before the commit that passes them."""
        refused = [(offset, reason) for offset, reason in refused if offset >= partition.acknowledged]
        if letters := self.dead_letters.of(records, refused):
            self.observer.refused(letters)
            await self._publish(letters)
            self.observer.diverted(letters)
            self.dead_letters.published(records.partition, [offset for offset, _ in refused])

    async def _publish(self, records: list[Record]) -> None:
        """Publish; what cannot be published stops the worker, because the next commit would overwrite the outbox."""
        try:
            await lasting(lambda: self._try_to_publish(records))
        except (StoreUnavailable, PublishAgain, CannotPublish):
            raise
        except MemoryError as error:
            raise OutOfMemory("memory does not suffice to publish what is committed: it stays in Redis") from error
        except Exception as error:
            raise CannotPublish(
                f"{len(records)} records cannot be published ({error!r}): what is committed stays in Redis; check the "
                "topics and their partitions with `micro-intents doctor`, then start again"
            ) from error

    async def _try_to_publish(self, records: list[Record]) -> None:
        try:
            await self.app.publish(records)
        except PublishAgain:
            counts = await self.app.partition_counts(sorted({record.topic for record in records}))
            if gone := [topic for topic, count in counts.items() if count == 0]:
                raise CannotPublish(f"there is no topic {', '.join(gone)}: micro-intents topics create") from None
            raise

    async def tick(self) -> None:
        """Claim what was assigned, though nothing may come of it, and move the watermarks of quiet partitions."""
        for topic, partition in sorted(self.app.assigned):
            stand_at(topic, partition)
            async with self._busy:
                tp = TP(topic, partition)
                if tp in self.app.given_up and await lasting(lambda: self.app.is_member(*tp)):  # noqa: B023  # at once
                    await self._again(tp)
                generation = self.app.generation(topic, partition)
                if generation is None or tp not in self.app.assigned:
                    continue
                try:
                    held = await self._claimed(topic, partition, generation)
                    await self._look(held)
                    held.quiet_since = max(held.quiet_since, self.app.heard_since(*tp))  # an absent Kafka is not quiet
                    if self.idle_s > 0 and time.monotonic() - held.quiet_since >= self.idle_s:
                        await self._advance(held)
                except _LOST as lost:
                    await self._lost(tp, generation, lost)
        stand_nowhere()

    async def _look(self, held: Held) -> None:
        """Notice that Redis has lost a quiet partition, and let one that is rebuilt come again without a new record."""
        partition = held.partition
        found = await lasting(lambda: self.engine.store.cursor(partition.key))
        if found != partition.cursor:
            raise NotOwner(f"the store is at {found}, not {partition.cursor}")
        if partition.rebuilding and not held.sought:
            await self.app.rewind(partition.key.topic, partition.key.partition, found.position)
            held.sought = True
            held.generation = self.app.generation(partition.key.topic, partition.key.partition) or held.generation

    async def _advance(self, held: Held) -> None:
        """Move the watermark of a partition by its idle time, if Kafka confirms that it was read to its end."""
        key, partition = held.partition.key, held.partition
        idle = time.monotonic() - held.quiet_since
        at = partition.cursor.position
        if (
            partition.watermark_ms < 0
            or partition.rebuilding
            or not await self.app.read_to_end(key.topic, key.partition, at)
        ):
            return
        target = partition.watermark_ms + round(idle * 1000)
        while partition.watermark_ms < target:  # in several commits, if many deadlines are due
            await self._piece(await lasting(lambda: self.engine.advance(partition, target)))
        held.quiet_since = time.monotonic()


async def lasting(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call until Redis and Kafka answer, with growing pauses, for RETRY_FOR_S at most; then their error is raised."""
    began, pause = time.monotonic(), 0.1
    while True:
        try:
            return await call()
        except (StoreUnavailable, PublishAgain) as error:
            if time.monotonic() - began > RETRY_FOR_S:
                raise
            _log.warning("waiting %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251  # how far back to rebuild is counted from now


def make_worker(settings: Settings, *, stall_s: float = STALL_S) -> ChunkApp:
    """The app of a worker, which ends itself when nothing came of its records for `stall_s`."""
    observer = Observer()
    redis = RedisStore.from_url(settings.redis_url, timeout_s=settings.redis_timeout_s)
    store = observed(redis, observer)
    catalogue = settings.load_catalogue()
    setup = Setup(CORE, catalogue, catalogue.names, rules=settings.rules, namespace=settings.namespace)
    model = load_model(settings.model, CORE) if settings.model else Model.untrained(CORE)

    async def positions(partitions: frozenset[TP]) -> dict[TP, int]:
        found = {}
        for tp in partitions:
            cursor = await store.cursor(PartitionKey(settings.namespace, tp.topic, tp.partition))
            found[tp] = cursor.position
        return found

    app = chunk_app(settings.group, broker=settings.broker, start_positions=positions, observer=observer)

    async def ask_store() -> None:
        for topic, partition in sorted(app.places or {(settings.clickstream, 0)}):
            await store.cursor(PartitionKey(settings.namespace, topic, partition))

    app.watch = Monitor(app, observer, ask_store, settings.http_address, stall_s).watch
    engine = Engine(
        store, setup, model, settings.lateness_s * 1000, settings.topics, hash_key=settings.hash_key.encode()
    )
    letters = DeadLetters(settings.dead_letter, settings.dead_letters_per_minute)
    observer.limited(settings.dead_letters_per_minute)
    recovery = Recovery(app, engine, _wall_clock_ms, REBUILD_DAYS * 86_400_000, observer)
    count = PartitionCount(app, settings.intents)
    fitness = RedisFitness(redis)
    worker = Worker(
        app, engine, Decoder(catalogue), letters, recovery, count, settings.idle_s, fitness, observer=observer
    )

    @app.agent(app.topic(settings.clickstream), name="micro_intents.detect")
    async def detect(stream: StreamT[RecordChunk]) -> None:
        async for chunk in stream:
            await worker.work(chunk)

    @app.timer(1.0, name="micro_intents.idle")  # type: ignore[untyped-decorator]  # Faust
    async def idle() -> None:
        await worker.tick()

    if not settings.model:
        watch = ModelWatch(ModelStore(settings.model_store), CORE, observer)

        @app.timer(settings.snapshot_s, name="micro_intents.model")  # type: ignore[untyped-decorator]  # Faust
        async def look() -> None:
            newer = await asyncio.to_thread(watch.newer)
            if newer is not None:
                engine.model = newer
                _log.info("model %s, %s", newer.version, "ready" if newer.ready else "not ready yet")

        first = watch.newer()
        engine.model = first or model
    return app


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code (75: start it again). May raise BrokerRefused."""
    admit(settings, worker_rights(settings))
    return run_worker(make_worker(settings))
