"""A step worked again with one of its records in a chunk of its own, for those who want to see what that record did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from features.memory_store import MemoryStore
from features.store import Commit, Cursor, PartitionKey
from intents.model import Model
from streams.engine import Engine, Step
from streams.partition import Piece


@dataclass(frozen=True, slots=True)
class Worked:
    """A step that an engine worked, by what it started from: its pieces, their customers' stored states, the model."""

    pieces: list[Piece]
    states: list[dict[str, bytes | None]]
    model: Model

    def place(self, partition: int, offset: int) -> int | None:
        """The number of the piece that has the record, None if none has."""
        for number, piece in enumerate(self.pieces):
            if piece.partition.key.partition == partition and piece.chunk.start <= offset < piece.chunk.end:
                return number
        return None


class Witness(Engine):
    """An engine that remembers what the steps it works start from; `worked` is emptied by who reads it."""

    worked: list[Worked]

    @staticmethod
    def of(engine: Engine) -> "Witness":
        """The same engine, with a memory."""
        witness = Witness(*(getattr(engine, item.name) for item in fields(Engine)))
        witness.worked = []
        return witness

    async def step(self, pieces: Sequence[Piece]) -> tuple[Step, list[Commit]]:
        """Work the step, as any engine; the partitions are copied because they move on with the commits."""
        kept, states = [], []
        for piece in pieces:
            partition = piece.partition
            blobs = await self.store.peek(partition.key, piece.customers)
            kept.append(replace(piece, partition=replace(partition, known=set(partition.known))))
            states.append(dict(zip(piece.customers, blobs, strict=True)))
        self.worked.append(Worked(kept, states, self.model))
        return await Engine.step(self, pieces)


@dataclass(frozen=True, slots=True)
class Alone:
    """What one record did: the step and the commit, and the states of the step's customers before it."""

    step: Step
    commit: Commit
    before: list[bytes | None]


class _Shelf(MemoryStore):
    """Gives states to whoever asks: the claim was checked when the step was worked first."""

    def __init__(self, states: Mapping[str, bytes | None]) -> None:
        super().__init__()
        self.states = dict(states)

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        """The states on the shelf."""
        return [self.states[customer] for customer in customers]


async def work_alone(engine: Engine, worked: Worked, partition: int, offset: int) -> Alone:
    """Work the records before `offset` as one chunk, then that record; raises LookupError if the step has it not."""
    number = worked.place(partition, offset)
    if number is None:
        raise LookupError(f"no record {offset} of partition {partition} in this step")
    piece, shelf = worked.pieces[number], _Shelf(worked.states[number])
    again = replace(Engine(*(getattr(engine, item.name) for item in fields(Engine))), store=shelf, model=worked.model)
    chunk, place = piece.chunk, piece.partition
    first, end = np.searchsorted(chunk.offset, [offset, offset + 1]).tolist()
    if offset > chunk.start:
        head = Piece(place, chunk.part(0, first, chunk.start, offset), piece.customers)
        _, (commit,) = await again.step([head])
        shelf.states |= commit.states
        cursor = replace(
            place.cursor, sequence=commit.sequence + 1, position=commit.position, watermark_ms=commit.watermark_ms
        )
        known = place.known | {int.from_bytes(subject, "little") for subject in commit.names}
        tombstones = place.tombstones.after(commit.forgotten)
        place = replace(place, cursor=cursor, known=known, outbox=[], tombstones=tombstones)
    before = [shelf.states[customer] for customer in piece.customers]
    step, (commit,) = await again.step([Piece(place, chunk.part(first, end, offset, offset + 1), piece.customers)])
    return Alone(step, commit, before)
