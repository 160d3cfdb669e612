"""Reading a partition back from its beginning, a time, or its last records: outside the group, up to its end now."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.errors import KafkaError

from features.store import StoreUnavailable
from streams.broker_address import BrokerAddress

ReadBack = tuple[bytes, Sequence[tuple[str, bytes]]]
"""Value and headers of a record."""

CONNECT_TIMEOUT_S: Final = 10.0
POLL_TIMEOUT_S: Final = 10.0
"""How long the next records may take; there are some, or the end would have been reached."""


async def read_back(
    address: BrokerAddress, topic: str, partition: int, *, last: int = 0
) -> AsyncIterator[Sequence[ReadBack]]:
    """Records of a partition in pieces: the `last` offsets of it (0: all), up to what is its end now.

    Nothing if there is no such partition. Raises StoreUnavailable if Kafka does not answer.
    """
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
            if partition not in ((await consumer._client.fetch_all_metadata()).partitions_for_topic(topic) or ()):
                return
            consumer.assign([place])
            begin = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
        at = max(begin, end - last) if last else begin
        consumer.seek(place, at)
        while at < end:
            records = (await consumer.getmany(timeout_ms=int(POLL_TIMEOUT_S * 1000))).get(place, [])
            at = await consumer.position(place)
            if not records and at < end:
                raise StoreUnavailable(f"Kafka has not sent {topic}/{partition} from {at} to {end}")
            yield [_pair(record) for record in records if record.value is not None]
    except (KafkaError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Kafka does not give back {topic}/{partition}: {error!r}") from error
    finally:
        await consumer.stop()


def _pair(record: Any) -> ReadBack:
    return record.value, record.headers
