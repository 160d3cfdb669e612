"""Where a claimed partition goes on, and what of its intents was published before: after a loss of Redis, too.

Redis may be empty, or older than what was published: emptied, restored from a backup, or killed with the last second
of its append-only file. Kafka knows better, in two places: the offset that the group has committed, before which
everything was published, and the end of the partition of `intents`. Where either is ahead of Redis, records are worked
again from Redis' position (an empty one's: as far back as the rebuild window goes), and intents are taken over from the
`intents` topic (`intents/adoption.py`). Where that log has lost its beginning, states say since when they are whole
(`beginning.py`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from features.state import decode, encode
from features.store import Commit, Cursor, PartitionKey
from intents.adoption import Published
from intents.detect import next_deadlines
from intents.subjects import as_key
from streams.beginning import FIRST_RECORDS, complete_since
from streams.engine import Engine
from streams.observer import Observer
from streams.partition import Partition
from streams.transport import ChunkApp
from streams.transport_thread import PositionLost
from streams.wire import Decoder

_log = logging.getLogger(__name__)

TAIL: Final = 5_000
"""Records at the end of `intents` that each claim looks at.

The newest would do, but for a paused worker that publishes its last outbox again when it wakes, behind newer records.
"""
_DIGITS: Final = 18
"""More of them are no number that fits 64 bits."""


def adopt_until(cursor: Cursor, start: int, acknowledged: int, published: Published) -> int:
    """The source offset up to which logs are rebuilt before intents are taken over; -1: the store has lost nothing.

    `start` is where records are worked from, `acknowledged` Kafka's committed offset (-1: none).
    """
    worked = max(acknowledged, published.last, published.position)
    behind = start < worked or start == published.last or cursor.watermark_ms < published.watermark
    if not behind and cursor.adopt_until < 0:
        return -1
    return max(cursor.adopt_until, start, worked)


@dataclass(slots=True)
class Recovery:
    """Looks at Kafka for what Redis may have lost; `now_ms` is the wall clock, from which the window is counted."""

    app: ChunkApp
    engine: Engine
    decoder: Decoder
    now_ms: Callable[[], int]
    observer: Observer = field(default_factory=Observer)

    async def settle(self, partition: Partition) -> None:
        """Compare a claimed partition with Kafka, and note in the store what is to be rebuilt and taken over.

        Raises StoreUnavailable, LostPartition, or PositionLost if Kafka has lost what it published for.
        """
        key, cursor = partition.key, partition.cursor
        acknowledged = await self.app.committed(key.topic, key.partition)
        self.app.keep_committed(key.topic, key.partition, acknowledged)  # it must not go back while logs are rebuilt
        published = await self._read(key, last=TAIL)
        if cursor.position < 0 and max(acknowledged, published.last) < 0:
            return  # a new installation
        start = cursor.position if cursor.position >= 0 else await self._start(key, acknowledged)
        until = adopt_until(cursor, start, acknowledged, published)
        if until < 0 <= cursor.position:
            return
        begin, end = await self.app.bounds(key.topic, key.partition)
        if until > end or published.last >= end:
            told = max(published.last, published.position - 1)
            raise PositionLost(
                f"{key.topic}/{key.partition} ends at {end}, but {acknowledged} is committed, and the topic "
                f"{self.engine.topics.intents} speaks of its record {told}: it was made anew, or has lost "
                "records. Restore it, or make the topic of intents and the consumer group anew, too"
            )
        first, worked = max(start, begin), max(until, published.last + 1)
        since = max(await self._since(partition, first, worked, published), cursor.complete_since)
        at = max(start, min(first, worked))  # what is gone behind `worked` was never read, and is said to be missing
        if (at, until, since) != (cursor.position, cursor.adopt_until, cursor.complete_since):
            _log.warning(
                "%s/%d: rebuilding from %d: the store is at %d, intents were published up to %d, and %d is committed",
                key.topic,
                key.partition,
                at,
                cursor.position,
                published.last,
                acknowledged,
            )
            moved = Commit(cursor.token, cursor.sequence, start, at, cursor.watermark_ms)
            await self.engine.write(partition, replace(moved, adopt_until=until, complete_since=since))
        partition.acknowledged = acknowledged

    async def take_over(self, partition: Partition) -> None:
        """Once the logs are rebuilt, take intents over from what was published. Raises as `settle`."""
        if partition.cursor.adopt_until < 0 or partition.rebuilding:
            return
        published = await self._read(partition.key)
        await self._adopt(partition, published)
        _log.warning(
            "%s/%d: intents of %d customers taken over from those published, going on at %d",
            partition.key.topic,
            partition.key.partition,
            len(published.lives),
            partition.cursor.position,
        )

    async def _since(self, partition: Partition, first: int, worked: int, published: Published) -> int:
        """Since when states are whole that are rebuilt from the record `first` on; -1: no record before is missing."""
        key = partition.key
        if first <= max(partition.cursor.position, 0):
            return -1
        chunk, _ = self.decoder.decode(await self.app.read_some(key.topic, key.partition, first, FIRST_RECORDS))
        since = complete_since(chunk, worked, published, self.engine.lateness_ms)
        said = (
            f"states are whole from event time {since} on, and older events are refused as unverifiable_late"
            if since >= 0
            else "no record and no intent is left that tells since when states are whole"
        )
        _log.warning("%s/%d: records before %d are gone or too old: %s", key.topic, key.partition, first, said)
        return since

    async def _adopt(self, partition: Partition, published: Published) -> None:
        """Take intents over from what was published, some customers a commit; what is cut short is repeated."""
        customers, most, setup = published.customers, self.engine.max_customers, self.engine.setup
        partition.last, partition.answered = published.last, frozenset(published.answered)
        for first in range(0, max(len(customers), 1), most):
            some = customers[first : first + most]
            cursor = partition.cursor
            states = decode(some, await self.engine.store.read(partition.key, cursor, some))
            states.tombstone = np.maximum(states.tombstone, partition.tombstones.of(some))
            states.begin(np.full(len(some), cursor.complete_since))
            names = published.install(states, setup.rules, setup.names)
            deadlines = next_deadlines(states).tolist()
            last = first + most >= len(customers)
            commit = Commit(
                cursor.token,
                cursor.sequence,
                cursor.position,
                cursor.position,
                max(cursor.watermark_ms, published.watermark) if last else cursor.watermark_ms,
                states=dict(zip(some, encode(states, setup.bundle.hash), strict=True)),
                deadlines={who: at if at >= 0 else None for who, at in zip(some, deadlines, strict=True)},
                names={as_key(subject): name for subject, name in names.items()},
                adopt_until=-1 if last else cursor.adopt_until,
                forgotten=partition.tombstones.changes(some, states.tombstone, cursor.watermark_ms),
            )
            await self.engine.write(partition, commit)

    async def _start(self, key: PartitionKey, acknowledged: int) -> int:
        begin, end = await self.app.bounds(key.topic, key.partition)
        at = await self.app.offset_at(key.topic, key.partition, self.now_ms() - self.engine.rebuild_ms)
        start = max(begin, end if at < 0 else at)
        return min(start, acknowledged) if acknowledged >= 0 else start

    async def _read(self, key: PartitionKey, last: int = 0) -> Published:
        published = Published(key.topic, key.partition)
        async for records in self.app.read_back(self.engine.topics.intents, key.partition, last=last):
            for value, headers in records:
                published.take(value, number_of(headers, "watermark"), number_of(headers, "position"))
            self.observer.moved(key.topic, key.partition)
        return published


def number_of(headers: Sequence[tuple[str, bytes | None]], name: str) -> int:
    """The number that a header of a record says, -1 if it says none."""
    text = dict(headers).get(name) or b""
    return int(text) if text.isdigit() and len(text) <= _DIGITS else -1
