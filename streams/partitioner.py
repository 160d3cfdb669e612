"""Which partition a key goes to: the arithmetic of Kafka's clients, so that readers find a customer's partition."""

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_SHIFT: Final = 24
_WORD: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF


def murmur2(key: bytes) -> int:
    """Murmur2 of `key` as an unsigned 32-bit number, with the seed that Kafka's Java client uses."""
    whole = len(key) & ~3
    h = _SEED ^ len(key)
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _MIX & _WORD
        k = (k ^ k >> _SHIFT) * _MIX & _WORD
        h = h * _MIX & _WORD ^ k
    if len(key) > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _MIX & _WORD
    h = (h ^ h >> 13) * _MIX & _WORD
    return h ^ h >> 15


@lru_cache(maxsize=1 << 16)
def partition_for(key: bytes, partitions: int) -> int:
    """Partition of `key` as Java's, kafka-python's and aiokafka's default partitioner choose it."""
    return (murmur2(key) & _POSITIVE) % partitions


def crc32_partition_for(key: bytes, partitions: int) -> int:
    """Partition of `key` as librdkafka's `consistent` partitioner chooses it (its default, but for empty keys)."""
    return zlib.crc32(key) % partitions


PARTITIONERS: Final[dict[str, Callable[[bytes, int], int]]] = {
    "murmur2": partition_for,
    "crc32": crc32_partition_for,
}
"""Partitioners by the name that the setting gives them."""


def partitions_for(keys: Sequence[bytes], partitions: int, partitioner: str = "murmur2") -> NDArray[np.int64]:
    """Partition of each of `keys`, int64, in their order; equal to asking the named partitioner key by key.

    Murmur2 is computed for all keys of one length at once. Raises KeyError for a partitioner that PARTITIONERS lacks.
    """
    if partitioner != "murmur2":
        one = PARTITIONERS[partitioner]
        return np.fromiter((one(key, partitions) for key in keys), np.int64, len(keys))
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    found = np.empty(len(keys), np.int64)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        joined = b"".join([keys[row] for row in rows.tolist()])
        hashes = _murmur2_of_one_length(np.frombuffer(joined, np.uint8).reshape(len(rows), length))
        found[rows] = (hashes & np.uint32(_POSITIVE)).astype(np.int64) % partitions
    return found


def _murmur2_of_one_length(keys: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Murmur2 of each row; uint32 arithmetic wraps, which is what the algorithm wants."""
    rows, length = keys.shape
    whole = length & ~3
    mix = np.uint32(_MIX)
    h = np.full(rows, _SEED ^ length, np.uint32)
    words = np.ascontiguousarray(keys[:, :whole]).view("<u4") if whole else np.empty((rows, 0), np.uint32)
    for column in range(whole // 4):
        k = words[:, column].astype(np.uint32) * mix
        k = (k ^ k >> np.uint32(_SHIFT)) * mix
        h = h * mix ^ k
    if length > whole:
        for place in range(whole, length):
            h ^= keys[:, place].astype(np.uint32) << np.uint32(8 * (place - whole))
        h = h * mix
    h = (h ^ h >> np.uint32(13)) * mix
    return h ^ h >> np.uint32(15)
