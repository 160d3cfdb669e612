"""Records of claimed partitions, taken through the engine: decoded, and then piece by piece worked to the end.

What is refused is published before the commit that passes it, and what a commit led to before the next one. Partitions
share steps: what a step costs, and what it waits for, hardly depends on how many they are. While what a step led to is
published, the next one is decoded and computed; its commits wait.
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
from streams.engine import Engine, Step
from streams.observer import Observer
from streams.outbox import publish
from streams.partition import Partition, Piece
from streams.recovery import Recovery
from streams.retry import FATAL, CannotPublish, lasting
from streams.transport import ChunkApp
from streams.wire import Decoder, Records

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

SENT_AFTER: Final = 6
"""Turns of the event loop after which records are on their way: what is computed next would hold them back."""

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
    _publication: asyncio.Task[None] | None = None

    async def work(self, work: Sequence[tuple[Partition, Records]]) -> None:
        """Decode, divert what is refused, and commit the rest in pieces that fit a commit; partitions share steps.

        What the last commits led to may still be on its way to Kafka: see `published`.
        """
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

    async def published(self) -> None:
        """Wait until everything that is committed is published; raises what is in FATAL if it cannot be."""
        if (publication := self._publication) is not None:
            try:
                await publication  # others may wait for it beside this one
            finally:
                if self._publication is publication:
                    self._publication = None

    async def _cut(self, partition: Partition, chunk: Chunk) -> tuple[Piece, Chunk | None]:
        if partition.cursor.adopt_until >= 0 and not partition.rebuilding:  # commits follow at once
            await self.published()
        await lasting(lambda: self.recovery.take_over(partition))
        return await lasting(lambda: self.engine.cut(partition, chunk))

    async def pieces(self, work: Sequence[tuple[Piece, Records | None]]) -> None:
        """Detect and commit one piece of each partition, all with the same past, and begin to publish.

        What befell one of them is raised when the others are committed.
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
        await self.published()
        befell = await asyncio.gather(*map(self._commit, pieces, commits), return_exceptions=True)
        there = [(number, work[number][1]) for number, error in enumerate(befell) if error is None]
        if there:
            for number, _ in there:
                pieces[number].partition.unpublished = False  # somebody is at work
            self._publication = asyncio.create_task(self._publish(step, there))
            self.app.finish_after(self._publication)
            for _ in range(SENT_AFTER):
                await asyncio.sleep(0)
        forgetting = [piece for piece in pieces if (piece.chunk.kind == _FORGET).any()]
        if forgetting:
            await self.published()
            befell += await asyncio.gather(*map(self._clear, forgetting), return_exceptions=True)
        _raise_worst(befell)

    async def _commit(self, piece: Piece, commit: Commit) -> None:
        piece.partition.unpublished = True
        await lasting(lambda: self.engine.commit(piece, commit))

    async def _clear(self, piece: Piece) -> None:
        if not piece.partition.unpublished:
            await lasting(lambda: self.engine.clear_outbox(piece.partition))

    async def _publish(self, step: Step, there: Sequence[tuple[int, Records | None]]) -> None:
        """Publish what the commits of these pieces, by number and with their records, led to."""
        try:
            await publish(self.app, [record for number, _ in there for record in step.records[number]])
            self.observer.worked(step, there)
        except BaseException as error:
            for number, _ in there:
                step.pieces[number].partition.unpublished = True
            if isinstance(error, (*FATAL, asyncio.CancelledError)):
                raise
            raise CannotPublish(f"what is committed stays in Redis, and a new start publishes it: {error!r}") from error

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
