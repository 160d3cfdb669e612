"""How a snapshot is laid out: its header, and the names of its arrays."""

from typing import Final

import msgspec

from intents import alarm_arrays

HEADS: Final = ("now.touched.", "now.foreseen.", "soon.touched.", "soon.foreseen.")
CHOICE: Final = ("weights", "precision", "squares")
PROGRESS: Final = ("totals", "bins")
ASKED: Final = ("time", "offset", "place", "source", "weight", "count")
WORDS: Final = (
    "now.subjects",
    "now.transitions",
    "base.subjects",
    "base.transitions",
    "later.customers",
    "later.subjects",
    *alarm_arrays.WORDS,
)
TABLES: Final = ("totals", "moves", "successors", "successor_counts", "companions", "companion_counts", "ranks")


class UnusableSnapshot(Exception):
    """A snapshot that is damaged, of another bundle, or not finite: the last good one stays in use."""


class ReadingTold(msgspec.Struct, array_like=True, frozen=True):
    """A Reading."""

    next: int
    marks: list[tuple[str, int, int, int]]
    watermarks: list[tuple[str, int, int]]
    clock: int
    heard: list[tuple[str, int, int]]
    silenced: list[tuple[str, int, int, int]]


class ProgressTold(msgspec.Struct, array_like=True, frozen=True):
    """The numbers of a Progress."""

    clock: int
    behind: float
    losing: bool
    since: int
    streak: int


class Header(msgspec.Struct, frozen=True):
    """What stands before the arrays; `labels` are positive and negative ones of each of HEADS."""

    bundle: str
    bundle_hash: str
    features: list[str]
    river: str
    variant: str
    labels: list[int]
    soon_share: float
    lists: int
    sources: list[tuple[str, int]]
    sums: list[float]
    names: dict[bytes, str]
    reading: ReadingTold
    base_reading: ReadingTold
    progress: ProgressTold
    alarms: alarm_arrays.Told
    arrays: list[tuple[str, str, list[int]]]
