"""Folding: when, what, into which tiles, how many of them, and by how much a count can then be off."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings

from features.aggregates import VIEWED, Aggregate
from features.kinds import CODE
from features.log import ENTRY, Logs, Memory, expand, fold
from features.state import States
from tests.features.building import LATENESS_MS, Partition, judged, looks, plain, watermarks
from tests.features.naive_log import DAY, HOUR, Entry, Event, NaiveLogs, Told
from tests.features.naive_moves import ANY, START, Move, events_of
from tests.features.naive_windows import aggregate

MIDNIGHT = START // DAY * DAY
SECOND, MINUTE = 1_000, 60_000


def views(count: int, step: int, start: int = START, first_id: int = 1) -> list[Event]:
    """Views of subject 7, `step` ms apart, each worth its place."""
    return [Event("anna", "view", start + i * step, first_id + i, (7,), value=i) for i in range(count)]


def state_of(*events: Event) -> States:
    """Anna's state after `events`."""
    partition = Partition(["anna"])
    partition.run(events)
    return partition.state("anna")


def tiles_of(*events: Event) -> list[Entry]:
    """The tiles of anna's log after `events`."""
    return [entry for entry in plain(state_of(*events)) if not entry.raw]


def test_the_129th_entry_folds() -> None:
    """128 raw entries stay; the 129th folds the 17 oldest, in order of time, so that 112 remain."""
    events = views(129, MINUTE, MIDNIGHT)
    assert all(entry.raw for entry in plain(state_of(*events[:128])))
    for order in (events, events[:20][::-1] + events[20:]):
        tile, *raw = plain(state_of(*order))
        assert tile == Entry(events[16].time, "view", 7, value=sum(range(17)), count=17, span="hour")
        assert [entry.time for entry in raw] == [event.time for event in events[17:]]


def test_further_subjects_are_entries() -> None:
    """An event of several subjects has an entry for each; folding goes in steps of 17 until at most 128 remain."""
    wide = Event("anna", "view", START + HOUR, 999, tuple(range(10, 38)))  # 28 entries
    counts = [[entry.raw for entry in plain(state_of(*views(n, SECOND), wide))].count(True) for n in (100, 101, 128)]
    assert counts == [128, 112, 122]


def test_hour_and_day_tiles() -> None:
    """An entry less than 48 h older than the newest one folded with it goes into an hour's tile, else into a day's."""
    edge = MIDNIGHT + 5 * DAY
    old = [Event("anna", "view", edge - 2 * DAY + i, 1 + i, (7,)) for i in (0, 1)]
    rest = views(127, SECOND, edge - 14 * SECOND, 10)
    tiles = tiles_of(*old, *rest)
    times = [(edge - 2 * DAY, 1), (edge - 2 * DAY + 1, 1), (edge - SECOND, 14), (edge, 1)]
    assert [(tile.time, tile.count) for tile in tiles] == times
    assert [tile.span for tile in tiles] == ["day", "hour", "hour", "hour"]


def test_tiles_keep_what_differs_apart() -> None:
    """Tiles are by kind, subject and slice, and the further subjects of events have tiles of their own."""
    hour = MIDNIGHT + HOUR
    events = [
        Event("anna", "view", hour - 1, 1, (7,)),
        Event("anna", "view", hour, 2, (7,), product=5, value=-3),
        Event("anna", "view", hour + 1, 3, (8, 7), value=4),
        Event("anna", "click", hour + 2, 4, (7,)),
        Event("anna", "view", hour + 3, 5),
        Event("anna", "view", hour + 4, 6, (7,), product=5, value=10),
        *views(123, SECOND, hour + HOUR, 100),
    ]
    found = tiles_of(*events)
    assert found == [
        Entry(hour - 1, "view", 7, span="hour"),
        Entry(hour + 1, "view", 7, value=4, first=False, span="hour"),
        Entry(hour + 1, "view", 8, value=4, span="hour"),
        Entry(hour + 2, "click", 7, span="hour"),
        Entry(hour + 3, "view", 0, span="hour"),
        Entry(hour + 4, "view", 7, product=5, value=7, count=2, span="hour"),
        Entry(hour + HOUR + 9 * SECOND, "view", 7, value=45, count=10, span="hour"),
    ]


