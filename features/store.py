"""What a feature store must do: claim a partition, read customers' states, commit a chunk; all bound to one cursor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

SUBJECT_BYTES: Final = 8
"""Length of a subject's hash."""

MAX_DEADLINE_MS: Final = 2**53
"""Deadlines are sorted as doubles by Redis; up to here those are exact."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """One partition of one source topic, within a namespace (so that staging and production can share a Redis).

    Namespace and topic keep to letters, digits, dot, dash and underscore (ValueError): a brace would move the keys of
    one partition to different slots of a cluster, a colon would let two partitions share keys.
    """

    namespace: str
    topic: str
    partition: int

    def __post_init__(self) -> None:
        for name in (self.namespace, self.topic):
            if not _PLAIN.fullmatch(name):
                raise ValueError(f"{name!r}: a namespace or topic is letters, digits, '.', '-' and '_'")

    @property
    def prefix(self) -> str:
        """Beginning of every Redis key of this partition; the braces keep them in one slot of a cluster."""
        return f"mi:{{{self.namespace}:{self.topic}:{self.partition}}}:v1:"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a partition has come: what reads are bound to and what a commit must find unchanged.

    `token` names the claim that may write, `sequence` counts commits, `position` is the next source offset to read
    (-1 before the first commit), `watermark_ms` is event time (UTC; -1 before the first commit). While states are
    rebuilt, `adopt_until` is the source offset before which intents were published already, else -1. Where they were
    rebuilt from a log whose beginning was gone, `complete_since` is the event time (UTC ms) from which on they are
    whole, else -1.
    """

    token: str
    sequence: int
    position: int
    watermark_ms: int
    adopt_until: int = -1
    complete_since: int = -1


@dataclass(frozen=True, slots=True)
class Commit:
    """One chunk's effects, applied whole or not at all.

    `token`, `sequence` and `start` must equal the store's cursor (`start` against `position`, except that a store that
    has never committed, position -1, accepts any start); afterwards the cursor is (token, sequence + 1, position,
    watermark_ms, adopt_until, complete_since); a `complete_since` of -1 leaves the store's as it is.

    A state of None erases the customer, and their deadline unless `deadlines` says otherwise; a deadline of None
    removes it. `names` maps 8-byte subjects to names; a subject named again gets the new name. `forgotten` maps keyed
    hashes of customers to the event time up to which they are forgotten (UTC ms; None: no longer). `outbox` replaces
    the last one.

    What a store could only refuse half-way is refused here (ValueError): an empty token, a subject that is not 8 bytes,
    a deadline beyond 2**53 ms.
    """

    token: str
    sequence: int
    start: int
    position: int
    watermark_ms: int
    states: Mapping[str, bytes | None] = field(default_factory=dict)
    deadlines: Mapping[str, int | None] = field(default_factory=dict)
    names: Mapping[bytes, str] = field(default_factory=dict)
    outbox: bytes = b""
    adopt_until: int = -1
    complete_since: int = -1
    forgotten: Mapping[bytes, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.token:
            raise ValueError("a commit needs the token of a claim")
        if any(len(subject) != SUBJECT_BYTES for subject in self.names):
            raise ValueError(f"a subject is {SUBJECT_BYTES} bytes")
        if any(deadline is not None and abs(deadline) > MAX_DEADLINE_MS for deadline in self.deadlines.values()):
            raise ValueError("a deadline is UTC milliseconds, at most 2**53")

    def deadline_changes(self) -> tuple[dict[str, int], list[str]]:
        """Deadlines to set, and customers whose deadline goes."""
        kept = {customer: deadline for customer, deadline in self.deadlines.items() if deadline is not None}
        gone = [customer for customer, deadline in self.deadlines.items() if deadline is None]
        gone += [
            customer for customer, state in self.states.items() if state is None and customer not in self.deadlines
        ]
        return kept, gone

    def tombstone_changes(self) -> tuple[dict[bytes, int], list[bytes]]:
        """Tombstones to set, and customers whose tombstone goes."""
        kept = {customer: time for customer, time in self.forgotten.items() if time is not None}
        return kept, [customer for customer, time in self.forgotten.items() if time is None]


class Verdict(StrEnum):
    """What a store made of a commit; after OK and ALREADY alike it stands, and its outbox is to be published."""

    OK = "ok"  # applied by this call
    FENCED = "fenced"  # another claim holds the partition, or none does (the store has lost it)
    ALREADY = "already"  # this very commit was applied by an earlier call (whose reply got lost)
    GAP = "gap"  # the commit does not continue where the last one ended


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict and the cursor that the store holds after it."""

    verdict: Verdict
    found: Cursor


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed partition.

    Its cursor (with the new token), the last commit's outbox, its subjects' names, the tombstones of forgotten
    customers, how many partitions the topic had at the first claim that said so (0: none did), and likewise its id.
    """

    cursor: Cursor
    outbox: bytes
    names: dict[bytes, str]
    forgotten: dict[bytes, int] = field(default_factory=dict)
    partitions: int = 0
    topic_id: str = ""


class NotOwner(Exception):
    """Raised by a read whose cursor is not the store's any more: claim again or drop the partition."""


class StoreUnavailable(Exception):
    """The backend cannot be reached or refused to work: retry with backoff."""


class NotAllowed(StoreUnavailable):
    """The backend refuses this user: somebody must correct their rights, and then a retry helps."""


class Store(Protocol):
    """Customers' states by partition; memory and Redis keep the same contract."""

    async def claim(self, key: PartitionKey, token: str, partitions: int = 0, topic_id: str = "") -> Claimed:
        """Write `token` (not empty: ValueError) into the partition and return what is there; the last claim wins.

        `partitions`, if more than 0, and `topic_id`, if not empty, are kept from the first claim that says them.
        """

    async def due(self, key: PartitionKey, before_ms: int, limit: int) -> list[tuple[str, int]]:
        """The first `limit` customers whose earliest deadline is less than `before_ms` (UTC ms), with that deadline.

        In order of (deadline, id as bytes); they stay due until a commit moves or removes their deadline.
        """

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        """States in the order asked, None where there is none.

        Raises NotOwner if the store's token, sequence or position are not those of `cursor`.
        """

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        """Check everything, then apply everything, or change nothing.

        After StoreUnavailable the commit may stand, or may still come to stand: give the very same commit again (it is
        applied once), or claim with a new token (it is fenced).
        """

    async def peek(self, key: PartitionKey, customers: Sequence[str]) -> list[bytes | None]:
        """States as they are, without a claim: for people and readers of state."""

    async def cursor(self, key: PartitionKey) -> Cursor:
        """The partition's cursor (token empty before the first claim), without claiming."""

    async def names(self, key: PartitionKey) -> dict[bytes, str]:
        """The partition's subjects, 8 bytes each, with their names, without claiming."""

    async def close(self) -> None:
        """Let go of connections."""
