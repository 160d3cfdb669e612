"""The feature store in dictionaries: for replay in one process and for tests; gone when the process ends."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from features.store import Answer, Claimed, Commit, Cursor, NotOwner, PartitionKey, Verdict

SLACK: Final = 1024
"""Stale heap entries put up with, beyond one for each customer, before the heap is built anew."""

UNCLAIMED: Final = Cursor(token="", sequence=0, position=-1, watermark_ms=-1)
"""The cursor of a partition that nobody has claimed."""


class Deadlines:
    """Customers by deadline: a dictionary is the truth, a heap gives the order and may hold stale entries."""

    def __init__(self) -> None:
        self._by_customer: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._by_customer)

    @property
    def entries(self) -> int:
        """Heap entries, stale ones included."""
        return len(self._heap)

    def set(self, customer: str, deadline_ms: int) -> None:
        """Put a customer at a deadline, in place of the one before."""
        if self._by_customer.get(customer) == deadline_ms:
            return
        self._by_customer[customer] = deadline_ms
        heapq.heappush(self._heap, (deadline_ms, customer))
        if len(self._heap) > 2 * len(self._by_customer) + SLACK:
            self._heap = [(at_ms, name) for name, at_ms in self._by_customer.items()]
            heapq.heapify(self._heap)

    def remove(self, customer: str) -> None:
        """Forget a customer's deadline, if there is one."""
        self._by_customer.pop(customer, None)

    def due(self, before_ms: int, limit: int) -> list[tuple[str, int]]:
        """The first `limit` customers before `before_ms`, by (deadline, id); they stay.

        Python compares text by code points, which is the order of its UTF-8 bytes, as in Redis.
        """
        found: list[tuple[int, str]] = []
        while self._heap and len(found) < limit and self._heap[0][0] < before_ms:
            entry = heapq.heappop(self._heap)
            current = self._by_customer.get(entry[1]) == entry[0]
            if current and not (found and found[-1] == entry):  # a deadline set, changed and set again is there twice
                found.append(entry)
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [(customer, deadline_ms) for deadline_ms, customer in found]


@dataclass(slots=True)
class _Partition:
    cursor: Cursor = UNCLAIMED
    states: dict[str, bytes] = field(default_factory=dict)
    deadlines: Deadlines = field(default_factory=Deadlines)
    names: dict[bytes, str] = field(default_factory=dict)
    forgotten: dict[bytes, int] = field(default_factory=dict)
    partitions: int = 0
    topic_id: str = ""
    outbox: bytes = b""


class MemoryStore:
    """The store contract for one process; nothing awaits, so every call is atomic."""

    def __init__(self) -> None:
        self._partitions: dict[PartitionKey, _Partition] = {}

    async def claim(self, key: PartitionKey, token: str, partitions: int = 0, topic_id: str = "") -> Claimed:
        """Write `token` and return what is there."""
        if not token:
            raise ValueError("a claim needs a token")
        partition = self._partitions.setdefault(key, _Partition())
        partition.cursor = replace(partition.cursor, token=token)
        partition.partitions = partition.partitions or partitions
        partition.topic_id = partition.topic_id or topic_id
        found = partition.outbox, dict(partition.names), dict(partition.forgotten)
        return Claimed(partition.cursor, *found, partition.partitions, partition.topic_id)

    async def due(self, key: PartitionKey, before_ms: int, limit: int) -> list[tuple[str, int]]:
        """Due customers, in order."""
        return self._partition(key).deadlines.due(before_ms, limit)

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        """States, if `cursor` is still the partition's."""
        found = self._partition(key).cursor
        if (found.token, found.sequence, found.position) != (cursor.token, cursor.sequence, cursor.position):
            raise NotOwner(f"{key}: read at {cursor}, found {found}")
        return await self.peek(key, customers)

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        """Check, then apply."""
        partition = self._partition(key)
        verdict = _verdict(partition.cursor, commit)
        if verdict is Verdict.OK:
            _apply(partition, commit)
        return Answer(verdict, partition.cursor)

    async def peek(self, key: PartitionKey, customers: Sequence[str]) -> list[bytes | None]:
        """States as they are."""
        states = self._partition(key).states
        return [states.get(customer) for customer in customers]

    async def cursor(self, key: PartitionKey) -> Cursor:
        """The partition's cursor."""
        return self._partition(key).cursor

    async def names(self, key: PartitionKey) -> dict[bytes, str]:
        """The partition's subjects."""
        return dict(self._partition(key).names)

    async def close(self) -> None:
        """Nothing to let go of; the states stay for as long as the store."""

    def _partition(self, key: PartitionKey) -> _Partition:
        """A partition's store; an unclaimed one is empty and nothing keeps it."""
        return self._partitions.get(key) or _Partition()


def _verdict(found: Cursor, commit: Commit) -> Verdict:
    if found.token != commit.token:
        return Verdict.FENCED
    if (found.sequence, found.position) == (commit.sequence + 1, commit.position):
        return Verdict.ALREADY
    if found.sequence != commit.sequence or found.position not in (commit.start, -1):
        return Verdict.GAP
    return Verdict.OK


def _apply(partition: _Partition, commit: Commit) -> None:
    for customer, state in commit.states.items():
        if state is None:
            partition.states.pop(customer, None)
        else:
            partition.states[customer] = state
    kept, gone = commit.deadline_changes()
    for customer, deadline_ms in kept.items():
        partition.deadlines.set(customer, deadline_ms)
    for customer in gone:
        partition.deadlines.remove(customer)
    partition.names.update(commit.names)
    buried, raised = commit.tombstone_changes()
    partition.forgotten.update(buried)
    for hashed in raised:
        partition.forgotten.pop(hashed, None)
    partition.outbox = commit.outbox
    since = commit.complete_since if commit.complete_since >= 0 else partition.cursor.complete_since
    partition.cursor = Cursor(
        commit.token, commit.sequence + 1, commit.position, commit.watermark_ms, commit.adopt_until, since
    )
