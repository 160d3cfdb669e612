"""Model snapshots: immutable, versioned files in any fsspec place, in a form that cannot execute code when read.

A file is a magic number, a msgpack header (what, which arrays, their types and shapes) and the arrays' bytes. Its
name is the offset up to which the examples were read and a hash of its content: readers take the highest offset; of
one offset with two hashes, which must not happen, the lowest hash wins and an alarm is raised.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from secrets import token_hex
from typing import Any, Final

import fsspec
import msgspec
import numpy as np

from features.bundle import Bundle
from intents.counts import KeyedRows
from intents.model import Model, Weights
from intents.tables import MODEL_FEATURES, RANKS, SUCCESSORS, Tables
from intents.training import Checkpoint, Reading

_log = logging.getLogger(__name__)

MAGIC: Final = b"MISNAP01"
_SUFFIX: Final = ".snapshot"
_PART: Final = ".part"
_DTYPES: Final = {"<f8": np.dtype("<f8"), "<u8": np.dtype("<u8")}
_WEIGHTS: Final = ("counts", "means", "variances", "weights", "squares")
_ROOTED: Final = ("counts", "variances", "squares")  # a negative one has no root
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
        _check_tables(arrays, header)
        return _checkpoint(header, arrays, bundle, f"{header.reading.next}-{_hash(content)}")
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise UnusableSnapshot(f"a damaged snapshot: {error}") from error


def _check_tables(arrays: dict[str, Any], header: _Header) -> None:
    """Raise UnusableSnapshot for numbers that are not finite.

    And for tables whose shapes or rows do not belong together.
    """
    numbers = [header.intercept, *header.sums]
    if any(len(subject) != 8 for subject in header.names):
        raise UnusableSnapshot("a damaged snapshot: a subject is not 8 bytes")
    if not np.isfinite(numbers).all() or not all(np.isfinite(array).all() for array in arrays.values()):
        raise UnusableSnapshot("a snapshot has a number that is not finite")
    features, whole = len(header.features), len(header.sums) == 4
    whole &= all(arrays[name].shape == (features,) and (arrays[name] >= 0).all() for name in _ROOTED)
    whole &= all(arrays[name].shape == (features,) for name in ("means", "weights"))
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


def _hash(content: bytes) -> str:
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


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot's name in the store, and whether another content claims the same offset."""

    name: str
    disputed: bool


class ModelStore:
    """Snapshots of one variant under an fsspec URL (a folder, or an object store's prefix).

    `refused` and `disputed` say how many snapshots the last look for the newest could not use, or found to contradict
    another of their offset.
    """

    def __init__(self, url: str, variant: str = "main") -> None:
        """`url` is what fsspec reads: a path, file://, s3:// and so on."""
        self.url = url
        self.refused = self.disputed = 0
        self._fs, root = fsspec.core.url_to_fs(url)
        self._folder = f"{root.rstrip('/')}/{variant}"

    def save(self, content: bytes, next_offset: int) -> str:
        """Write a snapshot unless it is there; returns its name."""
        name = f"{next_offset:020d}-{_hash(content)}{_SUFFIX}"
        path = f"{self._folder}/{name}"
        if not self._fs.exists(path):
            self._fs.makedirs(self._folder, exist_ok=True)
            part = f"{path}.{token_hex(4)}{_PART}"  # two trainers must not write into one file
            self._fs.pipe_file(part, content)
            self._fs.mv(part, path)
        return name

    def latest(self) -> Found | None:
        """The snapshot to use, None if there is none yet."""
        names = self.names()
        if not names:
            return None
        offset = names[-1].split("-")[0]
        same = [name for name in names if name.split("-")[0] == offset]
        return Found(same[0], len(same) > 1)

    def names(self) -> list[str]:
        """Names of all snapshots, oldest first."""
        return [name for name in self._files() if name.endswith(_SUFFIX)]

    def _files(self) -> list[str]:
        self._fs.invalidate_cache()
        if not self._fs.isdir(self._folder):
            return []
        return sorted(path.rsplit("/", 1)[-1] for path in self._fs.ls(self._folder, detail=False))

    def load(self, name: str) -> bytes:
        """A snapshot's bytes; raises UnusableSnapshot if they are not those that it is named by."""
        content = bytes(self._fs.cat_file(f"{self._folder}/{name}"))
        if _hash(content) not in name:
            raise UnusableSnapshot("its content is not what its name says")
        return content

    def newest(self, bundle: Bundle, *, known: str = "") -> tuple[str, Checkpoint] | None:
        """The newest usable snapshot; None if it is the one named `known`, or there is none.

        Of one offset the lowest hash counts, with an alarm. What cannot be used is told and passed over.
        """
        by_offset: dict[str, list[str]] = {}
        self.refused = self.disputed = 0
        for name in self.names():
            by_offset.setdefault(name.split("-")[0], []).append(name)
        for offset, names in sorted(by_offset.items(), reverse=True):
            if len(names) > 1:
                self.disputed += len(names) - 1
                _log.error(
                    "%d snapshots claim offset %s: trainers disagree; the lowest hash counts", len(names), offset
                )
            for name in names:
                if name == known:
                    return None
                try:
                    return name, decode(self.load(name), bundle)
                except (UnusableSnapshot, FileNotFoundError) as error:
                    self.refused += isinstance(error, UnusableSnapshot)  # else pruned meanwhile
                    _log.error("snapshot %s is passed over: %s", name, error)
        return None

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep` snapshots, and what killed trainers left half written before those."""
        kept = self.names()[-keep:]
        for name in [
            name for name in self._files() if name.endswith((_SUFFIX, _PART)) and name < min(kept, default="")
        ]:
            with suppress(FileNotFoundError):  # another trainer was quicker
                self._fs.rm_file(f"{self._folder}/{name}")
