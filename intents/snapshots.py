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
from intents.counts import KeyedRows
from intents.examples import LARGEST
from intents.model import Model, Weights
from intents.tables import MODEL_FEATURES, RANKS, SUCCESSORS, Tables
from intents.training import Checkpoint, Reading

MAGIC: Final = b"MISNAP01"
_DTYPES: Final = {"<f8": np.dtype("<f8"), "<u8": np.dtype("<u8")}
_WEIGHTS: Final = ("counts", "means", "variances", "weights", "squares")
_SQUARES: Final = ("variances", "squares")
_SIGNED: Final = ("intercept", "means", "weights", "now.successors", "base.successors")
_TABLES: Final = ("totals", "moves", "successors", "successor_counts", "ranks")


class UnusableSnapshot(Exception):
    """A snapshot that is damaged, of another bundle, or not finite: the last good one stays in use."""


class _Reading(msgspec.Struct, array_like=True, frozen=True):
    next: int
    marks: list[tuple[str, int, int, int]]
    watermarks: list[tuple[str, int, int]]


class _Header(msgspec.Struct, frozen=True):
    bundle: str
    bundle_hash: str
    features: list[str]
    river: str
    variant: str
    intercept: float
    steps: int
    positives: int
    negatives: int
    sums: list[float]
    names: dict[bytes, str]
    reading: _Reading
    base_reading: _Reading
    arrays: list[tuple[str, str, list[int]]]


_header = msgspec.msgpack.Decoder(_Header)
RIVER: Final = "0.26.1"


def encode(checkpoint: Checkpoint) -> bytes:
    """Bytes of a checkpoint; the same checkpoint gives the same bytes."""
    model = checkpoint.model
    arrays: list[tuple[str, Any]] = [(name, getattr(model.weights, name)) for name in _WEIGHTS]
    for prefix, tables in (("now.", model.tables), ("base.", checkpoint.base)):
        arrays += [(prefix + name, array) for name, array in _table_arrays(tables)]
    header = _Header(
        bundle=model.bundle.name,
        bundle_hash=model.bundle.hash,
        features=list(model.feature_names),
        river=RIVER,
        variant=model.variant,
        intercept=model.weights.intercept,
        steps=model.weights.steps,
        positives=model.positives,
        negatives=model.negatives,
        sums=[model.tables.views, model.tables.outcomes, checkpoint.base.views, checkpoint.base.outcomes],
        names={key.to_bytes(8, "little"): name for key, name in model.names.items()},
        reading=_pack_reading(checkpoint.reading),
        base_reading=_pack_reading(checkpoint.base_reading),
        arrays=[(name, array.dtype.str, list(array.shape)) for name, array in arrays],
    )
    head = msgspec.msgpack.encode(header)
    body = b"".join(np.ascontiguousarray(array).tobytes() for _, array in arrays)
    return MAGIC + len(head).to_bytes(8, "little") + head + body


def decode(content: bytes, bundle: Bundle) -> Checkpoint:
    """The checkpoint of a snapshot's bytes.

    Raises UnusableSnapshot if it is damaged, of another bundle, or not finite.
    """
    try:
        if content[:8] != MAGIC:
            what = "a snapshot of another format" if content[:6] == MAGIC[:6] else "not a snapshot"
            raise UnusableSnapshot(f"{what}, this release reads {MAGIC.decode()}: use the release that wrote it")
        size = int.from_bytes(content[8:16], "little")
        header = _header.decode(content[16 : 16 + size])
        arrays = _arrays(content, 16 + size, header.arrays)
        _check_numbers(arrays, header)
        _check_tables(arrays, header)
        return _checkpoint(header, arrays, bundle, f"{header.reading.next}-{content_hash(content)}")
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise UnusableSnapshot(f"a damaged snapshot: {error}") from error


def _check_numbers(arrays: dict[str, Any], header: _Header) -> None:
    """Raise UnusableSnapshot for a number that is not finite, or with which a trainer could not go on.

    Below zero only some can be, and from one too large counting and learning would end in what is not finite.
    """
    counted = (*header.sums, header.steps, header.positives, header.negatives)
    numbers = {"intercept": np.array(header.intercept), "counted": np.array(counted, dtype=np.float64), **arrays}
    if not all(np.isfinite(array).all() for array in numbers.values()):
        raise UnusableSnapshot("a snapshot has a number that is not finite")
    for name, array in numbers.items():
        most = LARGEST**3 if name in _SQUARES else LARGEST
        least = -most if name in _SIGNED else 0.0
        if array.dtype.kind == "f" and not ((least <= array) & (array <= most)).all():
            raise UnusableSnapshot("a snapshot has a count below zero, or a number too large to go on with")


