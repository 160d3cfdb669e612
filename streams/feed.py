"""Sending a recording to the clickstream: keys placed as the shop's producers place them, as fast as told.

aiokafka takes ready-made batches for one partition, which is what placing every key by the configured partitioner leads
to: 0.8 µs of CPU a record (kafka-python 25, aiokafka record by record 10, librdkafka 1.8).
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from features.log import I64
from streams.broker import BrokerFailed, find_broker
from streams.partitioner import partitions_for
from streams.recordings import NO_TIME, RecordingBatch
from streams.wire import MAX_RECORD_BYTES

BATCH_BYTES: Final = 900_000
"""Largest batch that is sent; brokers take a little more than a million bytes unless told otherwise."""
IN_FLIGHT: Final = 64
"""Batches that may wait for their acknowledgement."""
SLICE: Final = 5_000
"""Records placed at once."""
TICK_S: Final = 0.01
"""The shortest pause between two sendings; event time finer than this is not paced."""
ACKNOWLEDGE_TIMEOUT_MS: Final = 60_000


@dataclass(slots=True)
class Pace:
    """When records are due: `speed` times as fast as their event times went by; None: at once. `clock` in seconds.

    Late records are due with those that they come after.
    """

    speed: float | None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _origin: tuple[int, float] | None = None

    async def parts(self, times_ms: I64) -> AsyncIterator[tuple[int, int]]:
        """Slices [start, end) of records with these event times, each given when it is due."""
        if self.speed is None:
            for start in range(0, len(times_ms), SLICE):
                yield start, min(start + SLICE, len(times_ms))
            return
        latest = np.maximum.accumulate(times_ms)
        start = 0
        while start < len(latest):
            now = self.clock()
            if self._origin is None and latest[start] != NO_TIME:
                self._origin = (int(latest[start]), now)
            due = int(self._reached(now)) if self._origin else NO_TIME
            end = int(np.searchsorted(latest, due, "right"))
            if end > start:
                yield start, end
                start = end
            else:
                await self.sleep(max(TICK_S, self._seconds_until(int(latest[start]), now)))

    def _reached(self, now: float) -> float:
        assert self._origin is not None and self.speed is not None
        return self._origin[0] + (now - self._origin[1]) * self.speed * 1000

    def _seconds_until(self, time_ms: int, now: float) -> float:
        assert self.speed is not None
        return (time_ms - self._reached(now)) / self.speed / 1000


@dataclass(slots=True)
class Feed:
    """An open way into a topic of `partitions` partitions; `sent` counts records, `too_long` those left out."""

    topic: str
    partitions: int
    partitioner: str
    sent: int = 0
    too_long: int = 0
    _producer: AIOKafkaProducer = field(default=None)
    _waiting: deque["asyncio.Future[object]"] = field(default_factory=deque)

    async def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Send records in order, waiting while too many are on their way; raises BrokerFailed.

        One that is longer than workers accept is left out: the broker would refuse the whole batch.
        """
        places = partitions_for(keys, self.partitions, self.partitioner)
        for partition in np.unique(places).tolist():
            await self._send_to(partition, keys, values, np.flatnonzero(places == partition).tolist())

    async def _send_to(
        self, partition: int, keys: Sequence[bytes], values: Sequence[bytes], places: Iterable[int]
    ) -> None:
        batch = self._producer.create_batch()
        for place in places:
            key, value = keys[place], values[place]
            if len(key) + len(value) > MAX_RECORD_BYTES:
                self.too_long += 1
            elif batch.append(timestamp=None, key=key, value=value) is None:
                await self._submit(batch, partition)
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value)
        await self._submit(batch, partition)

    async def _submit(self, batch: object, partition: int) -> None:
        count = batch.record_count()  # type: ignore[attr-defined]  # aiokafka has no types
        if not count:
            return
        try:
            self._waiting.append(await self._producer.send_batch(batch, self.topic, partition=partition))
            self.sent += count
            while len(self._waiting) > IN_FLIGHT:
                await self._waiting.popleft()
        except KafkaError as error:
            raise BrokerFailed(f"{self.topic}/{partition}: records were not accepted ({error!r})") from error

    async def flush(self) -> None:
        """Wait until everything is acknowledged; raises BrokerFailed."""
        try:
            while self._waiting:
                await self._waiting.popleft()
        except KafkaError as error:
            raise BrokerFailed(f"{self.topic}: records were not acknowledged ({error!r})") from error


@asynccontextmanager
async def open_feed(address: str, topic: str, partitioner: str) -> AsyncIterator[Feed]:
    """A feed into an existing topic (the embedded broker makes it); raises BrokerFailed."""
    broker = find_broker(address)
    producer = AIOKafkaProducer(
        **broker.address.client_options(),
        enable_idempotence=True,  # acknowledged by all replicas, in order, none twice
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=ACKNOWLEDGE_TIMEOUT_MS,
    )
    try:
        await producer.start()
        known = (await producer.client.fetch_all_metadata()).partitions_for_topic(topic)
        if known is None and not broker.creates_topics:
            known = await producer.partitions_for(topic)
        if not known:
            raise BrokerFailed(f"there is no topic {topic!r} at {broker.bootstrap}: micro-intents topics create")
        yield Feed(topic, len(known), partitioner, _producer=producer)
    except KafkaError as error:
        raise BrokerFailed(f"the broker at {broker.bootstrap}: {error!r}") from error
    finally:
        await producer.stop()


async def feed(
    opened: Feed, batches: Iterable[RecordingBatch], pace: Pace, told: Callable[[RecordingBatch, int], None]
) -> None:
    """Send a recording's batches; `told` hears after each part of a batch how many records were sent."""
    for batch in batches:
        async for start, end in pace.parts(batch.times_ms):
            await opened.send(batch.keys[start:end], batch.values[start:end])
            told(batch, opened.sent)
    await opened.flush()
