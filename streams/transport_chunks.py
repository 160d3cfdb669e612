"""Record batches through Faust: an agent gets chunks of hundreds of records of one partition, not events one by one.

1. aiokafka fetches in the consumer's thread. There each partition's records are cut into chunks, each stamped with the
   seek that it continues (its *generation*): what was fetched before a seek can never pass for what follows it.
2. Faust queues a chunk as the value of one message; the stream hands the agent only chunks of the current generation.
3. When the agent comes back for the next chunk, this one is finished, and its end is committed with the next interval.
   One that was cut short (a stop, a crash, an exception) is not finished, whatever Faust acknowledged.

One agent a topic, concurrency 1, nothing left running after the loop's body: chunks of all partitions come in turn.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final, cast

import aiokafka
import faust
import numpy as np
import numpy.typing as npt
from aiokafka.errors import KafkaError, UnsupportedVersionError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message

from features.store import StoreUnavailable
from streams.log_lines import stand_at, stand_nowhere
from streams.observer import Observer
from streams.stall import Behind
from streams.transport_heard import Heard
from streams.transport_publish import ChunkProducer

StartPositions = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
"""Where to start each partition: the next offset to read; -1 or nothing leaves it to Kafka's committed offset."""

POSITIONS_TIMEOUT_S: Final = 2.0
"""How long `StartPositions` may take; later, or when its store is unavailable, Kafka's committed offsets are used."""

SEEK_TIMEOUT_S: Final = 20.0
"""How long a whole seek may take; less than the request timeout, see `ChunkConsumer.perform_seek`."""

BEHIND_TIMEOUT_S: Final = 5.0
"""How long Kafka may take to say where partitions end."""

FETCH_MAX_BYTES: Final = 8 << 20
"""Size of one fetch from one broker, before decompression."""

FETCH_WAIT_MS: Final = 100
"""Longest wait of an empty fetch: meanwhile none of that broker's other partitions is fetched (Faust has 1,500)."""

_log = logging.getLogger(__name__)


class PositionLost(Exception):
    """A partition ends before the position to read from: its topic was made anew, or lost. A person must decide."""

    @staticmethod
    def at(tp: TP, end: int, position: int) -> "PositionLost":
        """The error in words."""
        return PositionLost(
            f"{tp.topic}/{tp.partition} ends at {end}, but was read up to {position}: the topic was made anew, or has "
            "lost records. Restore it; or, to begin again with what it has now, set MICRO_INTENTS_NAMESPACE and "
            "MICRO_INTENTS_GROUP to new names"
        )


