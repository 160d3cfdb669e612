"""The consumer's thread, in which aiokafka fetches: here records are cut into chunks, and Kafka is asked for offsets.

Each chunk is stamped with the seek that it continues (its *generation*): what was fetched before a seek can never pass
for what follows it.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError, UnsupportedVersionError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.record_chunk import RecordChunk, cut
from streams.stall import Behind
from streams.transport_heard import Heard

BEHIND_TIMEOUT_S: Final = 5.0
"""How long Kafka may take to say where partitions end."""

FETCH_MAX_BYTES: Final = 8 << 20
"""Size of one fetch from one broker, before decompression."""

FETCH_WAIT_MS: Final = 100
"""Longest wait of an empty fetch: meanwhile none of that broker's other partitions is fetched (Faust has 1,500)."""


class _RecordsAsTheyAre(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """A fetch's records as its C code made them: a Python object of twelve fields for each is thrown away at once."""

    def _consumer_record(self, tp: object, record: Any) -> Any:
        return record


fetcher.PartitionRecords = _RecordsAsTheyAre  # the fetcher has no other place to say so

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


class ChunkThread(driver.AIOKafkaConsumerThread):
    """The consumer's thread. Seeks and fetches happen nowhere else, so each fetch knows which seek it continues."""

    _next: dict[TP, tuple[object, int, int]]
    """Of each partition: aiokafka's assignment when it was sought, the seek's generation, the next chunk's start."""

    def __init__(self, consumer: driver.Consumer, max_records: int, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._max_records = max_records
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
        chunks = {}
        for tp in map(ensure_TP, fetched):
            sought_in, generation, start = self._next.get(tp, (None, 0, 0))
            if sought_in is assignment:  # else assigned anew and not sought yet: its seek will bring the records again
                if fetched[tp][0].offset < start:  # aiokafka found its position out of range, and began again
                    raise PositionLost.at(tp, fetched[tp][0].offset, start)
                chunks[tp] = cut(tp, generation, start, fetched[tp], self._max_records)
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
