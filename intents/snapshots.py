"""Model snapshots: a checkpoint as bytes, immutable and versioned, in a form that cannot execute code when read.

They are a magic number, a msgpack header (what, which arrays, their types and shapes) and the arrays' bytes; where they
lie, and which of them counts, is `intents/model_store.py`.
"""

from collections.abc import Iterable
from hashlib import blake2b
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from features.bundle import Bundle
from intents import alarm_arrays
from intents.checkpoint import Checkpoint
from intents.choice import Choice
from intents.counts import KeyedRows
from intents.head import ARRAYS, Head, Regression
from intents.model import Model, regressed_names
from intents.progress import Progress
from intents.questions import Question
from intents.reading import Reading
from intents.snapshot_checks import check_numbers, check_tables
from intents.snapshot_layout import (
    ASKED,
    CHOICE,
    HEADS,
    PROGRESS,
    TABLES,
    WORDS,
    Header,
    ProgressTold,
    ReadingTold,
    UnusableSnapshot,
)
from intents.tables import Tables

MAGIC: Final = b"MISNAP03"
_EARLIER: Final = (b"MISNAP01", b"MISNAP02")
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"<f8": np.dtype("<f8"), "<u8": np.dtype("<u8"), "<f4": np.dtype("<f4")}
_header = msgspec.msgpack.Decoder(Header)
RIVER: Final = "0.26.1"


def encode(checkpoint: Checkpoint) -> bytes:
    """Bytes of a checkpoint; the same checkpoint gives the same bytes."""
    model = checkpoint.model
    heads = (model.now.touched, model.now.foreseen, model.soon.touched, model.soon.foreseen)
    arrays: list[tuple[str, Any]] = [
        (prefix + name, getattr(head, name)) for prefix, head in zip(HEADS, heads, strict=True) for name in ARRAYS
    ]
    arrays += [("choice." + name, getattr(model.choice, name)) for name in CHOICE]
    progress = checkpoint.progress
    arrays += [("progress." + name, getattr(progress, name)) for name in PROGRESS]
    sources = sorted({asked.source for asked in checkpoint.later} | {one.source for one in checkpoint.sounded})
    arrays += alarm_arrays.arrays_of(model.curve, checkpoint.sounded, sources)
    arrays += _question_arrays(checkpoint.later, sources, len(model.feature_names))
    for prefix, tables in (("now.", model.tables), ("base.", checkpoint.base)):
        arrays += [(prefix + name, array) for name, array in _table_arrays(tables)]
    header = Header(
        bundle=model.bundle.name,
        bundle_hash=model.bundle.hash,
        features=list(model.feature_names),
        river=RIVER,
        variant=model.variant,
        labels=[count for head in heads for count in (head.positives, head.negatives)],
        soon_share=checkpoint.soon_share,
        lists=model.choice.lists,
        sources=sources,
        sums=[model.tables.views, model.tables.outcomes, checkpoint.base.views, checkpoint.base.outcomes],
        names={key.to_bytes(8, "little"): name for key, name in model.names.items()},
        reading=_pack_reading(checkpoint.reading),
        base_reading=_pack_reading(checkpoint.base_reading),
        progress=ProgressTold(progress.clock, progress.behind, progress.losing, progress.since, progress.streak),
        alarms=alarm_arrays.Told(model.curve.clock, model.curve.customer_days, checkpoint.cooling_share),
        arrays=[(name, array.dtype.str, list(array.shape)) for name, array in arrays],
    )
    head = msgspec.msgpack.encode(header)
    body = b"".join(np.ascontiguousarray(array).tobytes() for _, array in arrays)
    return MAGIC + len(head).to_bytes(8, "little") + head + body


def decode(content: bytes, bundle: Bundle, *, waiting: bool = True) -> Checkpoint:
    """The checkpoint of a snapshot's bytes; not `waiting`: without what only who goes on learning needs.

    That is the questions that wait for their outcome, and the pairs that wait for their next alarm: most of the work.
    Raises UnusableSnapshot if it is damaged, of another bundle, or not finite.
    """
    try:
        if content[:8] != MAGIC:
            what = "a snapshot of another format" if content[:6] == MAGIC[:6] else "not a snapshot"
            if content[:8] in _EARLIER:
                raise UnusableSnapshot("a snapshot of an earlier release, whose features are others: train anew")
            raise UnusableSnapshot(f"{what}, this release reads {MAGIC.decode()}: use the release that wrote it")
        size = int.from_bytes(content[8:16], "little")
        header = _header.decode(content[16 : 16 + size])
        arrays = _arrays(content, 16 + size, header.arrays)
        check_numbers(arrays, header)
        check_tables(arrays, header)
        return _checkpoint(header, arrays, bundle, f"{header.reading.next}-{content_hash(content)}", waiting)
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise UnusableSnapshot(f"a damaged snapshot: {error}") from error


