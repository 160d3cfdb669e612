"""Publishing through Faust's producer: sent together, acknowledged by all replicas, in order within a partition."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver

from sinks.records import Record

PUBLISH_TIMEOUT_S: Final = 30.0
"""How long all acknowledgements may take."""

STOP_TIMEOUT_S: Final = 5.0

_REFUSED = (MessageSizeTooLargeError, InvalidTopicError, TopicAuthorizationFailedError)
"""What no retry mends: our bug, or a setting; it surfaces as it is."""

_log = logging.getLogger(__name__)


class PublishAgain(Exception):
    """Kafka has not acknowledged every record: publish the same records again. Some may then be there twice."""


class ChunkProducer(driver.Producer):
    """The aiokafka driver's producer, idempotent."""

    def _settings_extra(self) -> Mapping[str, Any]:
        # Faust asks for this only within transactions. Kafka gives no producer id to who may write to no topic.
        return {"acks": "all", "enable_idempotence": True} if self.acks else {}

    async def publish(self, records: Sequence[Record], timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        """Send all records and wait for all acknowledgements; raises PublishAgain, or a KafkaError that no retry mends.

        While the broker is away the records stay queued and may still arrive after PublishAgain.
        """
        producer = self._ensure_producer()
        pending: list[asyncio.Future[Any]] = []
        places: dict[tuple[str, int | None], list[Record]] = {}
        for record in records:
            places.setdefault((record.topic, record.partition), []).append(record)
        try:
            async with asyncio.timeout(timeout_s):
                for (topic, partition), mine in places.items():
                    if partition is None:
                        pending += [await producer.send(topic, one.value, one.key, headers=one.headers) for one in mine]
                    else:
                        await _send_batches(producer, topic, partition, mine, pending)
                await asyncio.gather(*pending)
        except TimeoutError as error:
            raise PublishAgain(f"{len(records)} records not acknowledged after {timeout_s:g} s") from error
        except KafkaError as error:
            for future in pending:
                future.cancel()
            await self._renew(producer)
            if isinstance(error, _REFUSED):
                raise
            raise PublishAgain(f"{len(records)} records: {error!r}") from error

    async def _renew(self, broken: aiokafka.AIOKafkaProducer) -> None:
        # An idempotent aiokafka producer never sends to a partition again after one refused batch: every later one is
        # OutOfOrderSequenceNumber (seen on 4.1.0). A new producer starts a new sequence.
        if self._ensure_producer() is not broken:
            return  # somebody else's failure has already done it
        fresh = self._producer = self._new_producer()
        try:
            await asyncio.wait_for(fresh.start(), STOP_TIMEOUT_S)
            await asyncio.wait_for(broken.stop(), STOP_TIMEOUT_S)  # sends what it still has, if it can
        except (TimeoutError, KafkaError) as error:
            _log.warning("while replacing the producer: %r", error)


async def _send_batches(
    producer: aiokafka.AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    pending: list[asyncio.Future[Any]],
) -> None:
    """Send one partition's records in batches: a future in `pending` for each of those, not for each record."""
    batch = producer.create_batch()
    for record in records:
        while batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
            if not batch.record_count():
                raise MessageSizeTooLargeError(f"a record of {len(record.value)} bytes for {topic}")
            pending.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
    pending.append(await producer.send_batch(batch, topic, partition=partition))
