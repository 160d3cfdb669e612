"""Subjects are known by hash, named in one place, and two names with one hash stop everything."""

from hashlib import blake2b

import numpy as np
import pytest

from intents.subjects import Names, SubjectCollision, as_key, customer_hash, event_hash, product_hash, subject_hash


def test_subject_hash() -> None:
    """blake2b-64 in a namespace of its own; different names differ, and none is 0."""
    assert subject_hash("tea") == int.from_bytes(blake2b(b"tea", digest_size=8, person=b"subject").digest(), "little")
    assert len({subject_hash(f"{n}") for n in range(5_000)} | {0}) == 5_001


def test_as_key() -> None:
    """A subject is stored as its 8 bytes, which no script's number can spoil."""
    assert as_key(np.uint64(2**64 - 2)) == b"\xfe" + b"\xff" * 7
    assert int.from_bytes(as_key(subject_hash("tea")), "little") == subject_hash("tea")


def test_names() -> None:
    """A name is new once; the same name again changes nothing."""
    names = Names()
    assert names.learn(7, "tea")
    assert not names.learn(7, "tea")
    assert names == {7: "tea"}


def test_collision() -> None:
    """Another name with the same hash is refused loudly, and the first stays."""
    names = Names({7: "tea"})
    with pytest.raises(SubjectCollision, match=r"'tea' and 'rum' share the hash 0x7: rename one"):
        names.learn(7, "rum")
    assert names == {7: "tea"}


def test_products() -> None:
    """Products are 32-bit numbers, never 0, which means that there is none."""
    assert product_hash(None) == product_hash("") == 0
    numbers = {product_hash(f"{n}") for n in range(2_000)}
    assert len(numbers) == 2_000 and min(numbers) > 0 and max(numbers) < 2**32


def test_customers_are_hidden_by_a_key() -> None:
    """Examples hold a keyed hash: another key gives other numbers, the same key the same."""
    assert customer_hash("anna", b"k") == customer_hash("anna", b"k")
    assert len({customer_hash(name, key) for name in ("anna", "ben") for key in (b"k", b"l")}) == 4


def test_events() -> None:
    """Event ids are told apart by 64 bits."""
    assert len({event_hash(f"{n}".encode()) for n in range(5_000)}) == 5_000
