"""Sending recordings: paced by event time, every key where the partitioner puts it."""

import asyncio
import uuid
from collections.abc import Sequence

import numpy as np
import pytest
from kafka import TopicPartition

from streams.broker import BrokerFailed, find_broker
from streams.feed import Pace, feed, open_feed
from streams.partitioner import PARTITIONERS
from streams.recordings import NO_TIME, RecordingBatch
from streams.wire import MAX_RECORD_BYTES
from tests.conftest import TopicFactory
from tests.services import Service


class Clock:
    """A clock that moves when somebody sleeps by it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds


def _due(speed: float | None, *batches: Sequence[int]) -> list[tuple[float, int]]:
    """(second, event time) of each record, as it is given out."""
    clock = Clock()
    pace = Pace(speed, clock, clock.sleep)

    async def run() -> list[tuple[float, int]]:
        given = []
        for times in batches:
            async for start, end in pace.parts(np.array(times, dtype=np.int64)):
                given += [(round(clock.now - 100.0, 3), time) for time in times[start:end]]
        return given

    return asyncio.run(run())


def test_paced_by_event_time() -> None:
    """At speed 60 a minute of event time takes a second, from one batch to the next as well."""
    start = 1_700_000_000_000
    given = _due(60, [start, start + 60_000, start + 60_000], [start + 180_000])
    assert [second for second, _ in given] == [0.0, 1.0, 1.0, 3.0]


def test_late_and_timeless_records_wait_for_nothing() -> None:
    """A record older than the one before it, or without a time, goes with it, and holds up nobody behind it."""
    given = _due(1, [NO_TIME, 10_000, 4_000, NO_TIME, 12_000])
    assert [second for second, _ in given] == [0.0, 0.0, 0.0, 0.0, 2.0]
    assert _due(1, [10_000, 12_000], [5_000, 13_000])[2:] == [(2.0, 5_000), (3.0, 13_000)]


def test_dense_records_go_in_slices() -> None:
    """Records closer than a tick go together, so that the pacing costs little."""
    given = _due(1, list(range(5_000)))
    assert [time for _, time in given] == list(range(5_000))
    assert len({second for second, _ in given}) <= 501
    assert all(abs(second - time / 1000) <= 0.011 for second, time in given)


def test_max_waits_for_nothing() -> None:
    """Without a speed everything is due at once, in order."""
    given = _due(None, [5, 86_400_000, 7])
    assert given == [(0.0, 5), (0.0, 86_400_000), (0.0, 7)]


def _batch(keys: list[bytes], values: list[bytes]) -> RecordingBatch:
    return RecordingBatch(keys, values, np.zeros(len(keys), dtype=np.int64), 0)


def _send(bootstrap: str, topic: str, partitioner: str, batch: RecordingBatch) -> tuple[int, int]:
    async def run() -> tuple[int, int]:
        async with open_feed(bootstrap, topic, partitioner) as opened:
            await feed(opened, [batch], Pace(None), lambda *_: None)
            return opened.sent, opened.too_long

    return asyncio.run(run())


def _read(bootstrap: str, topic: str, partitions: int) -> dict[int, list[tuple[bytes, bytes]]]:
    places = [TopicPartition(topic, number) for number in range(partitions)]
    found: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(partitions)}
    with find_broker(bootstrap).consumer() as consumer:
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < ends[place] for place in places):
            for place, records in consumer.poll(timeout_ms=500).items():
                found[place.partition] += [(record.key, record.value) for record in records]
    return found


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_keys_are_placed(kafka: Service, topic_factory: TopicFactory, partitioner: str) -> None:
    """Every record arrives once, in order, where the named partitioner puts it for the topic's own count."""
    topic = topic_factory("feed", partitions=5)
    keys = [b"%d" % (number % 997) for number in range(20_000)]
    values = [b"%d" % number for number in range(20_000)]
    assert _send(kafka.bootstrap, topic, partitioner, _batch(keys, values)) == (20_000, 0)
    place = PARTITIONERS[partitioner]
    wanted: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(5)}
    for key, value in zip(keys, values, strict=True):
        wanted[place(key, 5)].append((key, value))
    assert _read(kafka.bootstrap, topic, 5) == wanted


def test_large_records(kafka: Service, topic_factory: TopicFactory) -> None:
    """Records that fill several batches arrive; one longer than workers accept is left out and counted."""
    topic = topic_factory("feed", partitions=1)
    values = [b"a" * 600_000, b"b" * 600_000, b"c" * (MAX_RECORD_BYTES + 1), b"d"]
    assert _send(kafka.bootstrap, topic, "murmur2", _batch([b"k"] * 4, values)) == (3, 1)
    found = _read(kafka.bootstrap, topic, 1)[0]
    assert [(value[:1], len(value)) for _, value in found] == [(b"a", 600_000), (b"b", 600_000), (b"d", 1)]


def test_a_missing_topic(kafka: Service) -> None:
    """A topic that is not there is not waited for: what to do is said."""
    with pytest.raises(BrokerFailed, match=r"there is no topic 'gone-.*micro-intents topics create"):
        _send(kafka.bootstrap, f"gone-{uuid.uuid4().hex[:8]}", "murmur2", _batch([b"k"], [b"v"]))


def test_the_embedded_broker_makes_topics(embedded_broker: str) -> None:
    """At the embedded broker the topic appears on first use, with its four partitions."""
    topic = f"feed-{uuid.uuid4().hex[:8]}"
    keys = [b"%d" % number for number in range(1_000)]
    assert _send(embedded_broker, topic, "murmur2", _batch(keys, keys)) == (1_000, 0)
    found = _read(embedded_broker, topic, 4)
    place = PARTITIONERS["murmur2"]
    assert {number: [key for key, _ in records] for number, records in found.items()} == {
        number: [key for key in keys if place(key, 4) == number] for number in range(4)
    }
