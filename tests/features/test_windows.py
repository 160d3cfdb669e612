"""Every window kind: its edges by name, and against the oracle at every ask of any sequence of events."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.bundle import Aggregates
from features.windows import Window
from tests.features.building import Look, Partition, aggregates_of, looks
from tests.features.naive_log import DAY, HOUR, Entry, Event
from tests.features.naive_moves import ANY, START, Move, events_of
from tests.features.naive_windows import pace, partial, within

MINUTE = 60_000
WORDS = ["1s", "90s", "30m", "1h", "2h", "1d", "7d", "30d", "session", "last:1", "last:5", "last:20", "last:60"]
WORDS += ["since:purchase", "since:cart_add", "since:impression", "pace:1", "pace:3"]


def keys(entries: Sequence[Entry]) -> list[tuple[int, int, int]]:
    """What tells entries apart at a glance."""
    return [(entry.time, entry.subject, entry.id) for entry in entries]


def windows_of(look: Look, word: str) -> list[list[tuple[int, int, int]]]:
    """The entries that the fast side puts into a window, by ask."""
    rows = np.flatnonzero(look.view.within(Window.parse(word)))
    entries = look.view.logs.entries[look.view.entry[rows]]
    found: list[list[tuple[int, int, int]]] = [[] for _ in look.seen]
    columns = [entries[name].tolist() for name in ("time", "subject", "id")]
    for ask, *entry in zip(look.view.ask[rows].tolist(), *columns, strict=True):
        found[ask].append(tuple(entry))
    return found


@settings(max_examples=60, derandomize=True, database=None)
@given(ANY, st.sampled_from([None, 7]), st.integers(4, 9))
def test_windows_as_the_oracle_says(moves: list[Move], size: int | None, every: int) -> None:
    """Any window at any ask holds the oracle's entries, is partial when the oracle's is, and the pace is the oracle's."""
    for look in looks(events_of(moves), size, every):
        assert look.view.pace().tolist() == [pace(entries) for entries, _ in look.seen]
        for word in WORDS:
            assert windows_of(look, word) == [keys(within(word, entries, t)) for entries, t in look.seen], word
            flags = look.view.partial(Window.parse(word)).tolist()
            assert flags == [partial(word, entries, t) for entries, t in look.seen], word
