"""A store driven from plain tests: each call runs to its end on a loop that the test owns."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from features.store import Answer, Claimed, Commit, Cursor, PartitionKey, Store, Verdict

T = TypeVar("T")

KEY = PartitionKey("test", "clickstream", 0)


@dataclass(frozen=True)
class Driven:
    """A store driven from plain tests, on a loop of its own; `dump` gives all that it holds, fit for comparison."""

    store: Store
    loop: asyncio.Runner
    dump: Callable[[], object]

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The call's result, on this store's loop."""
        return self.loop.run(call)

    def claim(self, token: str = "mine", key: PartitionKey = KEY, partitions: int = 0, topic_id: str = "") -> Claimed:
        """Claim a partition."""
        return self.run(self.store.claim(key, token, partitions, topic_id))

    def commit(self, commit: Commit, key: PartitionKey = KEY) -> Answer:
        """Commit to a partition."""
        return self.run(self.store.commit(key, commit))

    def done(self, commit: Commit, key: PartitionKey = KEY) -> Cursor:
        """Commit to a partition, which must succeed."""
        answer = self.commit(commit, key)
        assert answer.verdict is Verdict.OK
        return answer.found

    def due(self, before_ms: int, limit: int = 100, key: PartitionKey = KEY) -> list[tuple[str, int]]:
        """Due customers of a partition."""
        return self.run(self.store.due(key, before_ms, limit))

    def read(self, cursor: Cursor, customers: Sequence[str], key: PartitionKey = KEY) -> list[bytes | None]:
        """States of a partition, bound to a cursor."""
        return self.run(self.store.read(key, cursor, customers))

    def peek(self, *customers: str, key: PartitionKey = KEY) -> list[bytes | None]:
        """States of a partition."""
        return self.run(self.store.peek(key, customers))

    def cursor(self, key: PartitionKey = KEY) -> Cursor:
        """A partition's cursor."""
        return self.run(self.store.cursor(key))

    def names(self, key: PartitionKey = KEY) -> dict[bytes, str]:
        """A partition's names."""
        return self.run(self.store.names(key))


def first(**effects: Any) -> Commit:
    """The first commit of the claim `mine`: records 10 to 19."""
    return Commit("mine", 0, 10, 20, 1_000, **effects)


def after(cursor: Cursor, **effects: Any) -> Commit:
    """The commit of the ten records after `cursor`."""
    return Commit(
        cursor.token, cursor.sequence, cursor.position, cursor.position + 10, cursor.watermark_ms + 1, **effects
    )


def refused(store: Driven, commit: Commit, verdict: Verdict) -> None:
    """Assert that the store answers `verdict` with its cursor and holds what it held."""
    before, cursor = store.dump(), store.cursor()
    assert store.commit(commit) == Answer(verdict, cursor)
    assert store.dump() == before
    assert store.cursor() == cursor
