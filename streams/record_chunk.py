"""A chunk: records of one partition that follow each other, as columns; what agents get in place of single events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faust.types import TP


@dataclass(frozen=True, slots=True, eq=False)
class RecordChunk:
    """Contiguous records of one partition, as columns.

    `start` is where the previous chunk of this generation ended, or the position sought: a legal hole in the offsets is
    inside a chunk, never between two. `end` is the last record's offset + 1. `timestamps` are Kafka's (UTC ms, -1 for
    none). `generation` differs after every seek: what was kept about the partition under another one is void.
    `missing` offsets from `start` on were deleted by retention before they were read.
    """

    topic: str
    partition: int
    generation: int
    start: int
    end: int
    keys: list[bytes | None]
    values: list[bytes | None]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    missing: int = 0

    def __len__(self) -> int:
        return len(self.values)


def joined(chunks: Sequence[RecordChunk]) -> RecordChunk:
    """Chunks of one generation, each of which continues the one before it, as one."""
    first, last = chunks[0], chunks[-1]
    if first is last:
        return first
    return RecordChunk(
        first.topic,
        first.partition,
        first.generation,
        first.start,
        last.end,
        [key for chunk in chunks for key in chunk.keys],
        [value for chunk in chunks for value in chunk.values],
        np.concatenate([chunk.offsets for chunk in chunks]),
        np.concatenate([chunk.timestamps for chunk in chunks]),
        first.missing,
    )


def cut(tp: TP, generation: int, start: int, records: Sequence[Any], size: int) -> list[RecordChunk]:
    """Cut fetched records, the first of which continues `start`, into chunks of at most `size`."""
    chunks = []
    for first in range(0, len(records), size):
        part = records[first : first + size]
        keys, values = [record.key for record in part], [record.value for record in part]
        offsets = np.array([record.offset for record in part], np.int64)
        stamps = np.array([-1 if record.timestamp is None else record.timestamp for record in part], np.int64)
        end = int(offsets[-1]) + 1
        chunks.append(RecordChunk(tp.topic, tp.partition, generation, start, end, keys, values, offsets, stamps))
        start = end
    return chunks
