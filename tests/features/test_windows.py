"""Every window kind: its edges by name, and against the oracle at every ask of any sequence of events."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.state import States
from features.windows import Window
from tests.features.building import Look, Partition, asked, looks, plain
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
    """Any window at any ask holds the oracle's entries and is partial when the oracle's is; so is the pace."""
    for look in looks(events_of(moves), size, every):
        assert look.view.pace().tolist() == [pace(entries) for entries, _ in look.seen]
        for word in WORDS:
            assert windows_of(look, word) == [keys(within(word, entries, t)) for entries, t in look.seen], word
            for since in (-1, START, START + HOUR, START + 5 * DAY):
                flags = look.view.partial(Window.parse(word), np.full(len(look.states.customers), since)).tolist()
                assert flags == [partial(word, entries, t, since) for entries, t in look.seen], (word, since)


def log_of(*times: int, kinds: Sequence[str] = ("view",)) -> States:
    """A customer's log of events at START + `times`, of `kinds` in turn."""
    partition = Partition(["anna"])
    partition.run([Event("anna", kinds[i % len(kinds)], START + at, i + 1, (7,)) for i, at in enumerate(times)])
    return partition.state("anna")


def found(word: str, states: States, at: int) -> list[int]:
    """Times, from START, of the entries in a window that ends at START + `at`."""
    view = asked(states, START + at).view
    rows = view.within(Window.parse(word))
    times: list[int] = (view.logs.entries["time"][view.entry[rows]] - START).tolist()
    return times


def is_partial(word: str, states: States, at: int) -> bool:
    """Whether a window that ends at START + `at` is partial."""
    return bool(asked(states, START + at).view.partial(Window.parse(word), states.memory.complete_since)[0])


@pytest.mark.parametrize(
    ("word", "length"),
    [("90s", 90_000), ("30m", 30 * MINUTE), ("2h", 2 * HOUR), ("7d", 7 * DAY)],
)
def test_duration_is_half_open(word: str, length: int) -> None:
    """A duration w at t is (t - w, t]: what happens at t counts, what happened exactly w ago does not."""
    states = log_of(0, 1, length, length + 1)
    assert found(word, states, length) == [1, length]
    assert found(word, states, length - 1) == [0, 1]
    assert found(word, states, length + 1) == [length, length + 1]


def test_session_gap() -> None:
    """A gap of exactly 30 min stays within the session, one of a millisecond more ends it."""
    gap = 30 * MINUTE
    assert found("session", log_of(0, gap, 2 * gap), 2 * gap) == [0, gap, 2 * gap]
    assert found("session", log_of(0, gap + 1, 2 * gap + 1), 2 * gap + 1) == [gap + 1, 2 * gap + 1]


def test_session_is_over() -> None:
    """Asked 30 min after the last event the session still runs; a millisecond later there is none."""
    gap = 30 * MINUTE
    states = log_of(0, 5)
    assert found("session", states, 5 + gap) == [0, 5]
    assert found("session", states, 5 + gap + 1) == []


def test_since() -> None:
    """since: begins after the last event of the kind, which is not in it itself; without one it is everything."""
    kinds = ["view", "purchase", "view", "purchase", "view", "cart_add"]
    states = log_of(0, 1, 2, 3, 4, 5, kinds=kinds)
    assert found("since:purchase", states, 5) == [4, 5]
    assert found("since:purchase", states, 2) == [2]
    assert found("since:purchase", states, 3) == []
    assert found("since:cart_add", states, 9) == []
    assert found("since:refund", states, 9) == [0, 1, 2, 3, 4, 5]


def test_since_of_equal_time() -> None:
    """Of events of equal time, those that arrived after the purchase are since it, those before are not."""
    states = log_of(0, 0, 0, kinds=["view", "purchase", "cart_add"])
    view = asked(states, START).view
    kept = view.kind[view.within(Window.parse("since:purchase"))]
    assert kept.tolist() == [view.kind[2]]


def test_since_of_several_subjects() -> None:
    """All of a purchase's subjects are before what is since it."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "purchase", START, 1, (7, 8, 9)), Event("anna", "view", START, 2, (8, 9))])
    assert (
        asked(partition.state("anna"), START).view.within(Window.parse("since:purchase")).tolist()
        == [False] * 3 + [True] * 2
    )


def test_last() -> None:
    """last:n is the last n entries, or all where there are fewer."""
    states = log_of(0, 0, 5, 9)
    assert found("last:1", states, 9) == [9]
    assert found("last:3", states, 9) == [0, 5, 9]
    assert found("last:3", states, 8) == [0, 0, 5]
    assert found("last:20", states, 9) == [0, 0, 5, 9]


def pace_of(*times: int) -> int:
    """The pace, long after events at START + `times`."""
    return int(asked(log_of(*times), START + 30 * DAY).view.pace()[0])


def test_pace_needs_four_gaps() -> None:
    """With three gaps the pace is a day, with four it is their median (of two middle ones the smaller)."""
    assert pace_of() == pace_of(0) == DAY
    assert pace_of(0, HOUR, 2 * HOUR, 3 * HOUR) == DAY
    assert pace_of(0, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR) == HOUR
    assert pace_of(0, 9 * HOUR, 10 * HOUR, 12 * HOUR, 15 * HOUR) == 2 * HOUR  # gaps 9, 1, 2, 3
    assert pace_of(0, 9 * HOUR, 10 * HOUR, 12 * HOUR, 15 * HOUR, 19 * HOUR) == 3 * HOUR  # gaps 9, 1, 2, 3, 4


def test_pace_is_bounded() -> None:
    """A pace is at least a minute and at most 7 days."""
    assert pace_of(*range(10)) == MINUTE
    assert pace_of(*range(0, 5 * (MINUTE + 1), MINUTE + 1)) == MINUTE + 1
    assert pace_of(*range(0, 4 * 8 * DAY, 8 * DAY)) == DAY
    states = log_of(*range(0, 5 * 8 * DAY, 8 * DAY))
    assert asked(states, START + 40 * DAY).view.pace()[0] == 7 * DAY


def test_pace_looks_at_twenty_gaps() -> None:
    """Only the last 20 gaps count."""
    slow, fast = [i * HOUR for i in range(30)], [29 * HOUR + i * 2 * MINUTE for i in range(1, 21)]
    assert pace_of(*slow, *fast) == 2 * MINUTE
    assert pace_of(*slow, *fast[:10]) == 2 * MINUTE  # the smaller of the two middle ones
    assert pace_of(*slow, *fast[:9]) == HOUR


def test_pace_counts_events() -> None:
    """An event of several subjects is one event: there is no gap within it."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i * HOUR, i + 1, (7, 8, 9)) for i in range(5)])
    assert asked(partition.state("anna"), START + DAY).view.pace()[0] == HOUR


