"""Replay without a broker: the same detect over a memory store, learning at fixed moments of event time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.events import Chunk
from features.log import I64
from features.memory_store import MemoryStore
from features.store import PartitionKey
from features.tombstones import REBUILD_MS
from intents.detect import Setup
from intents.intent import Intent
from intents.journeys import Journeys
from intents.model import Model
from intents.scores import score_lines
from intents.training import Trainer
from sinks.events import dead_letter
from sinks.records import Record
from streams.engine import Engine, Step, Topics
from streams.partition import Partition
from streams.partitioner import PARTITIONERS
from streams.recordings import RecordingBatch
from streams.wire import Decoder, Records

LEARN_EVERY_MS: Final = 5 * 60_000

PARTITIONS: Final = 8
"""Of the imagined topic, unless somebody says how many."""


@dataclass(slots=True)
class Output:
    """What came of some records.

    Intents and scores in file order, dead letters, and how many records and events they were.
    """

    records: int = 0
    events: int = 0
    intents: list[tuple[Intent, bytes]] = field(default_factory=list)
    scores: list[bytes] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class _Lane:
    """One partition of the replay: where it stands, and for each of its records its line in the file."""

    partition: Partition
    lines: I64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mark: int = -1
    records: Records | None = None  # of the batch at work


class InProcess:
    """Replays batches of a recording; with a trainer it learns at UTC multiples of LEARN_EVERY_MS of event time."""

    def __init__(
        self,
        setup: Setup,
        model: Model,
        *,
        topic: str = "clickstream",
        partitions: int = PARTITIONS,
        partitioner: str = "murmur2",
        lateness_ms: int = 120_000,
        trainer: Trainer | None = None,
        topics: Topics | None = None,
        rebuild_ms: int = REBUILD_MS,
    ) -> None:
        """`model` is the first model; without a trainer it stays."""
        self.engine = Engine(
            MemoryStore(),
            setup,
            model,
            lateness_ms,
            topics or Topics(),
            with_examples=trainer is not None,
            rebuild_ms=rebuild_ms,
        )
        self.trainer = trainer
        self.topic, self._partitions, self._place = topic, partitions, PARTITIONERS[partitioner]
        self._decoder = Decoder(setup.catalogue)
        self._lanes: list[_Lane] = []
        self._line = 0
        self._boundary = -1
        self._examples = 0

    async def run(self, batch: RecordingBatch) -> AsyncIterator[Output]:
        """Work one batch of the recording, in as many steps as it has moments of learning."""
        if not self._lanes:
            await self._claim()
        output = Output(records=len(batch.keys))
        chunks = [self._decode(number, batch, where, output) for number, where in enumerate(self._split(batch))]
        self._line += len(batch.keys)
        for moment in self._moments(chunks) if self.trainer is not None else []:
            chunks = await self._until(moment, chunks, output)
            self._learn()
            yield output
            output = Output()
        await self._step([(lane, chunk) for lane, chunk in zip(self._lanes, chunks, strict=True)], output)
        yield output

    async def _claim(self) -> None:
        for number in range(self._partitions):
            key = PartitionKey(self.engine.setup.namespace, self.topic, number)
            self._lanes.append(_Lane(await self.engine.claim(key, "in-process")))

    def _split(self, batch: RecordingBatch) -> list[I64]:
        """Indices of each partition's records."""
        place = np.array([self._place(key, self._partitions) for key in batch.keys], dtype=np.int64)
        return [np.flatnonzero(place == number) for number in range(self._partitions)]

    def _decode(self, number: int, batch: RecordingBatch, where: I64, output: Output) -> Chunk:
        lane = self._lanes[number]
        start = len(lane.lines)
        lane.lines = np.concatenate([lane.lines, self._line + where])
        places = where.tolist()
        records = Records(
            self.topic,
            number,
            start,
            start + len(places),
            [batch.keys[i] for i in places],
            [batch.values[i] for i in places],
            np.arange(start, start + len(places)),
            np.full(len(places), -1, dtype=np.int64),
        )
        lane.records = records
        chunk, refusals = self._decoder.decode(records)
        output.dead += [self._dead(lane, refusal.offset, refusal.reason) for refusal in refusals]
        return chunk

    def _dead(self, lane: _Lane, offset: int, reason: str) -> Record:
        records = lane.records
        assert records is not None  # an offset is one of the batch at work
        key, value = records.keys[offset - records.start], records.values[offset - records.start]
        topic = self.engine.topics.dead_letter
        return dead_letter(topic, self.topic, records.partition, offset, reason, key, value)

    def _moments(self, chunks: list[Chunk]) -> list[int]:
        """Lines of the file before which to learn: the first record whose watermark reaches the next boundary."""
        lines, marks = [], []
        for lane, chunk in zip(self._lanes, chunks, strict=True):
            mark = chunk.watermarks(lane.mark, self.engine.lateness_ms)
            lane.mark = int(mark[-1]) if len(mark) else lane.mark
            lines.append(lane.lines[chunk.offset])
            marks.append(mark)
        line, reached = np.concatenate(lines), np.concatenate(marks)
        order = np.argsort(line, kind="stable")
        line, highest = line[order], np.maximum.accumulate(reached[order]) if len(order) else reached
        moments, at = [], 0
        while (at := int(np.searchsorted(highest, self._boundary, "left"))) < len(line):
            if self._boundary >= 0:
                moments.append(int(line[at]))
            self._boundary = (int(highest[at]) // LEARN_EVERY_MS + 1) * LEARN_EVERY_MS
        return moments

    async def _until(self, line: int, chunks: list[Chunk], output: Output) -> list[Chunk]:
        """Work what comes before `line` of the file; returns the rest."""
        now, rest = [], []
        for lane, chunk in zip(self._lanes, chunks, strict=True):
            size = int(np.searchsorted(lane.lines[chunk.offset], line, "left"))
            at = chunk.end if size == len(chunk) else int(chunk.offset[size])
            now.append((lane, chunk.part(0, size, chunk.start, at)))
            rest.append(chunk.part(size, len(chunk), at, chunk.end))
        await self._step(now, output)
        return rest

    async def _step(self, work: list[tuple[_Lane, Chunk]], output: Output) -> None:
        """Work these chunks to their ends, all partitions' arithmetic together; outputs go in file order."""
        todo = [(lane, chunk) for lane, chunk in work if len(chunk) or chunk.end > chunk.start]
        intents: list[tuple[int, Intent, bytes]] = []
        scores: list[tuple[int, int, bytes]] = []
        while todo:
            cut = [await self.engine.cut(lane.partition, chunk) for lane, chunk in todo]
            pieces = [piece for piece, _ in cut]
            step, commits = await self.engine.step(pieces)
            for number, (piece, commit) in enumerate(zip(pieces, commits, strict=True)):
                await self.engine.commit(piece, commit)
                output.events += len(piece.chunk)
                self._collect(*todo[number], step, number, intents, output)
            if self.engine.setup.rank_outcomes:
                self._score([lane for lane, _ in todo], step, scores)
            todo = [(lane, rest) for (lane, _), (_, rest) in zip(todo, cut, strict=True) if rest is not None]
        output.intents += [(intent, value) for _, intent, value in sorted(intents, key=lambda item: item[0])]
        output.scores += [line for _, _, line in sorted(scores, key=lambda item: item[:2])]

    def _collect(
        self,
        lane: _Lane,
        chunk: Chunk,
        step: Step,
        number: int,
        intents: list[tuple[int, Intent, bytes]],
        output: Output,
    ) -> None:
        changes = [change for change, _ in step.detected.changes if change.part == number]
        ahead = (
            int(chunk.offset[0]) if len(chunk) else chunk.start
        )  # deadlines of a piece without events fire before it
        for change, intent, record in zip(changes, step.intents[number], step.records[number], strict=False):
            inside = change.event < step.batch.starts[number + 1]
            offset = int(step.batch.offset[change.event]) if inside else ahead
            intents.append((int(lane.lines[offset]), intent, record.value))
        for record in step.records[number][len(changes) :]:
            assert self.trainer is not None  # examples are made for a trainer only
            self.trainer.read(self._examples, record.value)
            self._examples += 1
        for offset in step.unverifiable(number):
            output.dead.append(self._dead(lane, offset, "unverifiable_late"))

    def _score(self, lanes: list[_Lane], step: Step, scores: list[tuple[int, int, bytes]]) -> None:
        model = self.engine.model
        journeys = Journeys(self.engine.setup.catalogue, model, self.engine.setup.names)
        for event, line in score_lines(step.batch, step.customers, step.detected.scored, journeys, model):
            lane = lanes[int(step.batch.part[event])]
            scores.append((int(lane.lines[step.batch.offset[event]]), int(step.batch.index[event]), line))

    def _learn(self) -> None:
        assert self.trainer is not None  # moments come with a trainer
        if self.trainer.resolve():
            self.engine.model = self.trainer.model()