def test_tiles_join_earlier_ones() -> None:
    """A later fold adds to the tiles that are there; a late event can still reach its own."""
    events = views(146, SECOND, MIDNIGHT)
    assert [(tile.time, tile.count) for tile in tiles_of(*events)] == [(MIDNIGHT + 33 * SECOND, 34)]
    late = Event("anna", "view", MIDNIGHT, 900, (7,))
    found = tiles_of(*events[:134], late, *events[134:])
    assert [(tile.time, tile.count) for tile in found] == [(MIDNIGHT + 32 * SECOND, 34)]


def test_tiles_come_first_of_equal_time() -> None:
    """A tile stands before raw entries of its time: what was folded arrived before them."""
    found = plain(state_of(*views(129, 0)))
    assert [entry.raw for entry in found] == [False] + [True] * 112
    assert [entry.id for entry in found] == [0, *range(18, 130)]


def test_forced_folds_are_counted() -> None:
    """An entry that is folded before the watermark has passed it is counted, each once."""
    assert state_of(*views(129, SECOND // 2)).memory.forced[0] == 17
    old, last = views(17, SECOND, MIDNIGHT), MIDNIGHT + 16 * SECOND + LATENESS_MS
    for later, forced in ((0, 1), (1, 0)):  # the 17th is exactly at the watermark, or just before it
        assert state_of(*old, *views(112, SECOND, last + later - 111 * SECOND, 18)).memory.forced[0] == forced
    assert state_of(*views(146, SECOND // 2)).memory.forced[0] == 34


def fresh(count: int, step: int, start: int, kind: str = "view") -> list[Event]:
    """Events of a subject each."""
    return [Event("anna", kind, start + i * step, start + i, (1_000 + i,)) for i in range(count)]


def test_old_hour_tiles_become_days() -> None:
    """Beyond 64 tiles, hour tiles older than 48 h become day tiles; the younger ones stay."""
    events = views(180, HOUR, MIDNIGHT)  # 68 are folded: each a tile of its own
    assert [(tile.span, tile.count) for tile in tiles_of(*events[:-1])] == [("hour", 1)] * 51
    assert [(tile.span, tile.count) for tile in tiles_of(*events)] == [("day", 20)] + [("hour", 1)] * 48


def test_late_events_make_all_tiles_days() -> None:
    """Where coarsening the old ones does not help, all tiles become day tiles, also those newer than what is folded."""
    events = views(163, HOUR, MIDNIGHT + DAY)  # 51 are folded
    late = views(17, HOUR, MIDNIGHT + 7 * HOUR, 900)
    assert [(tile.span, tile.count) for tile in tiles_of(*events)] == [("hour", 1)] * 51
    assert [(tile.span, tile.count) for tile in tiles_of(*events, *late)] == [("day", n) for n in (17, 24, 24, 3)]


def test_oldest_tiles_are_dropped() -> None:
    """Beyond 64 day tiles the oldest go, of equal time the smallest; complete_since says what is whole."""
    events = fresh(180, HOUR, MIDNIGHT)  # 68 are folded: each a tile of its own
    state = state_of(*events)
    assert [entry.time for entry in plain(state) if not entry.raw] == [event.time for event in events[4:68]]
    assert {entry.span for entry in plain(state) if not entry.raw} == {"day"}
    assert state.memory.complete_since[0] == MIDNIGHT + DAY
    assert state_of(*events[:176]).memory.complete_since[0] == -1


def test_smallest_of_equal_time_are_dropped() -> None:
    """Of tiles of equal time those of the fewest events go first, then those of the smallest subject."""
    twice = [Event("anna", "view", START, 500 + i, (1_000 + i,)) for i in (0, 1, 2, 5)]
    found = tiles_of(*twice, *fresh(193, 0, START))  # 68 are folded: 64 tiles
    assert [tile.subject for tile in found] == [*range(1_000, 1_064)]
    found = tiles_of(*twice[:3], *fresh(193, 0, START))  # 65 tiles
    assert [(tile.subject, tile.count) for tile in found][2:5] == [(1_002, 2), (1_004, 1), (1_005, 1)]


def test_counts_and_values_stay_in_bounds() -> None:
    """A tile holds at most 65,535 events and 32 bits of money, however often it is added to."""
    entries = np.zeros(130, dtype=ENTRY)
    entries["time"], entries["kind"], entries["count"], entries["span"][0] = START, CODE["view"], 1, 1
    entries["count"][0] = 65_534
    entries["value"] = [2**31 - 1] * 33 + [1] * 97
    logs, memory = Logs.of(entries, np.array([130])), Memory.empty(1)
    memory.newest[:] = START
    fold(logs, memory, np.array([0]))
    assert logs.entries[["count", "value"]][0].tolist() == (65_535, 2**31 - 1)


def test_other_customers_are_left_alone() -> None:
    """Folding one customer's log moves nothing of the others', before or after it."""
    partition = Partition(["anna", "ben", "chris", "dora"])
    quiet = [Event(name, "view", START + i, 7_000 + i, (i,)) for i, name in enumerate(["anna", "chris", "chris"])]
    partition.run(quiet)
    before = [partition.blobs[row] for row in (0, 2, 3)]
    partition.run([Event("ben", event.kind, event.time, event.id, event.subjects) for event in fresh(200, 0, START)])
    assert [partition.blobs[row] for row in (0, 2, 3)] == before
    assert len(plain(partition.state("ben"))) <= 192


def test_customers_that_fold_at_once() -> None:
    """Equal events of two customers go into tiles of their own."""
    partition = Partition(["anna", "ben"])
    both = [(event, Event("ben", event.kind, event.time, event.id, event.subjects)) for event in views(129, 1)]
    partition.run([event for pair in both for event in pair])
    for name in partition.customers:
        assert [entry.count for entry in plain(partition.state(name))] == [17] + [1] * 112


def test_expand() -> None:
    """Ranges become rows, range by range, empty ones none."""
    owner, row = expand(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert row.tolist() == [5, 6, 9, 10, 11]


def truths(events: list[Event]) -> list[Told]:
    """What the events that are applied would have seen if nothing were ever folded."""
    told, _ = judged(events)
    unfolded = NaiveLogs(folding=False)
    keep = [one.verdict in ("applied", "forget") for one in told]
    arrived = zip(events, watermarks(events), keep, strict=True)
    return [unfolded.apply(event, mark) if kept else Told("duplicate") for event, mark, kept in arrived]


def split_by(start: int, entries: Sequence[Entry], kinds: tuple[str, ...], subject: int | None) -> int:
    """Events of the tiles whose slice holds a window's start."""
    tiles = [entry for entry in entries if not entry.raw and (not kinds or entry.kind in kinds)]
    tiles = [tile for tile in tiles if (tile.first if subject is None else tile.subject == subject)]
    return sum(tile.count for tile in tiles if tile.slice[0] <= start < tile.slice[1])


LENGTHS = {"1h": HOUR, "1d": DAY, "3d": 3 * DAY, "30d": 30 * DAY}


@settings(max_examples=30, derandomize=True, database=None)
@given(ANY)
def test_error_of_folding(moves: list[Move]) -> None:
    """A duration's count is off by at most the events of the tiles whose slice holds its start; recency is exact.

    Both against a log that is never folded, at asks that are not in the past, for windows that begin where the log is
    whole.
    """
    events = events_of(moves)
    told, _ = judged(events)
    truth = truths(events)
    for look in looks(events, every=13):
        whole = look.states.memory.complete_since[look.view.asks.customer].tolist()
        true = [truth[n].before for n in look.numbers] + [truth[n].after for n in look.numbers]
        present = [not told[n].late for n in look.numbers * 2]
        for kinds in ((), VIEWED):
            for pair, ask, subject in look.pairs(most=60):
                if not present[ask]:
                    continue
                (seen, t), exact = look.seen[ask], true[ask]
                recency = Aggregate("pair", "age", kinds)
                age = aggregate(recency, exact, t, subject)
                if t - age >= whole[ask]:
                    assert look.aggregates[recency][pair] == age
                for word, length in LENGTHS.items():
                    if whole[ask] <= t - length + 1:
                        count = Aggregate("pair", "count", kinds, word)
                        off = abs(look.aggregates[count][pair] - aggregate(count, exact, t, subject))
                        assert off <= split_by(t - length, seen, kinds, subject)
            for ask, (seen, t) in enumerate(look.seen):
                for word, length in LENGTHS.items():
                    if present[ask] and whole[ask] <= t - length + 1:
                        count = Aggregate("customer", "count", kinds, word)
                        off = abs(look.aggregates[count][ask] - aggregate(count, true[ask], t))
                        assert off <= split_by(t - length, seen, kinds, None)