def test_pace_window() -> None:
    """pace:3 is half-open like a duration of three times the customer's own pace."""
    states = log_of(*(i * HOUR for i in range(6)))
    assert found("pace:1", states, 5 * HOUR) == [5 * HOUR]
    assert found("pace:3", states, 5 * HOUR) == [3 * HOUR, 4 * HOUR, 5 * HOUR]


@pytest.mark.parametrize("word", ["session", "last:112", "last:113", "pace:112", "pace:113", "7d", "since:purchase"])
def test_partial(word: str) -> None:
    """What reads raw entries says when the log was folded within its reach; what counts tiles need not."""
    states = log_of(*(i * MINUTE for i in range(129)))
    assert [entry.raw for entry in plain(states)].index(True) == 2  # 10 views before the full hour, 7 after it
    assert is_partial(word, states, 128 * MINUTE) == (word in ("session", "last:113", "pace:113"))


def test_partial_session() -> None:
    """A session is partial when the newest tile's last event would still belong to it."""
    gap = 30 * MINUTE
    times = [*range(17), *range(16 + gap, 16 + gap + 112)]
    assert is_partial("session", log_of(*times), times[-1])
    assert not is_partial("session", log_of(*times[:17], *(at + 1 for at in times[17:])), times[-1] + 1)
    assert not is_partial("session", log_of(*times[:-1]), times[-1])  # nothing is folded yet


def test_session_of_tiles_alone() -> None:
    """Where only a tile is left of the session, it is empty and says that it is partial."""
    states = log_of(*(i * MINUTE for i in range(129)))
    assert found("session", states, 16 * MINUTE) == []
    assert is_partial("session", states, 16 * MINUTE)


def late_among_tiles() -> States:
    """129 views at intervals of a second, 17 of them folded, then a late one at START - 5 s."""
    partition = Partition(["anna"])
    events = [Event("anna", "view", START + i * 1_000, i + 1, (7,)) for i in range(129)]
    partition.run([*events, Event("anna", "view", START - 5_000, 130, (7,))])
    return partition.state("anna")


def test_late_entry_among_tiles() -> None:
    """What reads raw entries finds those that came to lie before a tile."""
    states = late_among_tiles()
    assert [entry.raw for entry in plain(states)][:3] == [True, False, True]
    assert found("session", states, 128_000)[:2] == [-5_000, 17_000]
    assert len(found("last:113", states, 128_000)) == 113
    assert len(found("last:112", states, 128_000)) == 112


def test_nothing_seen() -> None:
    """A customer without events has empty windows, and none of them is partial."""
    states = log_of()
    for word in WORDS:
        assert found(word, states, 0) == []
        assert not is_partial(word, states, 0)


@pytest.mark.parametrize(
    "word",
    ["", "5", "m", "0m", "05m", "5 m", "-5m", "1.5h", "session:3", "since:", "since:visit", "last:0", "last", "pace:"],
)
def test_no_window(word: str) -> None:
    """A word that is no window is refused, saying what is allowed."""
    with pytest.raises(ValueError, match="write 30m, 7d, session, since:KIND, last:N or pace:N"):
        Window.parse(word)


@pytest.mark.parametrize(
    ("word", "since", "said"),
    [
        ("1h", 4 * HOUR + 1, False),
        ("1h", 4 * HOUR + 2, True),
        ("session", 5 * HOUR - 30 * MINUTE, False),
        ("session", 5 * HOUR - 30 * MINUTE + 1, True),
        ("last:2", 4 * HOUR, False),
        ("last:2", 4 * HOUR + 1, True),
        ("last:7", 0, True),
        ("pace:1", 4 * HOUR + 1, False),
        ("pace:1", 4 * HOUR + 2, True),
        ("since:purchase", 3 * HOUR, False),
        ("since:purchase", 3 * HOUR + 1, True),
        ("since:cart_add", 0, True),
    ],
)
def test_partial_where_nothing_is_known(word: str, since: int, said: bool) -> None:
    """A window is partial if an event from before its log is whole would be in it, or would move its beginning."""
    states = log_of(*(i * HOUR for i in range(6)), kinds=("view", "view", "view", "purchase", "view", "view"))
    assert not is_partial(word, states, 5 * HOUR)
    states.memory.complete_since[:] = START + since
    assert is_partial(word, states, 5 * HOUR) == said
