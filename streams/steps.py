"""Records of claimed partitions, taken through the engine: decoded, and then piece by piece worked to the end.

What is refused is published before the commit that passes it, and what a commit led to before the next one. Partitions
share steps: what a step costs, and what it waits for, hardly depends on how many they are.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from features.events import Chunk
from features.kinds import CODE
from features.store import Commit
from intents.detect import Past
from sinks.records import Record
from streams.dead_letters import DeadLetters
from streams.engine import Engine
from streams.observer import Observer
from streams.outbox import publish
from streams.partition import Partition, Piece
from streams.recovery import Recovery
from streams.retry import FATAL, lasting
from streams.transport import ChunkApp
from streams.wire import Decoder, Records

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_FORGET: Final = CODE["forget"]

Refused = tuple[Partition, Records, Sequence[tuple[int, str]]]
"""Records of a partition, and the (offset, reason) of those among them that are refused."""


@dataclass(slots=True)
class Steps:
    """Works records; each step waits for Redis and Kafka, and raises what is in LOST and FATAL."""

    app: ChunkApp
    engine: Engine
    decoder: Decoder
    dead_letters: DeadLetters
    recovery: Recovery
    observer: Observer = field(default_factory=Observer)

    async def work(self, work: Sequence[tuple[Partition, Records]]) -> None:
        """Decode, divert what is refused, and work the rest in pieces that fit a commit; partitions share steps."""
        rests: list[tuple[Partition, Records, Chunk]] = []
        refused: list[Refused] = []
        for partition, records in work:
            chunk, refusals = self.decoder.decode(records)
            refused.append((partition, records, [(refusal.offset, refusal.reason) for refusal in refusals]))
            rests.append((partition, records, chunk))
        await self.divert(refused)
        while rests:
            cuts = await _all(self._cut(partition, chunk) for partition, _, chunk in rests)
            alike: defaultdict[Past, list[tuple[Piece, Records | None]]] = defaultdict(list)
            for (piece, _), (partition, records, _) in zip(cuts, rests, strict=True):
                alike[partition.past].append((piece, records))
            for pieces in alike.values():
                for some in _together(pieces, self.engine.max_customers):
                    await self.pieces(some)
            rests = [
                (partition, records, more)
                for (partition, records, _), (_, more) in zip(rests, cuts, strict=True)
                if more is not None
            ]

    async def _cut(self, partition: Partition, chunk: Chunk) -> tuple[Piece, Chunk | None]:
        await lasting(lambda: self.recovery.take_over(partition))
        return await lasting(lambda: self.engine.cut(partition, chunk))

    async def pieces(self, work: Sequence[tuple[Piece, Records | None]]) -> None:
        """Detect, commit, publish: one piece of each partition, all with the same past.

        What befell one of them is raised when the others are through.
        """
        pieces = [piece for piece, _ in work]
        step, commits = await lasting(lambda: self.engine.step(pieces))
        late: list[Refused] = []
        for number, (piece, records) in enumerate(work):
            if records is not None and not piece.partition.rebuilding:  # else they were worked, and judged, before
                offsets = step.unverifiable(number)
                late.append((piece.partition, records, [(offset, "unverifiable_late") for offset in offsets]))
        await self.divert(late)
        if step.detected.unslotted:
            _log.warning("%d intents found no free slot of their customers", step.detected.unslotted)
        for piece in pieces:
            piece.partition.unpublished = True
        befell = await asyncio.gather(*map(self._commit, pieces, commits), return_exceptions=True)
        there = [number for number, error in enumerate(befell) if error is None]
        await publish(self.app, [record for number in there for record in step.records[number]])
        for number in there:
            pieces[number].partition.unpublished = False
        clearing = [self._clear(pieces[number]) for number in there if (pieces[number].chunk.kind == _FORGET).any()]
        befell += await asyncio.gather(*clearing, return_exceptions=True)
        self.observer.worked(step, [(number, work[number][1]) for number in there])
        _raise_worst(befell)

    async def _commit(self, piece: Piece, commit: Commit) -> None:
        await lasting(lambda: self.engine.commit(piece, commit))

    async def _clear(self, piece: Piece) -> None:
        await lasting(lambda: self.engine.clear_outbox(piece.partition))

    async def divert(self, refused: Sequence[Refused]) -> None:
        """Publish dead letters of what is refused, before the commits that pass it; none if they are too many."""
        letters: list[Record] = []
        for partition, records, found in refused:
            new = [(offset, reason) for offset, reason in found if offset >= partition.acknowledged]
            letters += self.dead_letters.of(records, new)
        if letters:
            self.observer.refused(letters)
            await publish(self.app, letters)
            self.observer.diverted(letters)
            for _, records, found in refused:
                self.dead_letters.published(records.partition, [offset for offset, _ in found])


def _together(work: Sequence[tuple[Piece, Records | None]], most: int) -> Iterator[list[tuple[Piece, Records | None]]]:
    """Pieces in groups of at most `most` customers, or one piece: so many states come in one answer, and go in one."""
    group: list[tuple[Piece, Records | None]] = []
    customers = 0
    for piece, records in work:
        customers += len(piece.customers)
        if group and customers > most:
            yield group
            group, customers = [], len(piece.customers)
        group.append((piece, records))
    yield group


async def _all(calls: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all calls give; what befell one of them is raised when the others are through: none goes on by itself."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    _raise_worst(found)
    return cast(list[_T], found)


def _raise_worst(found: Iterable[object]) -> None:
    """Raise an error that is among these, one of FATAL first."""
    errors = [error for error in found if isinstance(error, BaseException)]
    for error in sorted(errors, key=lambda error: not isinstance(error, FATAL)):
        raise error
