"""Reading a partition outside the group: back from its beginning or its last records to its end, or some records."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiokafka
import numpy as np
from aiokafka.errors import KafkaError

from features.store import StoreUnavailable
from streams.broker_address import BrokerAddress
from streams.wire import Records

ReadBack = tuple[bytes, Sequence[tuple[str, bytes]]]
"""Value and headers of a record."""

CONNECT_TIMEOUT_S: Final = 10.0
POLL_TIMEOUT_S: Final = 10.0
"""How long the next records may take; there are some, or the end would have been reached."""
ENOUGH_BYTES: Final = 16_000_000
"""After so many bytes of records no more are looked at."""


async def read_back(
    address: BrokerAddress, topic: str, partition: int, *, last: int = 0
) -> AsyncIterator[Sequence[ReadBack]]:
    """Records of a partition in pieces: the `last` offsets of it (0: all), up to what is its end now.

    Nothing if there is no such partition. Raises StoreUnavailable if Kafka does not answer.
    """
    async with _opened(address, topic, partition) as (consumer, begin, end):
        async for records in _records(consumer, max(begin, end - last) if last else begin, end):
            yield [(record.value, record.headers) for record in records if record.value is not None]


async def read_some(address: BrokerAddress, topic: str, partition: int, start: int, most: int) -> Records:
    """Up to `most` records of a partition from `start`, or its beginning, on, fewer if they are large.

    Raises StoreUnavailable.
    """
    found: list[Any] = []
    size = 0
    async with _opened(address, topic, partition) as (consumer, begin, end):
        async for records in _records(consumer, max(begin, start), end):
            found += records[: most - len(found)]
            size += sum(len(record.value or b"") for record in records)
            if len(found) == most or size > ENOUGH_BYTES:
                break
    offsets = np.array([record.offset for record in found], dtype=np.int64)
    stamps = np.array([-1 if record.timestamp is None else record.timestamp for record in found], dtype=np.int64)
    keys, values = [record.key for record in found], [record.value for record in found]
    end = int(offsets[-1]) + 1 if found else start
    return Records(topic, partition, start, end, keys, values, offsets, stamps)


@asynccontextmanager
async def _opened(address: BrokerAddress, topic: str, partition: int) -> AsyncIterator[tuple[Any, int, int]]:
    """A consumer of one partition, where that begins and where it ends (0: there is none); raises StoreUnavailable."""
    place = aiokafka.TopicPartition(topic, partition)
    consumer = aiokafka.AIOKafkaConsumer(
        **address.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await consumer.start()
            begin = end = 0
            if partition in ((await consumer._client.fetch_all_metadata()).partitions_for_topic(topic) or ()):
                consumer.assign([place])
                begin = (await consumer.beginning_offsets([place]))[place]
                end = (await consumer.end_offsets([place]))[place]
        yield consumer, begin, end
    except (KafkaError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Kafka does not give back {topic}/{partition}: {error!r}") from error
    finally:
        await consumer.stop()


async def _records(consumer: Any, at: int, end: int) -> AsyncIterator[Sequence[Any]]:
    """Records of the consumer's partition from `at` to `end`, as they come; raises StoreUnavailable."""
    if at >= end:
        return
    (place,) = consumer.assignment()
    consumer.seek(place, at)
    while at < end:
        records = (await consumer.getmany(timeout_ms=int(POLL_TIMEOUT_S * 1000))).get(place, [])
        at = await consumer.position(place)
        if not records and at < end:
            raise StoreUnavailable(f"Kafka has not sent {place.topic}/{place.partition} from {at} to {end}")
        yield records
