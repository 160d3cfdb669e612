"""One step of the way: chunks of some partitions through states, detect and commit; the same live and in replay.

The order is that of the commit protocol: read the states (bound to the cursor), detect, commit (all or nothing), and
only then hand out the records to publish. Who calls publishes them before that partition's next commit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from features.events import Batch, Chunk
from features.state import States, decode, encode
from features.store import Commit, PartitionKey, Store, Verdict
from features.tombstones import REBUILD_MS, Tombstones
from intents.detect import Bound, Detected, Setup, detect
from intents.intent import Intent
from intents.journeys import Journeys
from intents.model import Model
from intents.reports import Asked, Packer, Reporter
from intents.subjects import as_key
from sinks.events import examples_record, intent_json, intent_record
from sinks.records import Record, pack_outbox, unpack_outbox
from streams.partition import LostPartition, Partition, Piece

MAX_CUSTOMERS: Final = 4_000
"""Customers that one commit may touch, by default."""
AHEAD_MS: Final = 1_000
"""How far ahead of the watermark deadlines are looked for."""
HASH_KEY: Final = b"micro-intents"
"""Key that hides customers in examples where nobody gives another: in process, where examples stay in memory."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics that are written."""

    intents: str = "intents"
    examples: str = "examples"
    dead_letter: str = "clickstream.dead-letter"


@dataclass(frozen=True, slots=True)
class Step:
    """What a step led to: for each piece its intents in order of publication and its records.

    And all that was scored.
    """

    pieces: list[Piece]
    batch: Batch
    customers: list[str]
    detected: Detected
    intents: list[list[Intent]]
    records: list[list[Record]]

    def unverifiable(self, piece: int) -> list[int]:
        """Offsets of the piece's records that hold an event too old to tell from a duplicate."""
        events = self.detected.unverifiable
        return sorted(set(self.batch.offset[events[self.batch.part[events] == piece]].tolist()))


