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
from intents.choice import COLUMNS, Choice
from intents.counts import KeyedRows
from intents.examples import LARGEST
from intents.head import ARRAYS, PRIOR, Head, Regression
from intents.model import Model, regressed_names
from intents.progress import BINS, TOTALS, Progress
from intents.questions import MOST_SOON, Question
from intents.reading import Reading
from intents.tables import COMPANIONS, RANKS, SUCCESSORS, Tables
from intents.training import Checkpoint

MAGIC: Final = b"MISNAP03"
_EARLIER: Final = (b"MISNAP01", b"MISNAP02")
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"<f8": np.dtype("<f8"), "<u8": np.dtype("<u8"), "<f4": np.dtype("<f4")}
_HEADS: Final = ("now.touched.", "now.foreseen.", "soon.touched.", "soon.foreseen.")
_SQUARES: Final = (
    *(head + name for head in _HEADS for name in ("variances", "precision", "calibration_precision")),
    "choice.squares",
    "choice.precision",
)
_SIGNED: Final = (
    *(head + name for head in _HEADS for name in ARRAYS if name != "variances"),
    "now.successors",
    "base.successors",
    "now.companions",
    "base.companions",
    "later.columns",
    "choice.weights",
    "choice.precision",
)
_CHOICE: Final = ("weights", "precision", "squares")
_PROGRESS: Final = ("totals", "bins")
_ASKED: Final = ("time", "offset", "place", "source", "weight", "count")
_WORDS: Final = (
    "now.subjects",
    "now.transitions",
    "base.subjects",
    "base.transitions",
    "later.customers",
    "later.subjects",
    *alarm_arrays.WORDS,
)
_TABLES: Final = ("totals", "moves", "successors", "successor_counts", "companions", "companion_counts", "ranks")


class UnusableSnapshot(Exception):
    """A snapshot that is damaged, of another bundle, or not finite: the last good one stays in use."""


class _Reading(msgspec.Struct, array_like=True, frozen=True):
    next: int
    marks: list[tuple[str, int, int, int]]
    watermarks: list[tuple[str, int, int]]
    clock: int
    heard: list[tuple[str, int, int]]
    silenced: list[tuple[str, int, int, int]]


class _Progress(msgspec.Struct, array_like=True, frozen=True):
    clock: int
    behind: float
    losing: bool
    since: int
    streak: int


class _Header(msgspec.Struct, frozen=True):
    bundle: str
    bundle_hash: str
    features: list[str]
    river: str
    variant: str
    labels: list[int]  # positive and negative ones of each of _HEADS
    soon_share: float
    lists: int
    sources: list[tuple[str, int]]
    sums: list[float]
    names: dict[bytes, str]
    reading: _Reading
    base_reading: _Reading
    progress: _Progress
    alarms: alarm_arrays.Told
    arrays: list[tuple[str, str, list[int]]]


_header = msgspec.msgpack.Decoder(_Header)
RIVER: Final = "0.26.1"


