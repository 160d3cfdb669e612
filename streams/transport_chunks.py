"""Record batches through Faust: an agent gets chunks of all partitions that have something, not events one by one.

1. In the consumer's thread (`transport_thread.py`) records are cut into chunks, of the seek that they continue.
2. Faust queues what one fetch brought as the value of one message. The stream hands the agent all that is queued: of
   each partition one chunk, of the current generation, `max_records` together at most.
3. When the agent comes back for the next ones, and what it still had to publish of these is published, these are
   finished, and their ends are committed with the next interval. Those that were cut short (a stop, a crash, an
   exception) are not finished, whatever Faust acknowledged.

One agent a topic, concurrency 1, nothing left running after the loop's body but one publication.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, AppT, ConsumerMessage, EventT, Message

from features.store import StoreUnavailable
from streams.observer import Observer
from streams.record_chunk import RecordChunk, joined
from streams.stall import Behind
from streams.transport_publish import ChunkProducer
from streams.transport_thread import BEHIND_TIMEOUT_S, ChunkThread

StartPositions = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
"""Where to start each partition: the next offset to read; -1 or nothing leaves it to Kafka's committed offset."""

POSITIONS_TIMEOUT_S: Final = 2.0
"""How long `StartPositions` may take; later, or when its store is unavailable, Kafka's committed offsets are used."""

SEEK_TIMEOUT_S: Final = 20.0
"""How long a whole seek may take; less than the request timeout, see `ChunkConsumer.perform_seek`."""

_log = logging.getLogger(__name__)


class SeekFailed(Exception):
    """Kafka did not say in time where partitions begin and end: start the worker again."""


Chunks = Sequence[RecordChunk]
"""Chunks of several partitions."""


class _Together(DefaultSchedulingStrategy):
    """Hands over all that one fetch brought at once."""

    def iterate(self, records: Mapping[TP, list[RecordChunk]]) -> Iterator[tuple[TP, Chunks]]:
        """One message for all partitions, in the name of the first."""
        if records:
            yield next(iter(records)), [chunk for chunks in records.values() for chunk in chunks]


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
        self.scheduler = _Together()  # type: ignore[abstract]  # Faust types its __init__ so
        self._generations: dict[TP, int] = {}
        self._finished: dict[TP, int] = {}
        self._kept: dict[TP, int] = {}
        self.given_up: set[TP] = set()
        self._seeks = count(1)
        self._seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> ChunkThread:
        most = cast(ChunkTransport, self.transport).max_records
        return ChunkThread(self, most, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Chunks) -> ConsumerMessage:
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=record[0].end - 1,
            timestamp=float(record[0].timestamps[-1]) / 1000.0,
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
        finished = self._finished.get(tp, -1)
        return finished if finished >= max(self._kept.get(tp, 0), 0) else None

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

    def keep_committed(self, tp: TP, offset: int) -> None:
        """Commit nothing below `offset`, which is committed: what is worked again below it was acknowledged before."""
        self._kept[tp] = offset

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
            self._acked[tp].clear()  # Faust commits only what is in there


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
        self.publication: asyncio.Task[None] | None = None


class ChunkSchema(faust.Schema[None, Chunks]):
    """Leaves a message's value, which is chunks, as it is."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Chunks have no key of their own."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Chunks:
        """The chunks."""
        return cast(Chunks, message.value)


class ChunkStream(faust.Stream[Chunks]):
    """Hands out chunks of the current generation, and finishes them when the agent is back and all is published."""

    def __aiter__(self) -> AsyncIterator[Chunks]:
        return self._current(super().__aiter__())

    async def _current(self, fetches: AsyncIterator[Chunks]) -> AsyncIterator[Chunks]:
        consumer = cast(ChunkConsumer, self.app.consumer)
        transport = cast(ChunkTransport, self.app.transport)
        waiting: deque[RecordChunk] = deque()
        async for fetched in fetches:
            waiting += fetched
            while waiting:
                chunks = self._take(waiting, consumer, transport.max_records)
                if chunks:
                    transport.observer.took(sum(map(len, chunks)))
                    yield chunks
                    # Not reached when the agent was cut short; Faust acknowledges even then.
                    _finish(consumer, chunks, transport.publication)

    def _take(self, waiting: deque[RecordChunk], consumer: ChunkConsumer, most: int) -> Chunks:
        """Of `waiting`, and of all that is queued behind it, one chunk a partition, of `most` records together."""
        found: dict[TP, list[RecordChunk]] = {}
        took = 0
        while waiting or self._refill(waiting):
            chunk = waiting[0]
            if consumer.is_current(chunk):
                mine = found.setdefault(TP(chunk.topic, chunk.partition), [])
                if (took and took + len(chunk) > most) or (mine and (mine[-1].end != chunk.start or chunk.missing)):
                    break
                took += len(chunk)
                mine.append(chunk)
            waiting.popleft()
        return [joined(chunks) for chunks in found.values() if chunks]

    def _refill(self, waiting: deque[RecordChunk]) -> bool:
        """Whether anything was queued; what is of an earlier assignment is dropped, as Faust would."""
        queue = getattr(self.channel, "queue", None)
        while not waiting and queue is not None and queue.qsize():
            event: EventT[Any] = queue.get_nowait()
            if self.app.flow_control.is_active() and event.message.generation_id == self.app.consumer_generation_id:
                waiting += cast(Chunks, event.value)
        return bool(waiting)


def _finish(consumer: ChunkConsumer, chunks: Chunks, publication: asyncio.Task[None] | None) -> None:
    """Finish chunks when the publication, if there is one, is through; not if it failed."""
    if publication is not None and not publication.done():
        publication.add_done_callback(partial(_finish, consumer, chunks))
    elif publication is None or (not publication.cancelled() and publication.exception() is None):
        for chunk in chunks:
            consumer.finish(chunk)