def _check_tables(arrays: dict[str, Any], header: _Header) -> None:
    """Raise UnusableSnapshot for tables whose shapes or rows do not belong together."""
    if any(len(subject) != 8 for subject in header.names):
        raise UnusableSnapshot("a damaged snapshot: a subject is not 8 bytes")
    features, whole = len(header.features), len(header.sums) == 4
    whole &= all(arrays[name].shape == (features,) for name in _WEIGHTS)
    whole &= 0 <= header.base_reading.next <= header.reading.next <= LARGEST
    for prefix in ("now.", "base."):
        keys = [arrays[prefix + name] for name in ("subjects", "transitions")]
        whole &= all(array.ndim == 1 and len(np.unique(array)) == len(array) for array in keys)
        s, t = (array.size for array in keys)
        for name, shape in zip(_TABLES, ((4, s), (2, t), (SUCCESSORS, s), (SUCCESSORS, s), (2, RANKS)), strict=True):
            whole &= arrays[prefix + name].shape == shape
        nexts = arrays[prefix + "successors"]
        whole &= bool(((nexts >= -1) & (nexts < s) & (nexts == np.floor(nexts))).all())
    if not whole:
        raise UnusableSnapshot("a damaged snapshot: its tables do not belong together")


def _checkpoint(header: _Header, arrays: dict[str, Any], bundle: Bundle, version: str) -> Checkpoint:
    if header.bundle_hash != bundle.hash:
        raise UnusableSnapshot(f"a snapshot is of bundle {header.bundle} {header.bundle_hash}, not {bundle.hash}")
    if tuple(header.features) != bundle.names + MODEL_FEATURES:
        raise UnusableSnapshot("a snapshot has other features than its bundle")
    columns = {name: arrays[name] for name in _WEIGHTS}
    weights = Weights(**columns, intercept=header.intercept, steps=header.steps)
    model = Model(
        bundle,
        weights,
        _tables("now.", arrays, header.sums[0], header.sums[1]),
        {int.from_bytes(key, "little"): name for key, name in header.names.items()},
        header.positives,
        header.negatives,
        version=version,
        variant=header.variant,
    )
    base = _tables("base.", arrays, header.sums[2], header.sums[3])
    return Checkpoint(model, _unpack_reading(header.reading), base, _unpack_reading(header.base_reading))


def _arrays(content: bytes, at: int, declared: Iterable[tuple[str, str, list[int]]]) -> dict[str, Any]:
    arrays = {}
    for name, dtype, shape in declared:
        count = prod(shape)
        if dtype != ("<u8" if name.endswith(("subjects", "transitions")) else "<f8"):
            raise UnusableSnapshot(f"a damaged snapshot: {name} is of type {dtype}")
        if min(shape, default=0) < 0 or at + 8 * count > len(content):
            raise UnusableSnapshot("a snapshot is cut short")
        arrays[name] = np.frombuffer(content, _DTYPES[dtype], count, at).reshape(shape)
        at += 8 * count
    if at != len(content):
        raise UnusableSnapshot("a snapshot is longer than its header says")
    return arrays


def _table_arrays(tables: Tables) -> list[tuple[str, Any]]:
    subjects, transitions = tables.subjects.size, tables.transitions.size
    sizes = {"moves": transitions, "ranks": tables.ranks.shape[1]}
    arrays = [("subjects", tables.subjects.keys[:subjects]), ("transitions", tables.transitions.keys[:transitions])]
    return arrays + [(name, getattr(tables, name)[:, : sizes.get(name, subjects)]) for name in _TABLES]


def _tables(prefix: str, arrays: dict[str, Any], views: float, outcomes: float) -> Tables:
    growing = {name: _roomy(arrays[prefix + name]) for name in _TABLES if name != "ranks"}
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


def _pack_reading(reading: Reading) -> _Reading:
    return _Reading(
        reading.next,
        [(*source, *mark) for source, mark in reading.marks.items()],
        [(*source, watermark) for source, watermark in reading.watermarks.items()],
    )


def _unpack_reading(packed: _Reading) -> Reading:
    marks = {(topic, partition): (offset, index) for topic, partition, offset, index in packed.marks}
    return Reading(packed.next, marks, {(topic, partition): mark for topic, partition, mark in packed.watermarks})
