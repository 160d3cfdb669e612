"""Records of a claimed partition, taken through the engine: decoded, and then piece by piece worked to the end.

What is refused is published before the commit that passes it, and what a commit led to before the next one.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

from features.kinds import CODE
from streams.dead_letters import DeadLetters
from streams.engine import Engine
from streams.observer import Observer
from streams.outbox import publish
from streams.partition import Partition, Piece
from streams.recovery import Recovery
from streams.retry import lasting
from streams.transport import ChunkApp
from streams.wire import Decoder, Records

_log = logging.getLogger(__name__)

_FORGET: Final = CODE["forget"]


@dataclass(slots=True)
class Steps:
    """Works records; each step waits for Redis and Kafka, and raises what is in LOST and FATAL."""

    app: ChunkApp
    engine: Engine
    decoder: Decoder
    dead_letters: DeadLetters
    recovery: Recovery
    observer: Observer = field(default_factory=Observer)

    async def work(self, partition: Partition, records: Records) -> None:
        """Decode, divert what is refused, and work the rest in pieces that fit a commit."""
        chunk, refusals = self.decoder.decode(records)
        await self.divert(partition, records, [(refusal.offset, refusal.reason) for refusal in refusals])
        rest = chunk
        while True:
            await lasting(lambda: self.recovery.take_over(partition))
            piece, more = await lasting(lambda: self.engine.cut(partition, rest))  # noqa: B023  # called at once
            await self.piece(piece, records)
            if more is None:
                break
            rest = more

    async def piece(self, piece: Piece, records: Records | None = None) -> None:
        """Detect, commit, publish: one piece of one partition."""
        step, (commit,) = await lasting(lambda: self.engine.step([piece]))
        if records is not None and not piece.partition.rebuilding:  # else they were worked, and judged, before
            late = [(offset, "unverifiable_late") for offset in step.unverifiable(0)]
            await self.divert(piece.partition, records, late)
        if step.detected.unslotted:
            _log.warning("%d intents found no free slot of their customers", step.detected.unslotted)
        await lasting(lambda: self.engine.commit(piece, commit))
        await publish(self.app, step.records[0])
        if (piece.chunk.kind == _FORGET).any():
            await lasting(lambda: self.engine.clear_outbox(piece.partition))
        self.observer.worked(piece, step, records)

    async def divert(self, partition: Partition, records: Records, refused: list[tuple[int, str]]) -> None:
        """Publish dead letters of the (offset, reason) in `refused`, before the commit that passes them."""
        refused = [(offset, reason) for offset, reason in refused if offset >= partition.acknowledged]
        if letters := self.dead_letters.of(records, refused):
            self.observer.refused(letters)
            await publish(self.app, letters)
            self.observer.diverted(letters)
            self.dead_letters.published(records.partition, [offset for offset, _ in refused])