class SeekFailed(Exception):
    """Kafka did not say in time where partitions begin and end: start the worker again."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordChunk:
    """Contiguous records of one partition, as columns.

    `start` is where the previous chunk of this generation ended, or the position sought: a legal hole in the offsets is
    inside a chunk, never between two. `end` is the last record's offset + 1. `timestamps` are Kafka's (UTC ms, -1 for
    none). `generation` differs after every seek: what was kept about the partition under another one is void.
    `missing` offsets from `start` on were deleted by retention before they were read.
    """

    topic: str
    partition: int
    generation: int
    start: int
    end: int
    keys: list[bytes | None]
    values: list[bytes | None]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    missing: int = 0

    def __len__(self) -> int:
        return len(self.values)


def _cut(tp: TP, generation: int, start: int, records: list[Any], size: int) -> list[RecordChunk]:
    chunks = []
    for first in range(0, len(records), size):
        part = records[first : first + size]
        keys, values = [record.key for record in part], [record.value for record in part]
        offsets = np.array([record.offset for record in part], np.int64)
        stamps = np.array([-1 if record.timestamp is None else record.timestamp for record in part], np.int64)
        end = int(offsets[-1]) + 1
        chunks.append(RecordChunk(tp.topic, tp.partition, generation, start, end, keys, values, offsets, stamps))
        start = end
    return chunks


class ChunkThread(driver.AIOKafkaConsumerThread):
    """The consumer's thread. Seeks and fetches happen nowhere else, so each fetch knows which seek it continues."""

    _next: dict[TP, tuple[object, int, int]]
    """Of each partition: aiokafka's assignment when it was sought, the seek's generation, the next chunk's start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._next = {}
        self.heard = Heard()

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; aiokafka reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_max_bytes = FETCH_MAX_BYTES
        return consumer

    async def resolve(self, partitions: Iterable[TP], wanted: Mapping[TP, int]) -> dict[TP, int]:
        """Start of each partition: as wanted, else as committed in Kafka, else its beginning; raises PositionLost."""
        consumer = self._ensure_consumer()
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        positions = {}
        for tp in partitions:
            position = wanted.get(tp, -1)
            if position < 0:
                committed = await consumer.committed(driver.ensure_aiokafka_TP(tp))
                position = begins[tp] if committed is None else committed
            if position > ends[tp]:  # aiokafka would begin again at the earliest record, as if nothing were the matter
                raise PositionLost.at(tp, ends[tp], position)
            if position < begins[tp]:
                _log.error("%s/%d: records %d to %d are gone", tp.topic, tp.partition, position, begins[tp])
            positions[tp] = position
        return positions

    async def committed(self, tp: TP) -> int:
        """The group's committed offset, -1 if there is none."""
        committed = await self._ensure_consumer().committed(driver.ensure_aiokafka_TP(tp))
        return -1 if committed is None else int(committed)

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """Where the partition begins and ends now."""
        consumer = self._ensure_consumer()
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]

    async def offset_at(self, tp: TP, time_ms: int) -> int:
        """The first offset with a timestamp of at least `time_ms`, -1 for none; where there are no times, the first."""
        consumer = self._ensure_consumer()
        try:
            found = (await consumer.offsets_for_times({tp: time_ms}))[tp]
        except UnsupportedVersionError:
            return (await self.bounds(tp))[0]
        return -1 if found is None else int(found.offset)

    async def seek_to(self, positions: Mapping[TP, int], generation: int) -> None:
        """Seek those partitions that are still assigned; what is fetched of them from now on is of this generation."""
        consumer = self._ensure_consumer()
        assignment = consumer._subscription.subscription.assignment
        for tp, position in positions.items():
            if tp in consumer.assignment():
                consumer.seek(driver.ensure_aiokafka_TP(tp), position)
                self._next[tp] = (assignment, generation, position)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # A partition may be gone since the caller looked; with none left Faust would crash the worker (ValueError).
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        return bool(mine) and await super()._commit(mine)

    async def at_end(self, tp: TP, position: int) -> bool:
        """Whether chunks were cut up to `position`, and the fetcher, past control records too, is at the end.

        It is not while a transaction is open: what that holds back, and all behind it, may still come.
        """
        consumer = self._ensure_consumer()
        if tp not in consumer.assignment() or self._next.get(tp, (None, 0, -1))[2] != position:
            return False
        ends = await consumer.end_offsets([tp])
        if position > ends[tp]:
            raise PositionLost.at(tp, ends[tp], position)
        there = driver.ensure_aiokafka_TP(tp)
        return bool(await consumer.position(there) >= max(ends[tp], consumer.highwater(there) or 0))

    async def behind(self, finished: Mapping[TP, int]) -> dict[TP, Behind]:
        """How far the agent's last `finished` offsets are from the ends; control records at an end are nothing."""
        consumer = self._ensure_consumer()
        assignment = consumer._subscription.subscription.assignment
        mine = [tp for tp in finished if self._next.get(tp, (None,))[0] is assignment]  # else not sought yet
        async with asyncio.timeout(BEHIND_TIMEOUT_S):  # one of two workers of this thread's queue waits meanwhile
            ends = await consumer.end_offsets(mine) if mine else {}
            found = {}
            for tp in mine:
                handed_out = self._next[tp][2] == finished[tp]
                done = handed_out and await consumer.position(driver.ensure_aiokafka_TP(tp)) >= ends[tp]
                found[tp] = Behind(finished[tp], 0 if done else max(ends[tp] - finished[tp], 0))
        return found

    async def _fetch_records(
        self, consumer: aiokafka.AIOKafkaConsumer, *args: Any, **options: Any
    ) -> dict[TP, list[Any]]:
        fetched = await super()._fetch_records(consumer, *args, **options)
        # No await from here on: aiokafka moved its positions past these records in this very turn of the loop.
        assignment, now_s = consumer._subscription.subscription.assignment, time.monotonic()
        for tp in map(ensure_TP, assignment.tps if assignment is not None else ()):
            self.heard.look(tp, assignment.state_value(driver.ensure_aiokafka_TP(tp)).timestamp, now_s)
        size = cast(ChunkTransport, self.transport).max_records
        chunks = {}
        for tp in map(ensure_TP, fetched):
            sought_in, generation, start = self._next.get(tp, (None, 0, 0))
            if sought_in is assignment:  # else assigned anew and not sought yet: its seek will bring the records again
                if fetched[tp][0].offset < start:  # aiokafka found its position out of range, and began again
                    raise PositionLost.at(tp, fetched[tp][0].offset, start)
                chunks[tp] = _cut(tp, generation, start, fetched[tp], size)
                self._next[tp] = (assignment, generation, chunks[tp][-1].end)
        for tp, parts in chunks.items():
            if parts[0].offsets[0] > parts[0].start:
                parts[0] = replace(parts[0], missing=await self._missing(consumer, tp, parts[0]))
        return chunks

    async def _missing(self, consumer: aiokafka.AIOKafkaConsumer, tp: TP, chunk: RecordChunk) -> int:
        """How much of the hole at a chunk's start is before the partition's beginning: deleted, else it was legal."""
        try:
            begin = (await consumer.beginning_offsets([tp]))[tp]
        except KafkaError as error:  # the records must not get lost for this
            _log.warning("Kafka does not say where %s/%d begins: %r", tp.topic, tp.partition, error)
            return 0
        return max(0, min(int(begin), int(chunk.offsets[0])) - chunk.start)