def encode(checkpoint: Checkpoint) -> bytes:
    """Bytes of a checkpoint; the same checkpoint gives the same bytes."""
    model = checkpoint.model
    heads = (model.now.touched, model.now.foreseen, model.soon.touched, model.soon.foreseen)
    arrays: list[tuple[str, Any]] = [
        (prefix + name, getattr(head, name)) for prefix, head in zip(_HEADS, heads, strict=True) for name in ARRAYS
    ]
    arrays += [("choice." + name, getattr(model.choice, name)) for name in _CHOICE]
    progress = checkpoint.progress
    arrays += [("progress." + name, getattr(progress, name)) for name in _PROGRESS]
    sources = sorted({asked.source for asked in checkpoint.later} | {one.source for one in checkpoint.sounded})
    arrays += alarm_arrays.arrays_of(model.curve, checkpoint.sounded, sources)
    arrays += _question_arrays(checkpoint.later, sources, len(model.feature_names))
    for prefix, tables in (("now.", model.tables), ("base.", checkpoint.base)):
        arrays += [(prefix + name, array) for name, array in _table_arrays(tables)]
    header = _Header(
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
        progress=_Progress(progress.clock, progress.behind, progress.losing, progress.since, progress.streak),
        alarms=alarm_arrays.Told(model.curve.clock, model.curve.customer_days, checkpoint.cooling_share),
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
            if content[:8] in _EARLIER:
                raise UnusableSnapshot("a snapshot of an earlier release, whose features are others: train anew")
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
    counted = (*header.sums, *header.labels, header.soon_share, header.lists, abs(header.progress.behind))
    counted = (*counted, header.alarms.customer_days, header.alarms.share)
    numbers = {"counted": np.array(counted, dtype=np.float64), **arrays}
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
    whole = len(header.sums) == 4 and len(header.labels) == 2 * len(_HEADS)
    whole &= all(_sound_head(prefix, arrays, len(header.features)) for prefix in _HEADS)
    whole &= _sound_questions(arrays, header) and _sound_choice(arrays) and _sound_progress(arrays, header.progress)
    whole &= alarm_arrays.sound(arrays, header.alarms, len(header.sources))
    whole &= 0 <= header.base_reading.next <= header.reading.next <= LARGEST
    for prefix in ("now.", "base."):
        keys = [arrays[prefix + name] for name in ("subjects", "transitions")]
        whole &= all(array.ndim == 1 and len(np.unique(array)) == len(array) for array in keys)
        s, t = (array.size for array in keys)
        lists = ((SUCCESSORS, s), (SUCCESSORS, s), (COMPANIONS, s), (COMPANIONS, s))
        for name, shape in zip(_TABLES, ((5, s), (3, t), *lists, (2, RANKS)), strict=True):
            whole &= arrays[prefix + name].shape == shape
        for nexts in (arrays[prefix + "successors"], arrays[prefix + "companions"]):
            whole &= bool(((nexts >= -1) & (nexts < s) & (nexts == np.floor(nexts))).all())
    if not whole:
        raise UnusableSnapshot("a damaged snapshot: its tables do not belong together")


def _checkpoint(header: _Header, arrays: dict[str, Any], bundle: Bundle, version: str) -> Checkpoint:
    if header.bundle_hash != bundle.hash:
        raise UnusableSnapshot(f"a snapshot is of bundle {header.bundle} {header.bundle_hash}, not {bundle.hash}")
    if tuple(header.features) != regressed_names(bundle):
        raise UnusableSnapshot("a snapshot has other features than its bundle")
    regressions = [
        Regression(*(arrays[prefix + name].copy() for name in ARRAYS), *header.labels[2 * n : 2 * n + 2])
        for n, prefix in enumerate(_HEADS)
    ]
    weights, precision, squares = (arrays["choice." + name].copy() for name in _CHOICE)
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
    told, (totals, bins) = header.progress, (arrays["progress." + name].copy() for name in _PROGRESS)
    progress = Progress(told.clock, totals, bins, told.behind, told.losing, told.since, told.streak)
    cooling = (alarm_arrays.sounded_of(arrays, header.sources), header.alarms.share)
    return Checkpoint(model, *readings, _questions(header, arrays), header.soon_share, progress, *cooling)


def _sound_head(prefix: str, arrays: dict[str, Any], features: int) -> bool:
    """Whether a head's arrays fit to each other, and its precisions are ones that it can go on learning with."""
    wide, (means, variances, weights, precision, *calibration) = (
        features + 1,
        (arrays[prefix + name] for name in ARRAYS),
    )
    shapes = [array.shape for array in (means, variances, weights, precision, *calibration)]
    if shapes != [(features,), (features,), (wide,), (wide, wide), (2,), (2, 2)]:
        return False
    calibration_precision = calibration[1]
    least = min(float(np.linalg.eigvalsh(precision)[0]) / PRIOR, float(np.linalg.eigvalsh(calibration_precision)[0]))
    symmetric = all(bool((matrix == matrix.T).all()) for matrix in (precision, calibration_precision))
    sound = symmetric and least > 0.5
    return bool(sound)


def _sound_choice(arrays: dict[str, Any]) -> bool:
    weights, precision, squares = (arrays["choice." + name] for name in _CHOICE)
    count = len(COLUMNS)
    if (weights.shape, precision.shape, squares.shape) != ((count,), (count, count), (count,)):
        return False
    return bool((precision == precision.T).all()) and float(np.linalg.eigvalsh(precision)[0]) > 1.0


def _sound_progress(arrays: dict[str, Any], told: _Progress) -> bool:
    """Whether the sums have their shapes, and the duel's times are in order."""
    totals, bins = arrays["progress.totals"], arrays["progress.bins"]
    if (totals.shape, bins.shape) != ((TOTALS,), (2, BINS)):
        return False
    return -1 <= told.since <= told.clock <= LARGEST and 0 <= told.streak <= LARGEST


def _question_arrays(later: list[Question], sources: list[tuple[str, int]], features: int) -> list[tuple[str, Any]]:
    asked = [(q.time, q.offset, q.place, sources.index(q.source), q.weight, len(q.subjects)) for q in later]
    none = np.zeros((features, 0), dtype=np.float32)

    def joined(name: str, dtype: str) -> Any:
        return np.concatenate([np.zeros(0), *(getattr(question, name) for question in later)]).astype(dtype)

    return [
        ("later.asked", np.array(asked, dtype="<f8").reshape(len(later), len(_ASKED))),
        ("later.customers", np.array([question.customer for question in later], dtype="<u8")),
        ("later.subjects", np.concatenate([np.zeros(0, dtype="<u8"), *(question.subjects for question in later)])),
        ("later.ranks", joined("ranks", "<f8")),
        ("later.soon", joined("soon", "<f8")),
        ("later.columns", np.concatenate([none, *(question.columns for question in later)], axis=1)),
    ]


def _sound_questions(arrays: dict[str, Any], header: _Header) -> bool:
    """Whether the waiting questions' arrays fit to each other."""
    asked, columns = arrays["later.asked"], arrays["later.columns"]
    if asked.ndim != 2 or asked.shape[1] != len(_ASKED) or len(asked) > MOST_SOON or columns.ndim != 2:
        return False
    pairs = columns.shape[1]
    fits = all(arrays["later." + name].shape == (pairs,) for name in ("subjects", "ranks", "soon"))
    fits &= arrays["later.customers"].shape == (len(asked),) and columns.shape[0] == len(header.features)
    fits &= bool((asked == np.floor(asked))[:, [0, 1, 2, 3, 5]].all()) and 0 < header.soon_share <= 1
    fits &= bool((asked[:, 3] < len(header.sources)).all()) and int(asked[:, 5].sum()) == pairs
    return bool(fits)


def _questions(header: _Header, arrays: dict[str, Any]) -> list[Question]:
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
        count, wanted = prod(shape), "<f4" if name == "later.columns" else "<u8" if name in _WORDS else "<f8"
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
        reading.clock,
        [(*source, at_ms) for source, at_ms in reading.heard.items()],
        [(*source, *mark) for source, mark in reading.silenced.items()],
    )


def _unpack_reading(packed: _Reading) -> Reading:
    marks, silenced = (
        {(topic, partition): (offset, index) for topic, partition, offset, index in entries}
        for entries in (packed.marks, packed.silenced)
    )
    watermarks, heard = (
        {(topic, partition): time for topic, partition, time in times} for times in (packed.watermarks, packed.heard)
    )
    return Reading(packed.next, marks, watermarks, packed.clock, heard, silenced)
