"""Who is forgotten: a partition's tombstones, one a customer, under a keyed hash in place of the id.

A tombstone says up to which event time a customer is forgotten. An event of theirs that is not later is dropped, as
long as the watermark is not more than the rebuild window past the tombstone: by event time and watermark alone, so
that the answer does not depend on when a tombstone that is over leaves the store (with the next commit).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import numpy as np

from features.log import I64, Bool

REBUILD_MS: Final = 7 * 86_400_000
"""The rebuild window, by default: how far back a lost store is rebuilt, and so how long a tombstone is needed."""
HASH_BYTES: Final = 16


def customer_key(customer: str, key: bytes) -> bytes:
    """The keyed hash (16 bytes) that stands for a customer; `key` has at most 64 bytes."""
    return blake2b(customer.encode(), digest_size=HASH_BYTES, key=key).digest()


def is_buried(time: I64, tombstone: I64, watermark: I64, window_ms: int) -> Bool:
    """Whether events at `time` (n,) are dropped, by their customers' tombstones (n,; -1: none) at `watermark` (n,)."""
    return (time <= tombstone) & (watermark <= tombstone + window_ms)


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The tombstones of one partition: `times` maps customers' hashes (under `key`) to event times (UTC ms).

    They are kept for `window_ms`.
    """

    key: bytes
    times: Mapping[bytes, int] = field(default_factory=dict)
    window_ms: int = REBUILD_MS
    oldest_ms: int = field(init=False)  # so that most commits need not look through them

    def __post_init__(self) -> None:
        object.__setattr__(self, "oldest_ms", min(self.times.values(), default=np.iinfo(np.int64).max - self.window_ms))

    def of(self, customers: Sequence[str]) -> I64:
        """The tombstone of each customer (n,), -1 for none; nothing is hashed where the partition has none."""
        if not self.times:
            return np.full(len(customers), -1)
        found = (self.times.get(customer_key(customer, self.key), -1) for customer in customers)
        return np.fromiter(found, dtype=np.int64, count=len(customers))

    def changes(self, customers: Sequence[str], tombstones: I64, watermark_ms: int) -> dict[bytes, int | None]:
        """What a commit at `watermark_ms` changes: new `tombstones` (n,) of `customers`, and the ends of old ones."""
        changed: dict[bytes, int | None] = {}
        if watermark_ms > self.oldest_ms + self.window_ms:
            changed = {hashed: None for hashed, time in self.times.items() if watermark_ms > time + self.window_ms}
        for row in np.flatnonzero((tombstones >= 0) & (watermark_ms <= tombstones + self.window_ms)).tolist():
            hashed, time = customer_key(customers[row], self.key), int(tombstones[row])
            if self.times.get(hashed) != time:
                changed[hashed] = time
        return changed

    def after(self, changes: Mapping[bytes, int | None]) -> "Tombstones":
        """The tombstones after a commit's changes."""
        if not changes:
            return self
        times = {hashed: time for hashed, time in {**self.times, **changes}.items() if time is not None}
        return Tombstones(self.key, times, self.window_ms)
