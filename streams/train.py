"""The trainer: a Faust agent that reads the examples topic, learns, and leaves snapshots for the workers."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from faust.types import TP, StreamT

from features.core_bundle import CORE
from intents.checkpoint import Checkpoint
from intents.examples import UnreadableExamples
from intents.model_store import ModelStore
from intents.scores import AnsweredLines
from intents.snapshots import content_hash, encode
from intents.training import Trainer
from streams.log_lines import stand_at, stand_nowhere
from streams.models import starting_point
from streams.monitor import Monitor
from streams.observer import Observer
from streams.record_chunk import RecordChunk
from streams.rights import admit, trainer_rights
from streams.running import run_worker
from streams.settings import Settings
from streams.stall import STALL_S
from streams.transport import ChunkApp, chunk_app
from streams.transport_chunks import Chunks

_log = logging.getLogger(__name__)

NICE: Final = 10
"""How much a trainer yields to workers on the same machine: it has time, and they have a customer who waits."""

KEEP = 20
"""Snapshots that stay in the store."""
_BREATHE_S = 0.02


@dataclass(slots=True)
class Training:
    """One trainer at work: reads chunks of examples, and saves a snapshot now and then."""

    app: ChunkApp
    trainer: Trainer
    store: ModelStore
    every_s: float
    saved_at: float = field(default_factory=time.monotonic)
    saved: int = -1
    observer: Observer = field(default_factory=Observer.of_trainer)
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def work(self, chunks: Sequence[RecordChunk]) -> None:
        """Read the chunks of the one partition that has a trainer's examples."""
        for chunk in chunks:
            if chunk.partition == 0:
                stand_at(chunk.topic, chunk.partition, chunk.start)
                await self._work(chunk)
                stand_nowhere()

    async def _work(self, chunk: RecordChunk) -> None:
        """Read a chunk's records in order, learning what is due after each.

        Only what continues where the trainer is.
        """
        trainer = self.trainer
        if chunk.start != trainer.position:
            await self.app.rewind(chunk.topic, chunk.partition, trainer.position)
            return
        breath, unreadable = time.monotonic(), 0
        columns = (chunk.offsets.tolist(), chunk.values, chunk.timestamps.tolist())
        for offset, record, at_ms in zip(*columns, strict=True):
            if trainer is not self.trainer:
                return  # a rebalance came between: the new trainer reads these again
            try:
                trainer.read(offset, record or b"", at_ms)
            except UnreadableExamples as error:
                _log.error("examples at %d are passed over: %s", offset, error)
                unreadable += 1
            for _ in trainer.resolving():
                if time.monotonic() - breath > _BREATHE_S:
                    await asyncio.sleep(0)
                    breath = time.monotonic()
            self.observer.moved(chunk.topic, chunk.partition)
        self.observer.read(trainer, len(chunk), unreadable)
        await self.save(least_s=self.every_s)

    async def save(self, *, least_s: float = 0.0) -> None:
        """Save a snapshot, if anything was read since the last one and that is at least `least_s` ago."""
        async with self._saving:
            if time.monotonic() - self.saved_at < least_s:
                return
            position = self.trainer.position
            if position > max(self.saved, 0) and not self.trainer.refilling:
                content = encode(self.trainer.checkpoint())
                try:
                    name = await asyncio.to_thread(self.store.save, content, position)
                    await asyncio.to_thread(self.store.prune, KEEP)
                except OSError as error:
                    _log.error("no snapshot was saved, trying again in %g s: %s", self.every_s, error)
                    self.observer.unsaved()
                else:
                    self.saved = position
                    self.observer.snapshot(position)
                    _log.info("saved %s: %s", name, self.trainer.progress)
            self.saved_at = time.monotonic()


def resume(store: ModelStore, horizon_ms: int, first: Checkpoint | None = None) -> Trainer:
    """A trainer that goes on from the newest usable snapshot; without one from `first`, or anew.

    `first` is put into the store then, as of offset 0, so that workers have it at once.
    """
    found = store.newest(CORE)
    if first is not None:
        content = encode(first)
        if found is None:
            _log.info("warm start: nothing in %s to go on from, saved %s", store.url, store.save(content, 0))
            found = store.newest(CORE)  # where another trainer warm starts too, the same for both
        elif content_hash(content) not in found[0]:
            _log.info("the warm start is not used: %s has %s to go on from", store.url, found[0])
    return Trainer(CORE, horizon_ms, found[1] if found else first)


def writing_scores(trainer: Trainer, scores: BinaryIO | None) -> Trainer:
    """The trainer, which writes what its model said before it learned to `scores`, if there is such a file."""
    if scores is not None:

        def write(lines: bytes) -> None:
            scores.write(lines)
            scores.flush()

        trainer.watch(AnsweredLines(write, trainer.names))
    return trainer


def make_trainer(
    settings: Settings,
    *,
    first: Checkpoint | None = None,
    scores: BinaryIO | None = None,
    stall_s: float = STALL_S,
) -> ChunkApp:
    """The app of a trainer, which ends itself when it read none of its records for `stall_s`.

    `first` as in `resume`; what its model said before it learned goes to `scores`.
    """
    observer = Observer.of_trainer()
    store = ModelStore(settings.model_store)

    async def positions(partitions: frozenset[TP]) -> dict[TP, int]:
        try:
            resumed = await asyncio.to_thread(resume, store, settings.horizon_s * 1000, first)
            training.trainer = writing_scores(resumed, scores)
        except OSError as error:
            _log.error("the model store cannot be used, going on with what is in memory: %s", error)
        observer.looked(store.refused, store.disputed)
        return {tp: training.trainer.position for tp in partitions if tp.partition == 0}

    app = chunk_app(
        f"{settings.group}.train",
        broker=settings.broker,
        start_positions=positions,
        publishes=False,
        observer=observer,
    )
    app.watch = Monitor(app, observer, address=settings.http_address, stall_s=stall_s).watch
    trainer = writing_scores(resume(store, settings.horizon_s * 1000, first), scores)
    training = Training(app, trainer, store, settings.snapshot_s, observer=observer)

    @app.agent(app.topic(settings.examples), name="micro_intents.train")
    async def train(stream: StreamT[Chunks]) -> None:
        async for chunks in stream:
            await training.work(chunks)

    @app.timer(settings.snapshot_s, name="micro_intents.snapshot")  # type: ignore[untyped-decorator]  # Faust
    async def snapshot() -> None:
        await training.save(least_s=settings.snapshot_s)

    return app


def run(settings: Settings, *, warm_start: str = "", scores: Path | None = None) -> int:
    """Run a trainer until SIGTERM or SIGINT; returns the exit code (75: start it again).

    Where the store has no model, it begins with that of the snapshot file `warm_start`; what its model said before it
    learned is appended to `scores`. May raise BrokerRefused, and UnusableSnapshot or OSError for that file.
    """
    first = starting_point(warm_start, CORE) if warm_start else None
    admit(settings, trainer_rights(settings))
    os.nice(NICE)
    with scores.open("ab") if scores else nullcontext() as file:
        return run_worker(make_trainer(settings, first=first, scores=file))
