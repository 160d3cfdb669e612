"""The worker: takes chunks of the clickstream, all that there are, and what is quiet with them.

For each chunk: hold its partition (`claims.py`), go on where the store ends, work its records to the end (`steps.py`,
or past the one at fault: `halving.py`), and then take the next ones, while Kafka takes what these led to. A claim that
turns out to be void on the way gives the partition up, or makes a new one.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from faust.types import TP

from streams.claims import Claims, Held
from streams.halving import work_carefully
from streams.log_lines import stand_at, stand_nowhere
from streams.partition import Partition
from streams.record_chunk import RecordChunk
from streams.retry import FATAL, LOST, lasting
from streams.steps import Steps
from streams.transport import ChunkApp
from streams.wire import Records

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """Works chunks of its partitions, all that have come at a time; what is quiet for `idle_s` moves on (0: never)."""

    app: ChunkApp
    claims: Claims
    steps: Steps
    idle_s: float
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def work(self, chunks: Sequence[RecordChunk]) -> None:
        """Work chunks, one a partition, to their ends: committed and published, or the partition given up."""
        await self.work_ahead(chunks)
        await self.steps.published()

    async def work_ahead(self, chunks: Sequence[RecordChunk]) -> None:
        """Work chunks, but leave what the last commits led to on its way to Kafka; the next commit waits for that.

        Together first; where that fails, each goes on for itself.
        """
        async with self._busy:
            if not all(map(self._goes_on, chunks)):
                await self.steps.published()
            ready = [(held, chunk) for chunk in chunks if (held := await self._ready(chunk)) is not None]
            if len(ready) > 1:
                await self._work_together(
                    [(held.partition, _records(chunk)) for held, chunk in ready if not chunk.missing]
                )
            for held, chunk in ready:
                if held.partition.cursor.position < chunk.end:
                    await self._work_alone(held, chunk)
                held.stirs()

    def _goes_on(self, chunk: RecordChunk) -> bool:
        """Whether a chunk continues a partition that is held, so that there is nothing to claim or to mend."""
        held = self.claims.held.get(chunk.partition)
        return (
            held is not None
            and held.generation == chunk.generation
            and held.partition.cursor.position == chunk.start
            and not held.partition.unpublished
            and not chunk.missing
        )

    async def _ready(self, chunk: RecordChunk) -> Held | None:
        """The partition of a chunk, if that continues it; else what has to be done is done."""
        tp = TP(chunk.topic, chunk.partition)
        stand_at(chunk.topic, chunk.partition, chunk.start)
        try:
            held = await self.claims.hold(tp, chunk.generation)
            if chunk.missing and held.partition.rebuilding and held.partition.cursor.position == chunk.start:
                await self.claims.settle_again(held)
            position = held.partition.cursor.position
            if position in (-1, chunk.start):
                return held
            _log.info("%s/%d continues at %d, not %d", *tp, position, chunk.start)
            await self.claims.seek(held)
        except LOST as lost:
            await self.claims.lost(tp, chunk.generation, lost)
        finally:
            stand_nowhere()
        return None

    async def _work_together(self, work: Sequence[tuple[Partition, Records]]) -> None:
        try:
            await self.steps.work(work)
        except FATAL:
            raise
        except Exception as error:  # noqa: BLE001  # whose fault it is shows when each is worked alone
            _log.warning("%d partitions together: %r; each goes on for itself", len(work), error)

    async def _work_alone(self, held: Held, chunk: RecordChunk) -> None:
        stand_at(chunk.topic, chunk.partition, chunk.start)
        try:
            await self._work(held.partition, chunk)
        except LOST as lost:
            await self.claims.lost(held.tp, chunk.generation, lost)
        finally:
            stand_nowhere()

    async def _work(self, partition: Partition, chunk: RecordChunk) -> None:
        """Work a chunk; what is missing before it is said as soon as its first record is committed.

        Nobody who goes on behind that commit sees the gap.
        """
        records = _records(chunk)
        if chunk.missing:
            end = int(records.offsets[0]) + 1
            try:
                await work_carefully(self.steps, partition, records.part(chunk.start, end))
            finally:
                if partition.cursor.position > chunk.start:
                    self.steps.observer.gone(chunk.missing)
                    told = (chunk.topic, chunk.partition, chunk.start, chunk.start + chunk.missing, chunk.missing)
                    _log.error("%s/%d: records %d to %d were deleted before they were read: %d are missing", *told)
            records = records.part(end, chunk.end)
        if len(records.offsets):
            await work_carefully(self.steps, partition, records)

    async def tick(self) -> None:
        """Claim what was assigned, though nothing may come of it, and move the watermarks of quiet partitions.

        Raises what a publication failed with that no chunk came after.
        """
        async with self._busy:
            await self.steps.published()
        for topic, partition in sorted(self.app.assigned):
            stand_at(topic, partition)
            async with self._busy:
                await self.steps.published()
                tp = TP(topic, partition)
                await self.claims.take_back(tp)
                generation = self.app.generation(topic, partition)
                if generation is None or tp not in self.app.assigned:
                    continue
                try:
                    held = await self.claims.hold(tp, generation)
                    await self.claims.look(held)
                    held.quiet_since = max(held.quiet_since, self.app.heard_since(*tp))  # an absent Kafka is not quiet
                    if 0 < self.idle_s <= held.quiet_s:
                        await self._advance(held)
                except LOST as lost:
                    await self.claims.lost(tp, generation, lost)
        stand_nowhere()

    async def _advance(self, held: Held) -> None:
        """Move the watermark of a partition by its idle time, if Kafka confirms that it was read to its end."""
        partition, idle_ms = held.partition, round(held.quiet_s * 1000)
        key, at = partition.key, partition.cursor.position
        if (
            partition.watermark_ms < 0
            or partition.rebuilding
            or not await self.app.read_to_end(key.topic, key.partition, at)
        ):
            return
        target = partition.watermark_ms + idle_ms
        while partition.watermark_ms < target:  # in several commits, if many deadlines are due
            piece = await lasting(lambda: self.steps.engine.advance(partition, target))
            await self.steps.pieces([(piece, None)])
        held.stirs()


def _records(chunk: RecordChunk) -> Records:
    return Records(
        chunk.topic,
        chunk.partition,
        chunk.start,
        chunk.end,
        chunk.keys,
        chunk.values,
        chunk.offsets,
        chunk.timestamps,
    )