class _NoReadOffsets(dict[TP, int | None]):
    """Faust's memory of what it read last, which forgets: it would drop records sought again without a word."""

    def __getitem__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        pass


class ChunkConsumer(driver.Consumer):
    """The aiokafka driver's consumer, of chunks: starts where it is told, commits what the agent has finished."""

    _thread: ChunkThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NoReadOffsets()
        self._generations: dict[TP, int] = {}
        self._finished: dict[TP, int] = {}
        self.given_up: set[TP] = set()
        self._seeks = count(1)
        self._seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: RecordChunk) -> ConsumerMessage:
        return ConsumerMessage(
            topic=record.topic,
            partition=record.partition,
            offset=record.end - 1,
            timestamp=float(record.timestamps[-1]) / 1000.0,
            timestamp_type=0,
            headers=[],
            key=None,
            value=cast(bytes, record),
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,  # without it the stream drops every message
        )

    def _new_offset(self, tp: TP) -> int | None:
        # Faust wants consecutive offsets, and acknowledges also what it skipped or cut short: neither is for chunks.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._finished.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps: nobody asks for them, and one for each chunk would stay for ever."""

    def on_buffer_full(self, tp: TP) -> None:
        """Let the full queue alone hold the fetcher back: when Faust takes all partitions out, it sleeps a second."""

    async def perform_seek(self) -> None:
        """Seek every assigned partition to its start; Faust's recovery asks for it after each rebalance.

        After the request timeout recovery would just end, and the worker sit there for ever: it crashes before.
        """
        try:
            async with self._seeking, asyncio.timeout(SEEK_TIMEOUT_S):
                partitions = frozenset(self.assignment())
                wanted = await self._wanted(partitions)
                await self._seek_to(await self._thread.call_thread(self._thread.resolve, partitions, wanted))
        except TimeoutError:
            failed = SeekFailed(f"no offsets from Kafka after {SEEK_TIMEOUT_S:g} s")
            await self.app.crash(failed)
            raise failed from None

    async def _wanted(self, partitions: frozenset[TP]) -> Mapping[TP, int]:
        ask = cast(ChunkTransport, self.transport).start_positions
        if ask is None:
            return {}
        try:
            return await asyncio.wait_for(ask(partitions), POSITIONS_TIMEOUT_S)
        except (TimeoutError, StoreUnavailable) as error:
            _log.warning("no start positions, taking Kafka's: %r", error)
            return {}

    async def _seek_to(self, positions: Mapping[TP, int]) -> None:
        generation = next(self._seeks)
        for tp, position in positions.items():
            self._generations[tp] = generation
            self.given_up.discard(tp)
            self._finished[tp] = self._committed_offset[tp] = position
        await self._thread.call_thread(self._thread.seek_to, positions, generation)

    async def rewind(self, tp: TP, offset: int) -> None:
        """Continue a partition from `offset`, before or after where it is; its chunks already queued are dropped."""
        async with self._seeking:
            await self._seek_to(await self._thread.call_thread(self._thread.resolve, frozenset({tp}), {tp: offset}))

    def acknowledge(self, tp: TP, generation: int, offset: int) -> None:
        """Let `offset`, where the partition was sought, be committed though no chunk of this worker's ended there."""
        if self._generations.get(tp) == generation and self._finished.get(tp) == offset:
            self._acked[tp].clear()  # Faust commits only what is in there
            self._committed_offset[tp] = None

    def give_up(self, tp: TP, generation: int) -> None:
        """Let no chunk of a partition be current, and so handed out or finished, until it is sought again."""
        if self._generations.get(tp) == generation:
            del self._generations[tp]
            self.given_up.add(tp)

    async def read_to_end(self, tp: TP, position: int) -> bool:
        """Whether all records of a partition were handed out up to `position`, and Kafka has no more now."""
        return bool(await self._thread.call_thread(self._thread.at_end, tp, position))

    async def behind(self) -> dict[TP, Behind]:
        """Where each assigned partition stands, if it was sought; raises TimeoutError or KafkaError."""
        asked = self._thread.call_thread(self._thread.behind, dict(self._finished))
        return cast(dict[TP, Behind], await asyncio.wait_for(asked, 2 * BEHIND_TIMEOUT_S))

    def generation_of(self, tp: TP) -> int | None:
        """The generation of a partition's last seek, None if there was none, or it was given up since."""
        return self._generations.get(tp)

    def is_current(self, chunk: RecordChunk) -> bool:
        """Whether no seek has overtaken the chunk."""
        return self._generations.get(TP(chunk.topic, chunk.partition)) == chunk.generation

    def finish(self, chunk: RecordChunk) -> None:
        """Note that the agent is done with a chunk; in order only, so that no commit passes one that is not done."""
        tp = TP(chunk.topic, chunk.partition)
        if self.is_current(chunk) and self._finished[tp] == chunk.start:
            self._finished[tp] = chunk.end


