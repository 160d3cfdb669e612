"""Events as columns.

One partition's chunk as it was decoded, and the batch of chunks that is worked through at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from features.log import ENTRY, I64, MORE, U64, Entries, expand

MAX_TIME_MS: Final = 2**43 - 1
"""Latest time, in the year 2248: logs are sorted by customer and time packed into one number (`features/log.py`)."""
AHEAD_MS: Final = 5 * 60_000
"""How far ahead of the broker's clock an event's time may move the watermark."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Contiguous records of one partition, decoded; refused ones are left out. Columns (n,), one row an event.

    `start` is where the previous chunk ended, `end` the offset after the last record. `offset` and `index` (within the
    record's items) say where an event came from. `clock` is min(event time, broker timestamp + AHEAD_MS), UTC ms.
    `subjects` are flat, event i's are [subject_offsets[i], subject_offsets[i + 1]). `value` is money in minor units.
    """

    topic: str
    partition: int
    start: int
    end: int
    customers: list[str]
    event_ids: list[str]
    kind: npt.NDArray[np.uint8]
    time: I64
    clock: I64
    offset: I64
    index: I64
    id: U64
    product: npt.NDArray[np.uint32]
    value: npt.NDArray[np.int32]
    subjects: U64
    subject_offsets: I64

    @staticmethod
    def empty(topic: str, partition: int, start: int, end: int) -> "Chunk":
        """A chunk in which no event is left."""
        i64, u64 = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
        kind, product, value = np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int32)
        nothing = np.zeros(1, dtype=np.int64)
        return Chunk(topic, partition, start, end, [], [], kind, i64, i64, i64, i64, u64, product, value, u64, nothing)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.customers)

    def watermarks(self, before_ms: int, lateness_ms: int) -> I64:
        """Watermark at each event (n,), its own record included; `before_ms` is the partition's so far (-1: none)."""
        return np.maximum(np.maximum.accumulate(self.clock) - lateness_ms, before_ms) if len(self) else self.clock

    def part(self, first: int, last: int, start: int, end: int) -> "Chunk":
        """Events [first, last) as a chunk of the offsets [start, end)."""
        low, high = self.subject_offsets[first], self.subject_offsets[last]
        columns = {
            name: getattr(self, name)[first:last]
            for name in ("customers", "event_ids", "kind", "time", "clock", "offset", "index", "id", "product", "value")
        }
        return Chunk(
            topic=self.topic,
            partition=self.partition,
            start=start,
            end=end,
            subjects=self.subjects[low:high],
            subject_offsets=self.subject_offsets[first : last + 1] - low,
            **columns,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one or more partitions' chunks, one after another; columns (n,) as in Chunk.

    `part` (n,) is the chunk's number, `customer` (n,) the row of the customer's state, `watermark` (n,) the
    partition's.
    `last_watermark` (parts,) is each partition's watermark after its chunk.
    """

    chunks: Sequence[Chunk]
    part: I64
    customer: I64
    kind: npt.NDArray[np.uint8]
    time: I64
    watermark: I64
    offset: I64
    index: I64
    id: U64
    product: npt.NDArray[np.uint32]
    value: npt.NDArray[np.int32]
    subjects: U64
    subject_offsets: I64
    event_ids: list[str]
    last_watermark: I64
    starts: I64  # (parts + 1,) first event of each part

    @staticmethod
    def of(chunks: Sequence[Chunk], customer: I64, before_ms: Sequence[int], lateness_ms: int) -> "Batch":
        """Join `chunks`, whose events' customers have the state rows `customer` (n,).

        `before_ms` are the watermarks so far.
        """
        marks = [chunk.watermarks(before, lateness_ms) for chunk, before in zip(chunks, before_ms, strict=True)]
        sizes = [len(chunk) for chunk in chunks]
        counts = np.concatenate([np.diff(chunk.subject_offsets) for chunk in chunks])
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])

        def join(name: str) -> "np.ndarray[tuple[int], np.dtype[np.generic]]":
            return np.concatenate([getattr(chunk, name) for chunk in chunks])

        columns = {
            name: join(name) for name in ("kind", "time", "offset", "index", "id", "product", "value", "subjects")
        }
        return Batch(
            chunks=chunks,
            part=np.repeat(np.arange(len(chunks)), sizes),
            customer=customer,
            watermark=np.concatenate(marks),
            subject_offsets=offsets,
            event_ids=[event_id for chunk in chunks for event_id in chunk.event_ids],
            last_watermark=np.array(
                [int(m[-1]) if len(m) else before for m, before in zip(marks, before_ms, strict=True)], dtype=np.int64
            ),
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            **columns,  # type: ignore[arg-type]  # the columns' types are Chunk's
        )

    def entries(self, events: I64) -> tuple[Entries, I64]:
        """(log entries (m,), the event of each (m,)).

        One for each subject of each of `events`, or one without a subject.
        """
        count = np.diff(self.subject_offsets)[events]
        owner, place = expand(self.subject_offsets[events], np.maximum(count, 1))
        event = events[owner]
        entries = np.zeros(len(event), dtype=ENTRY)
        for name in ("time", "id", "product", "value"):
            entries[name] = getattr(self, name)[event]
        entries["count"] = 1
        more = np.zeros(len(event), dtype=np.uint8)
        more[1:] = np.where(event[1:] == event[:-1], MORE, 0)
        entries["kind"] = self.kind[event] | more
        with_subject = np.repeat(count > 0, np.maximum(count, 1))
        entries["subject"][with_subject] = self.subjects[place[with_subject]]
        return entries, event
