"""What `detect` leaves for `train`: packed asked and outcome entries, in records of the examples topic.

A record is msgpack: a header and columns as little-endian bytes; nothing in it can execute. Entries carry their source
(offset, index), by which nothing is learned twice, and a keyed hash in place of the customer's id.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from features.bundle import F32
from features.events import MAX_TIME_MS
from features.log import I64, U64, Entries

VERSION: Final = 2
LEAST_SHARE: Final = 1e-6
LARGEST: Final = 1e15
"""A number in a vector is at most so far from zero: its square must not end a model."""
RECENT: Final = 6
"""Most recent other subjects that an outcome carries."""
CHOICES: Final = 12
"""Most touched candidates, latest first, that an outcome carries, with their vectors: what could have been chosen."""

ASKED: Final = np.dtype(
    [
        ("time", "<i8"),
        ("offset", "<i8"),
        ("customer", "<u8"),
        ("subject", "<u8"),  # viewed
        ("product", "<u4"),
        ("index", "<u2"),
        ("viewed", "u1"),  # subjects of the view: the first candidates, for they were touched last
        ("touched", "u1"),  # candidates that were touched
        ("candidates", "u1"),
        ("first", "u1"),  # 1: the customer was asked nothing before on that UTC day
    ]
)
_ASKED_1: Final = np.dtype([(name, ASKED[name]) for name in (ASKED.names or ())[:-1]])
OUTCOME: Final = np.dtype(
    [
        ("time", "<i8"),
        ("offset", "<i8"),
        ("customer", "<u8"),
        ("subject", "<u8"),
        ("product", "<u4"),
        ("index", "<u2"),
        ("recent", "u1"),  # how many recent subjects it has
    ]
)


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    version: int
    topic: str
    partition: int
    watermark: int
    bundle: str
    features: int
    share: float
    names: dict[bytes, str]
    asked: bytes
    subjects: bytes
    ranks: bytes
    vectors: bytes
    outcomes: bytes
    recent: bytes
    choices: bytes = b""
    choice_subjects: bytes = b""
    choice_vectors: bytes = b""
    said: bytes = b""
    model: str = "none"


@dataclass(frozen=True, slots=True)
class Examples:
    """Entries of one commit.

    `asked` (a,) ASKED; `subjects`, `ranks` (c,) and `vectors` (f, c) are the candidates of all asks, one after
    another; `outcomes` (o,) OUTCOME with `recent` (r,) flat. Each outcome has `choices` (o,) touched candidates, latest
    first: `choice_subjects` (d,) and `choice_vectors` (f, d), flat. `said` (c,) is what the model of this version said
    of the asks' candidates, though the fallback be served; NaN where it was not ready. `watermark` is the source
    partition's after them.
    """

    topic: str
    partition: int
    watermark: int
    bundle: str
    share: float
    names: dict[bytes, str]
    asked: Entries
    subjects: U64
    ranks: I64
    vectors: F32
    outcomes: Entries
    recent: U64
    choices: I64
    choice_subjects: U64
    choice_vectors: F32
    said: F32
    model: str

    def in_order(self) -> list[tuple[tuple[int, int], bool, int]]:
        """Of every entry: where it is in its source (offset, index), whether it is an outcome, its row; sorted."""
        found = []
        for is_outcome, entries in ((False, self.asked), (True, self.outcomes)):
            places = zip(entries["offset"].tolist(), entries["index"].tolist(), strict=True)
            found += [(place, is_outcome, row) for row, place in enumerate(places)]
        return sorted(found)


class UnreadableExamples(Exception):
    """A record of the examples topic that is damaged, or was never one: it is passed over."""


class NewerExamples(Exception):
    """A record that a later release wrote: it is not passed over, for its trainer can learn it."""


_decoder = msgspec.msgpack.Decoder(_Wire)
_fields = msgspec.msgpack.Decoder(list[msgspec.Raw])


def pack(examples: Examples) -> bytes:
    """Bytes of a record."""
    return msgspec.msgpack.encode(
        _Wire(
            VERSION,
            examples.topic,
            examples.partition,
            examples.watermark,
            examples.bundle,
            len(examples.vectors),
            examples.share,
            examples.names,
            examples.asked.tobytes(),
            examples.subjects.astype("<u8").tobytes(),
            examples.ranks.astype("u1").tobytes(),
            np.ascontiguousarray(examples.vectors, dtype="<f4").tobytes(),
            examples.outcomes.tobytes(),
            examples.recent.astype("<u8").tobytes(),
            examples.choices.astype("u1").tobytes(),
            examples.choice_subjects.astype("<u8").tobytes(),
            np.ascontiguousarray(examples.choice_vectors, dtype="<f4").tobytes(),
            examples.said.astype("<f4").tobytes(),
            examples.model,
        )
    )


def unpack(record: bytes) -> Examples:
    """Entries of a record; raises UnreadableExamples for what is no such record, NewerExamples for a later version."""
    try:
        _check_version(record)
        wire = _decoder.decode(record)
        subjects = np.frombuffer(wire.subjects, dtype="<u8")
        outcomes = np.frombuffer(wire.outcomes, dtype=OUTCOME)
        choices = np.frombuffer(wire.choices, dtype="u1").astype(np.int64)
        choice_subjects = np.frombuffer(wire.choice_subjects, dtype="<u8")
        examples = Examples(
            wire.topic,
            wire.partition,
            wire.watermark,
            wire.bundle,
            wire.share,
            wire.names,
            _asked(wire),
            subjects,
            np.frombuffer(wire.ranks, dtype="u1").astype(np.int64),
            np.frombuffer(wire.vectors, dtype="<f4").reshape(wire.features, len(subjects)),
            outcomes,
            np.frombuffer(wire.recent, dtype="<u8"),
            choices if wire.version > 1 else np.zeros(len(outcomes), dtype=np.int64),
            choice_subjects,
            np.frombuffer(wire.choice_vectors, dtype="<f4").reshape(wire.features, len(choice_subjects)),
            np.frombuffer(wire.said, dtype="<f4") if wire.version > 1 else np.full(len(subjects), np.nan, dtype="<f4"),
            wire.model,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableExamples(f"not an examples record: {error}") from error
    if not _consistent(examples):
        raise UnreadableExamples("an examples record whose columns do not belong together")
    return examples


def _asked(wire: _Wire) -> Entries:
    if wire.version > 1:
        return np.frombuffer(wire.asked, dtype=ASKED)
    earlier = np.frombuffer(wire.asked, dtype=_ASKED_1)
    asked = np.zeros(len(earlier), dtype=ASKED)
    asked[list(_ASKED_1.names or ())] = earlier
    return asked


def _check_version(record: bytes) -> None:
    first = _fields.decode(record)[:1]
    version = msgspec.msgpack.decode(first[0]) if first else None
    if not isinstance(version, int) or version < 1:
        raise UnreadableExamples(f"not an examples record: its version is {version!r}")
    if version > VERSION:
        raise NewerExamples(f"an examples record is of version {version}, later than {VERSION}: upgrade the trainer")


def _consistent(examples: Examples) -> bool:
    """Whether the columns have the lengths that the entries say.

    And the share and all vectors are numbers to count and learn with.
    """
    asked, candidates = examples.asked, len(examples.subjects)
    return (
        int(asked["candidates"].sum(dtype=np.int64)) == candidates == len(examples.ranks) == len(examples.said)
        and examples.vectors.shape[1] == candidates
        and bool((asked["viewed"] <= asked["touched"]).all() and (asked["touched"] <= asked["candidates"]).all())
        and bool((asked["first"] <= 1).all())
        and int(examples.outcomes["recent"].sum(dtype=np.int64)) == len(examples.recent)
        and len(examples.choices) == len(examples.outcomes)
        and int(examples.choices.sum()) == len(examples.choice_subjects) == examples.choice_vectors.shape[1]
        and bool((np.abs(examples.choice_vectors) <= LARGEST).all())
        and not bool(((examples.said < 0) | (examples.said > 1)).any())  # not a number: nothing was said
        and LEAST_SHARE <= examples.share <= 1
        and abs(examples.watermark) <= MAX_TIME_MS
        and all(
            bool((each["time"] >= 0).all() and (each["time"] <= MAX_TIME_MS).all())
            for each in (asked, examples.outcomes)
        )
        and all(len(subject) == 8 for subject in examples.names)
        and bool((np.abs(examples.vectors) <= LARGEST).all())  # not so if one is not a number
    )