class ChunkTransport(driver.Transport):
    """Faust's aiokafka transport, of chunks of at most `max_records`."""

    Consumer = ChunkConsumer
    Producer = ChunkProducer

    def __init__(
        self, app: faust.App, start_positions: StartPositions | None, max_records: int, observer: Observer
    ) -> None:
        super().__init__(app.conf.broker, app)
        self.observer = observer
        self.start_positions = start_positions
        self.max_records = max_records


class ChunkSchema(faust.Schema[None, RecordChunk]):
    """Leaves a message's value, which is a chunk, as it is."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Chunks have no key of their own."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> RecordChunk:
        """The chunk."""
        return cast(RecordChunk, message.value)


class ChunkStream(faust.Stream[RecordChunk]):
    """Hands out chunks of the current generation, and finishes each one when the agent comes back for the next."""

    def __aiter__(self) -> AsyncIterator[RecordChunk]:
        return self._current(super().__aiter__())

    async def _current(self, chunks: AsyncIterator[RecordChunk]) -> AsyncIterator[RecordChunk]:
        consumer = cast(ChunkConsumer, self.app.consumer)
        observer = cast(ChunkTransport, self.app.transport).observer
        async for chunk in chunks:
            if consumer.is_current(chunk):
                observer.took(len(chunk))
                stand_at(chunk.topic, chunk.partition, chunk.start)
                yield chunk
                stand_nowhere()
                consumer.finish(chunk)  # not reached when the agent was cut short; Faust acknowledges even then
