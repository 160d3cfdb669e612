"""Where a claimed partition goes on, and what of its intents was published before: after a loss of Redis, too.

Redis may be empty, or older than what was published: emptied, restored from a backup, or killed with the last second
of its append-only file. Kafka knows better, in two places: the offset that the group has committed, before which
everything was published, and the end of the partition of `intents`. Where either is ahead of Redis, records are worked
again from Redis' position (an empty one's: as far back as the rebuild window goes), and intents are taken over from the
`intents` topic (`intents/adoption.py`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from features.store import Cursor, PartitionKey
from intents.adoption import Published
from streams.engine import Engine, Partition
from streams.observer import Observer
from streams.transport import ChunkApp, PositionLost

_log = logging.getLogger(__name__)

TAIL: Final = 1_000
"""Records at the end of `intents` that each claim looks at.

The newest would do, but for a paused worker that publishes its last outbox again when it wakes, behind newer records.
"""
_DIGITS: Final = 18
"""More of them are no time that fits 64 bits."""


def adopt_until(cursor: Cursor, start: int, acknowledged: int, published: Published) -> int:
    """The source offset up to which logs are rebuilt before intents are taken over; -1: the store has lost nothing.

    `start` is where records are worked from, `acknowledged` Kafka's committed offset (-1: none).
    """
    behind = start < acknowledged or start <= published.last or cursor.watermark_ms < published.watermark
    if not behind and cursor.adopt_until < 0:
        return -1
    return max(cursor.adopt_until, start, acknowledged, published.last)


@dataclass(slots=True)
class Recovery:
    """Looks at Kafka for what Redis may have lost; `now_ms` is the wall clock, `window_ms` how far back to rebuild."""

    app: ChunkApp
    engine: Engine
    now_ms: Callable[[], int]
    window_ms: int
    observer: Observer = field(default_factory=Observer)

    async def settle(self, partition: Partition) -> None:
        """Compare a claimed partition with Kafka, and note in the store what is to be rebuilt and taken over.

        Raises StoreUnavailable, LostPartition, or PositionLost if Kafka has lost what it published for.
        """
        key, cursor = partition.key, partition.cursor
        acknowledged = await self.app.committed(key.topic, key.partition)
        published = await self._read(key, last=TAIL)
        if cursor.position < 0 and max(acknowledged, published.last) < 0:
            return  # a new installation
        start = cursor.position if cursor.position >= 0 else await self._start(key, acknowledged)
        until = adopt_until(cursor, start, acknowledged, published)
        if until < 0:
            return
        _, end = await self.app.bounds(key.topic, key.partition)
        if until > end or published.last >= end:
            raise PositionLost(
                f"{key.topic}/{key.partition} ends at {end}, but {acknowledged} is committed, and the topic "
                f"{self.engine.topics.intents} speaks of its record {published.last}: it was made anew, or has lost "
                "records. Restore it, or make the topic of intents and the consumer group anew, too"
            )
        if (start, until) != (cursor.position, cursor.adopt_until):
            _log.warning(
                "%s/%d: rebuilding from %d: the store is at %d, intents were published up to %d, and %d is committed",
                key.topic,
                key.partition,
                start,
                cursor.position,
                published.last,
                acknowledged,
            )
            await self.engine.rebuild(partition, start, until)
        partition.acknowledged = acknowledged

    async def take_over(self, partition: Partition) -> None:
        """Once the logs are rebuilt, take intents over from what was published. Raises as `settle`."""
        if partition.cursor.adopt_until < 0 or partition.rebuilding:
            return
        published = await self._read(partition.key)
        await self.engine.adopt(partition, published)
        _log.warning(
            "%s/%d: intents of %d customers taken over from those published, going on at %d",
            partition.key.topic,
            partition.key.partition,
            len(published.lives),
            partition.cursor.position,
        )

    async def _start(self, key: PartitionKey, acknowledged: int) -> int:
        begin, end = await self.app.bounds(key.topic, key.partition)
        at = await self.app.offset_at(key.topic, key.partition, self.now_ms() - self.window_ms)
        start = max(begin, end if at < 0 else at)
        return min(start, acknowledged) if acknowledged >= 0 else start

    async def _read(self, key: PartitionKey, last: int = 0) -> Published:
        published = Published(key.topic, key.partition)
        async for records in self.app.read_back(self.engine.topics.intents, key.partition, last=last):
            for value, headers in records:
                published.take(value, watermark_of(headers))
            self.observer.moved(key.topic, key.partition)
        return published


def watermark_of(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """The watermark that a record of intents carries, -1 if it has none that a clock could show."""
    text = dict(headers).get("watermark") or b""
    return int(text) if text.isdigit() and len(text) <= _DIGITS else -1
