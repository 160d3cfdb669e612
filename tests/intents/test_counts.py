"""The hash table in arrays is a dictionary from keys to rows in order of first sight."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.counts import KeyedRows, grown

CLOSE = st.integers(0, 40).map(lambda n: n << 58 | 5) | st.integers(1, 40) | st.integers(0, 2**64 - 1)
"""Keys that differ in their highest bits only, in their lowest only, and any others."""


@settings(max_examples=100, derandomize=True, database=None)
@given(st.lists(CLOSE, max_size=400), st.lists(CLOSE, max_size=40))
def test_rows_are_a_dictionarys(keys: list[int], others: list[int]) -> None:
    """Whatever is added, twice or once: rows count up, and a look-up finds each key's row and -1 for others."""
    rows, known = KeyedRows(), dict[int, int]()
    for key in keys:
        assert rows.add(key) == known.setdefault(key, len(known))
    wanted = np.array(keys + others, dtype=np.uint64)
    assert rows.find(wanted).tolist() == [known.get(key, -1) for key in keys + others]
    assert rows.size == len(known)
    assert rows.keys[: rows.size].tolist() == list(known)


@settings(max_examples=50, derandomize=True, database=None)
@given(st.lists(CLOSE, unique=True, max_size=300), st.lists(CLOSE, max_size=300))
def test_made_from_keys(keys: list[int], more: list[int]) -> None:
    """Made from another table's keys it is that table, and goes on as it would have."""
    first, second = KeyedRows(), KeyedRows(np.array(keys, dtype=np.uint64))
    for key in keys:
        first.add(key)
    assert [first.add(key) for key in more] == [second.add(key) for key in more]
    wanted = np.array(keys + more, dtype=np.uint64)
    assert first.find(wanted).tolist() == second.find(wanted).tolist()


def test_a_copy_is_independent() -> None:
    """Neither knows what is added to the other."""
    rows = KeyedRows(np.arange(100, dtype=np.uint64))
    twin = rows.copy()
    rows.add(1_000)
    twin.add(2_000)
    wanted = np.array([99, 1_000, 2_000], dtype=np.uint64)
    assert rows.find(wanted).tolist() == [99, 100, -1]
    assert twin.find(wanted).tolist() == [99, -1, 100]


def test_grown() -> None:
    """Grown arrays keep what they hold, in their last axis, and the new places are 0."""
    values = np.ones((3, 4))
    assert grown(values, 4) is values
    more = grown(values, 5)
    assert more.shape[0] == 3 and more.shape[1] >= 5
    assert more[:, :4].all() and not more[:, 4:].any()
