"""Chunks and batches: watermarks, cutting, joining, and the log entries that events become."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from features.apply import waves
from features.events import Batch, Chunk
from features.kinds import CODE
from features.log import MORE
from features.state import decode
from tests.features.building import chunk
from tests.features.naive_log import Event

EVENTS = [
    Event("anna", "view", 5_000, 1, (7,), 3, 20),
    Event("ben", "search", 9_000, 2, ()),
    Event("anna", "purchase", 7_000, 3, (7, 8, 9), 4, -5),
    Event("chris", "view", 20_000, 4, (8,)),
]


def arrays(one: Chunk) -> list[tuple[str, npt.NDArray[np.generic]]]:
    """A chunk's columns by name."""
    fields = [(name, getattr(one, name)) for name in Chunk.__dataclass_fields__]
    return [(name, field) for name, field in fields if isinstance(field, np.ndarray)]


def columns(one: Chunk) -> dict[str, object]:
    """A chunk's fields as plain lists, fit for comparison."""
    fields = {name: getattr(one, name) for name in Chunk.__dataclass_fields__}
    return {**fields, **{name: column.tolist() for name, column in arrays(one)}}


def test_watermark() -> None:
    """The watermark is the newest clock so far less the lateness, each record's own included, and never goes back."""
    one = chunk(EVENTS)
    assert one.watermarks(-1, 2_000).tolist() == [3_000, 7_000, 7_000, 18_000]
    assert one.watermarks(6_500, 2_000).tolist() == [6_500, 7_000, 7_000, 18_000]
    assert one.watermarks(-1, 60_000).tolist() == [-1, -1, -1, -1]
    assert chunk([]).watermarks(5, 2_000).tolist() == []


@settings(max_examples=50, derandomize=True, database=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_part(events: list[Event], one: int, other: int) -> None:
    """A part of a chunk is the chunk of those events."""
    first, last = sorted((min(one, len(events)), min(other, len(events))))
    expected = chunk(events[first:last], start=10 + 3 * first, step=3)
    part = chunk(events, start=10, step=3).part(first, last, expected.start, expected.end)
    assert len(part) == last - first
    assert columns(part) == columns(expected)


def test_empty_chunk() -> None:
    """A chunk in which no event is left has offsets and columns of the right types, and nothing in them."""
    empty, none = Chunk.empty("clickstream", 3, 10, 20), chunk([], start=10, partition=3)
    assert columns(empty) == {**columns(none), "end": 20}
    for name, column in arrays(none):
        assert getattr(empty, name).dtype == column.dtype, name


def test_batch_joins_chunks() -> None:
    """Chunks stand one after another, each with its partition's own watermark; an empty one keeps its partition's."""
    chunks = [chunk(EVENTS[:2]), chunk([], partition=1), chunk(EVENTS[2:], start=50, partition=2)]
    batch = Batch.of(chunks, np.array([0, 1, 2, 3]), [-1, 77, 6_000], 2_000)
    assert batch.part.tolist() == [0, 0, 2, 2]
    assert batch.watermark.tolist() == [3_000, 7_000, 6_000, 18_000]
    assert batch.last_watermark.tolist() == [7_000, 77, 18_000]
    assert batch.starts.tolist() == [0, 2, 2, 4]
    assert batch.offset.tolist() == [0, 1, 50, 51]
    assert batch.subjects.tolist() == [7, 7, 8, 9, 8]
    assert batch.subject_offsets.tolist() == [0, 1, 1, 4, 5]
    assert batch.event_ids == ["e1", "e2", "e3", "e4"]


def test_entries() -> None:
    """An event becomes an entry for each subject, all but the first marked, or one without a subject."""
    batch = Batch.of([chunk(EVENTS)], np.array([0, 1, 0, 2]), [-1], 0)
    entries, event = batch.entries(np.array([2, 1, 0]))
    assert event.tolist() == [2, 2, 2, 1, 0]
    assert entries["subject"].tolist() == [7, 8, 9, 0, 7]
    assert entries["time"].tolist() == [7_000, 7_000, 7_000, 9_000, 5_000]
    assert entries["id"].tolist() == [3, 3, 3, 2, 1]
    assert entries["product"].tolist() == [4, 4, 4, 0, 3]
    assert entries["value"].tolist() == [-5, -5, -5, 0, 20]
    purchase, search, view = CODE["purchase"], CODE["search"], CODE["view"]
    assert entries["kind"].tolist() == [purchase, purchase | MORE, purchase | MORE, search, view]
    assert set(entries["count"].tolist()) == {1} and set(entries["span"].tolist()) == {0}


def test_no_entries() -> None:
    """No events become no entries."""
    batch = Batch.of([chunk(EVENTS)], np.array([0, 1, 0, 2]), [-1], 0)
    entries, event = batch.entries(np.empty(0, dtype=np.int64))
    assert len(entries) == len(event) == 0


def test_batch_without_events() -> None:
    """A batch of no events, as deadlines alone need it, has no waves and keeps its watermark."""
    batch = Batch.of([chunk([])], np.empty(0, dtype=np.int64), [123], 2_000)
    assert batch.last_watermark.tolist() == [123]
    assert list(waves(decode(["anna"], [None]), batch, lambda *_: None)) == []
