"""A store whose claims, reads and commits are told to an observer; everything else is the store's own."""

import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

from features.store import Answer, Claimed, Commit, Cursor, NotOwner, PartitionKey, Store, StoreUnavailable, Verdict
from streams.observer import Observer

_T = TypeVar("_T")


def observed(store: Store, observer: Observer) -> Store:
    """`store`, with `observer` told."""
    return cast(Store, _Observed(store, observer))


class _Observed:
    def __init__(self, store: Store, observer: Observer) -> None:
        self._store, self._observer = store, observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, key: PartitionKey, *rest: Any, **named: Any) -> Claimed:
        claimed = await self._told(self._store.claim(key, *rest, **named))
        self._observer.claimed()
        return claimed

    async def cursor(self, key: PartitionKey) -> Cursor:
        return await self._told(self._store.cursor(key))

    async def check(self) -> Any:
        return await self._told(cast(Any, self._store).check())

    async def due(self, key: PartitionKey, before_ms: int, limit: int) -> list[tuple[str, int]]:
        return await self._told(self._store.due(key, before_ms, limit))

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        try:
            return await self._told(self._store.read(key, cursor, customers))
        except NotOwner:
            self._observer.lost("read")
            raise

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        began = time.monotonic()
        answer = await self._told(self._store.commit(key, commit))
        if answer.verdict is Verdict.FENCED:
            self._observer.lost("fenced")
        elif answer.verdict is Verdict.GAP:
            self._observer.lost("gap")
        else:
            size = sum(len(state) for state in commit.states.values() if state is not None)
            self._observer.committed(key.topic, key.partition, time.monotonic() - began, size)
        return answer

    async def _told(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except StoreUnavailable:
            self._observer.waits("redis")
            raise