def _checkpoint(header: Header, arrays: dict[str, Any], bundle: Bundle, version: str, waiting: bool) -> Checkpoint:
    if header.bundle_hash != bundle.hash:
        raise UnusableSnapshot(f"a snapshot is of bundle {header.bundle} {header.bundle_hash}, not {bundle.hash}")
    if tuple(header.features) != regressed_names(bundle):
        raise UnusableSnapshot("a snapshot has other features than its bundle")
    regressions = [
        Regression(*(arrays[prefix + name].copy() for name in ARRAYS), *header.labels[2 * n : 2 * n + 2])
        for n, prefix in enumerate(HEADS)
    ]
    weights, precision, squares = (arrays["choice." + name].copy() for name in CHOICE)
    choice = Choice(weights, precision, squares, header.lists)
    model = Model(
        bundle,
        Head(*regressions[:2]),
        Head(*regressions[2:]),
        choice,
        _tables("now.", arrays, header.sums[0], header.sums[1]),
        {int.from_bytes(key, "little"): name for key, name in header.names.items()},
        version=version,
        variant=header.variant,
        losing=header.progress.losing,
        curve=alarm_arrays.curve_of(arrays, header.alarms),
    )
    base = _tables("base.", arrays, header.sums[2], header.sums[3])
    readings = (_unpack_reading(header.reading), base, _unpack_reading(header.base_reading))
    told, (totals, bins) = header.progress, (arrays["progress." + name].copy() for name in PROGRESS)
    progress = Progress(told.clock, totals, bins, told.behind, told.losing, told.since, told.streak)
    later = _questions(header, arrays) if waiting else []
    sounded = alarm_arrays.sounded_of(arrays, header.sources) if waiting else []
    return Checkpoint(model, *readings, later, header.soon_share, progress, sounded, header.alarms.share)


def _question_arrays(later: list[Question], sources: list[tuple[str, int]], features: int) -> list[tuple[str, Any]]:
    asked = [(q.time, q.offset, q.place, sources.index(q.source), q.weight, len(q.subjects)) for q in later]
    none = np.zeros((features, 0), dtype=np.float32)

    def joined(name: str, dtype: str) -> Any:
        return np.concatenate([np.zeros(0), *(getattr(question, name) for question in later)]).astype(dtype)

    return [
        ("later.asked", np.array(asked, dtype="<f8").reshape(len(later), len(ASKED))),
        ("later.customers", np.array([question.customer for question in later], dtype="<u8")),
        ("later.subjects", np.concatenate([np.zeros(0, dtype="<u8"), *(question.subjects for question in later)])),
        ("later.ranks", joined("ranks", "<f8")),
        ("later.soon", joined("soon", "<f8")),
        ("later.columns", np.concatenate([none, *(question.columns for question in later)], axis=1)),
    ]


def _questions(header: Header, arrays: dict[str, Any]) -> list[Question]:
    found, ends = [], np.cumsum(arrays["later.asked"][:, 5]).astype(np.int64).tolist()
    for (time, offset, place, source, weight, count), customer, end in zip(
        arrays["later.asked"].tolist(), arrays["later.customers"].tolist(), ends, strict=True
    ):
        pairs = slice(end - int(count), end)
        found.append(
            Question(
                int(time),
                int(offset),
                int(place),
                header.sources[int(source)],
                customer,
                arrays["later.subjects"][pairs],
                arrays["later.ranks"][pairs].astype(np.int64),
                arrays["later.columns"][:, pairs],
                weight,
                now=np.zeros(int(count), dtype=bool),
                soon=arrays["later.soon"][pairs] > 0,
                now_open=False,
            )
        )
    return found


def _arrays(content: bytes, at: int, declared: Iterable[tuple[str, str, list[int]]]) -> dict[str, Any]:
    arrays = {}
    for name, dtype, shape in declared:
        count, wanted = prod(shape), "<f4" if name == "later.columns" else "<u8" if name in WORDS else "<f8"
        if dtype != wanted:
            raise UnusableSnapshot(f"a damaged snapshot: {name} is of type {dtype}")
        size = _DTYPES[dtype].itemsize * count
        if min(shape, default=0) < 0 or at + size > len(content):
            raise UnusableSnapshot("a snapshot is cut short")
        arrays[name] = np.frombuffer(content, _DTYPES[dtype], count, at).reshape(shape)
        at += size
    if at != len(content):
        raise UnusableSnapshot("a snapshot is longer than its header says")
    return arrays


def _table_arrays(tables: Tables) -> list[tuple[str, Any]]:
    subjects, transitions = tables.subjects.size, tables.transitions.size
    sizes = {"moves": transitions, "ranks": tables.ranks.shape[1]}
    arrays = [("subjects", tables.subjects.keys[:subjects]), ("transitions", tables.transitions.keys[:transitions])]
    return arrays + [(name, getattr(tables, name)[:, : sizes.get(name, subjects)]) for name in TABLES]


def _tables(prefix: str, arrays: dict[str, Any], views: float, outcomes: float) -> Tables:
    growing = {name: _roomy(arrays[prefix + name]) for name in TABLES if name != "ranks"}
    return Tables(
        subjects=KeyedRows(arrays[prefix + "subjects"]),
        transitions=KeyedRows(arrays[prefix + "transitions"]),
        ranks=arrays[prefix + "ranks"].copy(),
        views=views,
        outcomes=outcomes,
        **growing,
    )


def content_hash(content: bytes) -> str:
    """Hash by which a snapshot is named."""
    return blake2b(content, digest_size=8).hexdigest()


def _roomy(array: Any) -> Any:
    """A writable copy with at least one place, so that an empty table can be looked up."""
    room = np.zeros((array.shape[0], max(array.shape[1], 64)))
    room[:, : array.shape[1]] = array
    return room


def _pack_reading(reading: Reading) -> ReadingTold:
    return ReadingTold(
        reading.next,
        [(*source, *mark) for source, mark in reading.marks.items()],
        [(*source, watermark) for source, watermark in reading.watermarks.items()],
        reading.clock,
        [(*source, at_ms) for source, at_ms in reading.heard.items()],
        [(*source, *mark) for source, mark in reading.silenced.items()],
    )


def _unpack_reading(packed: ReadingTold) -> Reading:
    marks, silenced = (
        {(topic, partition): (offset, index) for topic, partition, offset, index in entries}
        for entries in (packed.marks, packed.silenced)
    )
    watermarks, heard = (
        {(topic, partition): time for topic, partition, time in times} for times in (packed.watermarks, packed.heard)
    )
    return Reading(packed.next, marks, watermarks, packed.clock, heard, silenced)
