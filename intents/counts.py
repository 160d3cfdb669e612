"""A hash table from 64-bit keys to rows of counts, in numpy arrays: looked up by the thousand, copied as a whole."""

from typing import Final

import numpy as np
import numpy.typing as npt

from features.log import I64, U64

F64 = npt.NDArray[np.float64]
_MULTIPLIER: Final = 0x9E37_79B9_7F4A_7C15  # Fibonacci hashing, twice, so that every bit of a key counts
_MASK: Final = (1 << 64) - 1


def _home_of(key: int) -> int:
    mixed = (key * _MULTIPLIER) & _MASK
    return ((mixed ^ (mixed >> 32)) * _MULTIPLIER & _MASK) >> 32


class KeyedRows:
    """Dense row numbers 0, 1, 2… for 64-bit keys, in order of first `add`; open addressing, at most half full."""

    def __init__(self, keys: U64 | None = None) -> None:
        """Rows for `keys` (n,), none of them twice."""
        self.keys = np.zeros(64, dtype=np.uint64)
        self.size = 0
        self._slots = np.full(128, -1, dtype=np.int64)
        if keys is not None and len(keys):
            capacity = max(64, 1 << (len(keys) - 1).bit_length())
            self.keys = np.zeros(capacity, dtype=np.uint64)
            self.keys[: len(keys)] = keys
            self.size = len(keys)
            self._rehash(2 * capacity)

    def find(self, keys: U64) -> I64:
        """Row of each key (n,), -1 where there is none."""
        mask = len(self._slots) - 1
        slot = self._home(keys, mask)
        row = self._slots[slot]
        open_ = np.flatnonzero((row >= 0) & (self.keys[row] != keys))
        while len(open_):
            slot[open_] = (slot[open_] + 1) & mask
            row[open_] = self._slots[slot[open_]]
            open_ = open_[(row[open_] >= 0) & (self.keys[row[open_]] != keys[open_])]
        return row

    def add(self, key: int) -> int:
        """Row of one key, made if it is new."""
        mask = len(self._slots) - 1
        slot = _home_of(key) & mask
        while (row := int(self._slots[slot])) >= 0:
            if int(self.keys[row]) == key:
                return row
            slot = (slot + 1) & mask
        row = self.size
        if row == len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros_like(self.keys)])
            self._rehash(2 * len(self.keys))
            self.keys[row] = key
            self.size += 1
            self._place(key, row)
            return row
        self.keys[row] = key
        self._slots[slot] = row
        self.size += 1
        return row

    def copy(self) -> "KeyedRows":
        """An independent copy."""
        twin = KeyedRows()
        twin.keys, twin.size, twin._slots = self.keys.copy(), self.size, self._slots.copy()
        return twin

    def _home(self, keys: U64, mask: int) -> I64:
        mixed = keys * np.uint64(_MULTIPLIER)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(_MULTIPLIER)
        return (mixed >> np.uint64(32)).astype(np.int64) & mask

    def _place(self, key: int, row: int) -> None:
        mask = len(self._slots) - 1
        slot = _home_of(key) & mask
        while self._slots[slot] >= 0:
            slot = (slot + 1) & mask
        self._slots[slot] = row

    def _rehash(self, capacity: int) -> None:
        mask = capacity - 1
        self._slots = np.full(capacity, -1, dtype=np.int64)
        row, slot = np.arange(self.size), self._home(self.keys[: self.size], mask)
        while len(row):
            free = self._slots[slot] < 0
            self._slots[slot[free]] = row[free]  # of several for one slot, one stays
            left = self._slots[slot] != row
            row, slot = row[left], (slot[left] + 1) & mask


def grown(values: F64, rows: int) -> F64:
    """`values` (…, n) with room for at least `rows` in its last axis, new places 0."""
    have = values.shape[-1]
    if rows <= have:
        return values
    room = np.zeros((*values.shape[:-1], max(rows, 2 * have)), dtype=values.dtype)
    room[..., :have] = values
    return room
