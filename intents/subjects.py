"""Subjects and events as 64-bit numbers: what a customer can want, told apart by hash, and named in one place."""

from hashlib import blake2b
from typing import Final

import numpy as np
import xxhash

NO_SUBJECT: Final = 0


def subject_hash(name: str) -> int:
    """blake2b-64 of the namespace "subject" and a subject's name; never 0, which means "none"."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"subject").digest(), "little") or 1


event_hash: Final = xxhash.xxh3_64_intdigest
"""xxh3-64 of an event id (UTF-8), by which duplicates are recognised."""


def product_hash(product_id: str | None) -> int:
    """xxh3-64 of a product id, cut to 32 bits (a customer's log needs no more); 0 for none."""
    return (xxhash.xxh3_64_intdigest(product_id.encode()) & 0xFFFF_FFFF or 1) if product_id else 0


def customer_hash(customer_id: str, key: bytes) -> int:
    """Keyed blake2b-64 of a customer's id: what the examples topic holds instead of it."""
    return int.from_bytes(blake2b(customer_id.encode(), key=key, digest_size=8).digest(), "little")


class SubjectCollision(Exception):
    """Two names share a hash: rename one of them; nothing of either may be counted until then."""


class Names(dict[int, str]):
    """Names of subjects by hash; a collision stops loudly."""

    def learn(self, subject: int, name: str) -> bool:
        """Note a subject's name; True if it was new. Raises SubjectCollision if another name has that hash."""
        known = self.get(subject)
        if known is None:
            self[subject] = name
            return True
        if known != name:
            raise SubjectCollision(f"{known!r} and {name!r} share the hash {subject:#x}: rename one of them")
        return False


def as_key(subject: int | np.uint64) -> bytes:
    """A subject as the 8 bytes that Redis stores (its scripts' numbers would lose digits)."""
    return int(subject).to_bytes(8, "little")
