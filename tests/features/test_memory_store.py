"""The memory store keeps the contract, and its order of deadlines stays cheap."""

import asyncio
import pickle
from collections.abc import Iterator

import pytest

from features.memory_store import SLACK, Deadlines, MemoryStore
from tests.features.driven_store import Driven, first
from tests.features.store_contract import SHOES, StoreContract


@pytest.fixture
def store() -> Iterator[Driven]:
    """A new memory store."""
    kept = MemoryStore()
    with asyncio.Runner() as loop:
        yield Driven(kept, loop, lambda: pickle.dumps(vars(kept)))


class TestMemoryStore(StoreContract):
    """The contract, in memory."""

    def test_given_names_are_a_copy(self, store: Driven) -> None:
        """What a caller does to the names that it got does not reach the store."""
        store.claim()
        store.done(first(names={SHOES: "shoes"}))
        store.names().clear()
        store.claim().names.clear()
        assert store.names() == {SHOES: "shoes"}


def test_stale_entries_are_bounded() -> None:
    """Deadlines that move at every commit do not pile up, and due still gives the last ones in order."""
    deadlines = Deadlines()
    for round_ms in range(1_000):
        for customer in ("ben", "anna", "cleo"):
            deadlines.set(customer, 10_000 + round_ms)
    assert len(deadlines) == 3
    assert deadlines.entries <= 2 * 3 + SLACK
    assert deadlines.due(20_000, 10) == [("anna", 10_999), ("ben", 10_999), ("cleo", 10_999)]


def test_due_looks_at_what_is_due() -> None:
    """Asking for what is due drops stale entries once and keeps the rest, however many customers wait."""
    deadlines = Deadlines()
    for number in range(5_000):
        deadlines.set(f"c{number:04}", number)
    for number in range(500):
        deadlines.set(f"c{number:04}", 9_000)
    assert deadlines.entries == 5_500
    assert deadlines.due(501, 10) == [("c0500", 500)]
    assert deadlines.entries == 5_000