@dataclass(slots=True)
class Engine:
    """Works chunks through a store with a model; `model` may be swapped between steps.

    `rebuild_ms` is how far back a lost store is rebuilt from the log, and so how long a tombstone is kept.
    """

    store: Store
    setup: Setup
    model: Model
    lateness_ms: int = 120_000
    topics: Topics = field(default_factory=Topics)
    hash_key: bytes = HASH_KEY
    with_examples: bool = True
    max_customers: int = MAX_CUSTOMERS  # of one commit, at least 2
    rebuild_ms: int = REBUILD_MS

    async def claim(self, key: PartitionKey, token: str, partitions: int = 0, topic_id: str = "") -> Partition:
        """Claim a partition, of so many, of a topic; its outbox must be published before the first step."""
        claimed = await self.store.claim(key, token, partitions, topic_id)
        for subject, name in claimed.names.items():
            self.setup.names.learn(int.from_bytes(subject, "little"), name)
        known = {int.from_bytes(subject, "little") for subject in claimed.names}
        tombstones = Tombstones(self.hash_key, claimed.forgotten, self.rebuild_ms)
        outbox = unpack_outbox(claimed.outbox)
        return Partition(key, claimed.cursor, known, outbox, tombstones, claimed.partitions, topic_id=claimed.topic_id)

    async def cut(self, partition: Partition, chunk: Chunk) -> tuple[Piece, Chunk | None]:
        """The first piece of a chunk that fits into one commit (`max_customers` touched or due), and the rest.

        A larger burst of deadlines goes first, in pieces without events.
        """
        for end in (partition.acknowledged, partition.cursor.adopt_until):
            if chunk.start < end < chunk.end:
                size = int(np.searchsorted(chunk.offset, end, "left"))
                piece, rest = await self.cut(partition, chunk.part(0, size, chunk.start, end))
                behind = chunk.part(size, len(chunk), end, chunk.end)
                return piece, behind if rest is None else chunk.part(
                    len(piece.chunk), len(chunk), rest.start, chunk.end
                )
        if not len(chunk):
            return Piece(partition, chunk, []), None
        marks = chunk.watermarks(partition.watermark_ms, self.lateness_ms)
        most = self.max_customers
        due = await self._due(partition, int(marks[-1]))
        # With the first record's customer they could be one too many.
        is_burst = len(due) >= most and due[most - 1][1] < marks[0]
        if is_burst:
            customer, at = due[most - 1]
            names = [name for name, _ in due[: most - 1]]
            first = int(chunk.offset[0])  # what is before it was refused, or is a hole
            burst, bound = chunk.part(0, 0, chunk.start, first), Bound(at, customer.encode())
            return Piece(partition, burst, names, bound), chunk.part(0, len(chunk), first, chunk.end)
        size = len(chunk)
        while True:
            passed = (name for name, at in due if at < marks[size - 1])
            customers = list(dict.fromkeys([*chunk.customers[:size], *passed]))
            smaller = int(np.searchsorted(chunk.offset, chunk.offset[size // 2], "left"))
            smaller = smaller or int(np.searchsorted(chunk.offset, chunk.offset[0], "right"))
            if len(customers) <= most or smaller == size:
                break
            size = smaller
        if size == len(chunk):
            return Piece(partition, chunk, customers), None
        at_offset = int(chunk.offset[size])
        head = chunk.part(0, size, chunk.start, at_offset)
        return Piece(partition, head, customers), chunk.part(size, len(chunk), at_offset, chunk.end)

    async def advance(self, partition: Partition, watermark_ms: int) -> Piece:
        """A piece without events that moves a quiet partition's watermark.

        As far as one commit can take the deadlines.
        """
        at = partition.cursor.position
        nothing = Chunk.empty(partition.key.topic, partition.key.partition, at, at)
        due = await self._due(partition, watermark_ms)
        names = [name for name, _ in due[: self.max_customers]]
        if len(due) > self.max_customers:
            customer, first = due[self.max_customers]
            return Piece(partition, nothing, names, Bound(first, customer.encode()))
        return Piece(partition, nothing, names, advance_ms=watermark_ms)

    async def _due(self, partition: Partition, watermark_ms: int) -> list[tuple[str, int]]:
        """Customers with a deadline before the watermark, the earliest first, one more than a commit takes at most.

        The store is asked a little ahead, and so not for each chunk of a quiet second.
        """
        if watermark_ms <= partition.due_from:
            return []
        most, ahead = self.max_customers + 1, watermark_ms + AHEAD_MS
        found = await self.store.due(partition.key, ahead, most)
        partition.due_from = found[0][1] if found else ahead
        return [(name, at) for name, at in found if at < watermark_ms]

    async def step(self, pieces: Sequence[Piece]) -> tuple[Step, list[Commit]]:
        """Read the states of `pieces`, one a partition, all with the same past, detect, and make the commits."""
        customers = [customer for piece in pieces for customer in piece.customers]
        parts = np.repeat(np.arange(len(pieces)), [len(piece.customers) for piece in pieces])
        reading = [self.store.read(piece.partition.key, piece.partition.cursor, piece.customers) for piece in pieces]
        states = decode(customers, list(chain.from_iterable(await asyncio.gather(*reading))))
        buried = [piece.partition.tombstones.of(piece.customers) for piece in pieces]
        states.tombstone = np.maximum(states.tombstone, np.concatenate(buried))
        states.rebuild_ms = self.rebuild_ms
        batch = self._batch(pieces)
        bounds = [piece.bound for piece in pieces]
        (past,) = {piece.partition.past for piece in pieces}
        states.begin(np.array([piece.partition.cursor.complete_since for piece in pieces], dtype=np.int64)[parts])
        detected = detect(batch, states, parts, self.model, self.setup, bounds=bounds, past=past)
        step = self._report(pieces, batch, customers, detected)
        return step, self._commits(step, states, parts)

    def _batch(self, pieces: Sequence[Piece]) -> Batch:
        rows: list[int] = []
        base = 0
        for piece in pieces:
            row = {customer: base + n for n, customer in enumerate(piece.customers)}
            rows += map(row.__getitem__, piece.chunk.customers)
            base += len(piece.customers)
        before = [max(piece.partition.watermark_ms, piece.advance_ms) for piece in pieces]
        return Batch.of([piece.chunk for piece in pieces], np.array(rows, dtype=np.int64), before, self.lateness_ms)

    def _report(self, pieces: Sequence[Piece], batch: Batch, customers: list[str], detected: Detected) -> Step:
        journeys = Journeys(self.setup.catalogue, self.model, self.setup.names)
        reporter = Reporter(batch, customers, self.model, self.setup, journeys)
        intents: list[list[Intent]] = [[] for _ in pieces]
        records: list[list[Record]] = [[] for _ in pieces]
        for (change, _), intent in zip(detected.changes, reporter.intents(detected.changes), strict=True):
            mark, position = change.updated_at, -1
            if not change.deadline:
                mark = int(batch.watermark[change.event])
            elif change.event < batch.starts[change.part + 1]:
                position = int(batch.offset[change.event])
            else:
                position = pieces[change.part].chunk.end
            intents[change.part].append(intent)
            records[change.part].append(intent_record(intent, intent_json(intent), self.topics.intents, mark, position))
        return Step(list(pieces), batch, customers, detected, intents, records)

    def _commits(self, step: Step, states: States, parts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> list[Commit]:
        blobs = encode(states, self.setup.bundle.hash)
        ends = np.cumsum(np.bincount(parts, minlength=len(step.pieces))).tolist()
        deadlines = step.detected.deadlines.tolist()
        packer = None
        if self.with_examples and not step.pieces[0].partition.past.unasked:
            asked = Asked.of(step.detected.scored, len(self.setup.bundle.features))
            bundle = self.setup.bundle.hash
            packer = Packer(step.batch, step.customers, asked, bundle, self.hash_key, self.model.version)
        detected: list[set[int]] = [set() for _ in step.pieces]
        for change, _ in step.detected.changes:
            if change.status == "detected":
                detected[change.part].add(change.subject)
        commits, low = [], 0
        for number, (piece, high) in enumerate(zip(step.pieces, ends, strict=True)):
            partition, cursor = piece.partition, piece.partition.cursor
            seen = set(np.unique(piece.chunk.subjects).tolist()) | self._named(detected[number])
            seen -= partition.known
            names = {as_key(subject): self.setup.names[subject] for subject in sorted(seen)}
            if packer is not None:
                packed = packer.records(number, cursor.watermark_ms, names)
                step.records[number].extend(examples_record(examples, self.topics.examples) for examples in packed)
            commits.append(
                Commit(
                    token=cursor.token,
                    sequence=cursor.sequence,
                    start=piece.chunk.start,
                    position=piece.chunk.end,
                    watermark_ms=int(step.batch.last_watermark[number]),
                    states=dict(zip(step.customers[low:high], blobs[low:high], strict=True)),
                    deadlines={
                        customer: at if at >= 0 else None
                        for customer, at in zip(step.customers[low:high], deadlines[low:high], strict=True)
                    },
                    names=names,
                    outbox=pack_outbox(step.records[number]),
                    adopt_until=cursor.adopt_until,
                    forgotten=partition.tombstones.changes(
                        step.customers[low:high], states.tombstone[low:high], int(step.batch.last_watermark[number])
                    ),
                )
            )
            low = high
        return commits

    def _named(self, detected: set[int]) -> set[int]:
        """Those of detected subjects that have a name; it may be the model's alone, and is needed at their end."""
        foreseen = {subject for subject in detected if subject not in self.setup.names and subject in self.model.names}
        for subject in foreseen:
            self.setup.names.learn(subject, self.model.names[subject])
        return {subject for subject in detected if subject in self.setup.names}

    async def commit(self, piece: Piece, commit: Commit) -> None:
        """Commit one piece; raises LostPartition if the store does not take it."""
        await self.write(piece.partition, commit)
        piece.partition.known |= {int.from_bytes(subject, "little") for subject in commit.names}

    async def write(self, partition: Partition, commit: Commit) -> None:
        """Commit to a partition, which then stands where the store says. Raises as `commit`."""
        partition.due_from = min([partition.due_from, *(at for at in commit.deadlines.values() if at is not None)])
        answer = await self.store.commit(partition.key, commit)
        if answer.verdict not in (Verdict.OK, Verdict.ALREADY):
            raise LostPartition(answer)
        partition.cursor = answer.found
        partition.tombstones = partition.tombstones.after(commit.forgotten)

    async def clear_outbox(self, partition: Partition) -> None:
        """Replace an outbox that is published and names who is forgotten: a quiet partition would keep it for long."""
        at = partition.cursor
        commit = Commit(at.token, at.sequence, at.position, at.position, at.watermark_ms, adopt_until=at.adopt_until)
        await self.write(partition, commit)
