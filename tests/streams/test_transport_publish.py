"""Publishing: what arrives, in which order, and what the caller learns when it does not."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from sinks.records import Record
from streams.partitioner import partition_for
from streams.transport import ChunkApp, chunk_app
from streams.transport_publish import PublishAgain
from tests.conftest import TopicFactory
from tests.services import Service
from tests.streams.transport_workers import pauses, read_all


async def _publishing(app: ChunkApp, steps: Callable[[], Any]) -> None:
    app.producer_only = True
    await app.start()
    try:
        await steps()
    finally:
        await app.stop()


def test_published_records_are_kept_whole_and_in_order(kafka: Service, topic_factory: TopicFactory) -> None:
    """Key, value, headers, partition and order arrive as given; without a partition, murmur2 of the key decides."""
    topic, hashed = topic_factory("published", 3), topic_factory("hashed", 8)
    app = chunk_app("publisher", broker=kafka.bootstrap)
    records = [Record(topic, i % 3, b"key%d" % i, b"%d" % i, [("a", b"1"), ("b", b"\xff")]) for i in range(3_000)]

    async def steps() -> None:
        await app.publish(records)
        await app.publish([Record(hashed, None, b"customer", b"x")])
        await app.publish([])

    asyncio.run(_publishing(app, steps))
    for partition in range(3):
        found = read_all(kafka.bootstrap, topic, partition, 1_000)
        sent = [(record.key, record.value, record.headers) for record in records[partition::3]]
        assert [(message.key(), message.value(), message.headers()) for message in found] == sent
    assert read_all(kafka.bootstrap, hashed, partition_for(b"customer", 8), 1)[0].key() == b"customer"


def test_more_than_a_batch_holds(kafka: Service, topic_factory: TopicFactory) -> None:
    """Records that fill several batches of one partition arrive whole and in order, large ones among them."""
    topic = topic_factory("many", 1, {"max.message.bytes": "2000000"})
    app = chunk_app("publisher", broker=kafka.bootstrap)
    sizes = [900_000 if i in (7, 8) else 300 + i for i in range(2_000)]
    records = [Record(topic, 0, b"k", b"%d" % i + b"x" * size) for i, size in enumerate(sizes)]

    async def steps() -> None:
        await app.publish(records)

    asyncio.run(_publishing(app, steps))
    found = read_all(kafka.bootstrap, topic, 0, len(records))
    assert [message.value() for message in found] == [record.value for record in records]


def test_a_refused_record_does_not_stop_the_next(kafka: Service, topic_factory: TopicFactory) -> None:
    """A record over the topic's limit surfaces as such; then the same partition takes records again."""
    topic = topic_factory("limited", 1, {"max.message.bytes": "2000"})
    app = chunk_app("publisher", broker=kafka.bootstrap)

    async def steps() -> None:
        await app.publish([Record(topic, 0, None, b"before")])
        with pytest.raises(MessageSizeTooLargeError):
            await app.publish([Record(topic, 0, None, b"x" * 5_000)])
        await app.publish([Record(topic, 0, None, b"after")])

    asyncio.run(_publishing(app, steps))
    assert [message.value() for message in read_all(kafka.bootstrap, topic, 0, 2)] == [b"before", b"after"]


def test_records_not_acknowledged_are_to_be_published_again(kafka: Service, topic_factory: TopicFactory) -> None:
    """While the broker hangs, publishing ends with PublishAgain after its time; when it is back, the retry arrives."""
    pauses(kafka)
    topic = topic_factory("again", 1)
    app = chunk_app("publisher", broker=kafka.bootstrap)

    async def steps() -> None:
        await app.publish([Record(topic, 0, None, b"before")])
        kafka.pause()
        try:
            with pytest.raises(PublishAgain):
                await app.publish([Record(topic, 0, None, b"again")], timeout_s=0.5)
        finally:
            kafka.resume()
        await app.publish([Record(topic, 0, None, b"again")])

    asyncio.run(_publishing(app, steps))
    found = [cast(bytes, message.value()) for message in read_all(kafka.bootstrap, topic, 0, 2)]
    assert found == [b"before", b"again"]
