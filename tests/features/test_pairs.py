"""Pairs of an ask and a subject: which there are, which rows are theirs, and in what order they were touched."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.pairs import Pairs
from features.state import decode
from tests.features.building import Partition, asked, looks
from tests.features.naive_log import Event
from tests.features.naive_moves import ANY, CLOSE, START, Move, events_of
from tests.features.naive_windows import by_recency


def order_of(pairs: Pairs, ask: int) -> list[int]:
    """The subjects touched, as one ask sees them, the latest first; ranks count from 0."""
    order, rank = pairs.by_recency
    mine = pairs.ask[order] == ask
    assert rank[mine].tolist() == list(range(int(mine.sum())))
    subjects: list[int] = pairs.subject[order[mine]].tolist()
    return subjects


@settings(max_examples=40, derandomize=True, database=None)
@given(ANY, st.sampled_from([None, 7]), st.integers(4, 9))
def test_pairs_as_the_oracle_says(moves: list[Move], size: int | None, every: int) -> None:
    """Each ask has each of its subjects once, in the oracle's order of recency, and each row goes to its own pair."""
    for look in looks(events_of(moves), size, every):
        pairs = look.aggregates.pairs
        keys = list(zip(pairs.ask.tolist(), pairs.subject.tolist(), strict=True))
        assert len(set(keys)) == len(keys)
        row_keys = [keys[p] if p < len(keys) else None for p in pairs.row_pair.tolist()]
        subjects = look.view.logs.entries["subject"][look.view.entry].tolist()
        asks = look.view.ask.tolist()
        assert row_keys == [(ask, subject) if subject else None for ask, subject in zip(asks, subjects, strict=True)]
        order, rank = pairs.by_recency
        found = list(zip(pairs.ask[order].tolist(), rank.tolist(), pairs.subject[order].tolist(), strict=True))
        assert found == [
            (ask, place, subject)
            for ask, (entries, _) in enumerate(look.seen)
            for place, subject in enumerate(by_recency(entries))
        ]


def pairs_of(*events: Event, at: int = START + 1_000) -> Pairs:
    """Pairs of anna's log after `events`, asked at one moment."""
    partition = Partition(["anna"])
    partition.run(events)
    return asked(partition.state("anna"), at).pairs


def test_latest_touch_first() -> None:
    """The latest touch of a subject counts; kinds that do not touch are no touch."""
    kinds = ["view", "cart_add", "favorite", "view", "impression", "cart_remove"]
    subjects = [7, 8, 9, 7, 8, 10]
    events = [Event("anna", kind, START + i, i + 1, (subjects[i],)) for i, kind in enumerate(kinds)]
    pairs = pairs_of(*events)
    assert order_of(pairs, 0) == [7, 9, 8]
    assert sorted(pairs.subject.tolist()) == [7, 8, 9, 10]
    assert pairs.last[pairs.subject == 10].tolist() == [-1]


def test_ties_go_by_arrival() -> None:
    """Of touches of equal time the one that arrived later is later, and within an event the further subject."""
    events = [Event("anna", "view", START, 1, (9,)), Event("anna", "view", START, 2, (8, 5))]
    assert order_of(pairs_of(*events), 0) == [5, 8, 9]


def test_no_subject() -> None:
    """Rows without a subject belong to the spare place."""
    pairs = pairs_of(Event("anna", "search", START, 1), Event("anna", "view", START, 2, (7,)))
    assert pairs.size == 1
    assert pairs.row_pair.tolist() == [1, 0]
    assert pairs_of(Event("anna", "search", START, 1)).row_pair.tolist() == [0]


def test_nobody() -> None:
    """Without events there are no pairs."""
    pairs = pairs_of()
    assert pairs.size == 0
    assert [column.tolist() for column in pairs.by_recency] == [[], []]


def test_subjects_that_differ_in_their_last_bits() -> None:
    """Subjects that agree in their first 44 bits stay apart, in whatever order they come, and keep everyone's apart."""
    partition = Partition(["anna", "ben"])
    subjects = [CLOSE + 1, CLOSE, CLOSE + 1, 7, CLOSE + 2**20, CLOSE]
    for name in ("anna", "ben"):
        partition.run([Event(name, "view", START + i, i + 1, (subject,)) for i, subject in enumerate(subjects)])
    states = decode(partition.customers, partition.blobs)
    for row in (0, 1):
        pairs = asked(states, START + 3, START + 9, row=row).pairs
        assert order_of(pairs, 0) == [7, CLOSE + 1, CLOSE]
        assert order_of(pairs, 1) == [CLOSE, CLOSE + 2**20, 7, CLOSE + 1]
        assert np.bincount(pairs.row_pair)[pairs.ask == 1].tolist() == [1, 2, 2, 1]


def test_subjects_not_seen_yet() -> None:
    """A subject that an ask cannot see yet is not touched for it."""
    partition = Partition(["anna"])
    events = [Event("anna", "view", START + i, i + 1, (7 + i,)) for i in range(2)]
    for worked in partition.work(events):
        pairs = worked.aggregates([0, 1], [False, False]).pairs
        assert order_of(pairs, 0) == [7]
        assert order_of(pairs, 1) == [8, 7]


def test_rows_of_chosen_pairs_only() -> None:
    """A place holds its pair's rows in time order, whichever pairs are chosen, in any order; the spare has none."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i, i + 1, (7 + i % 3,)) for i in range(10)])
    pairs = asked(partition.state("anna"), START + 4, START + 1_000).pairs
    spare = pairs.size
    chosen = np.array([spare - 1, spare, 0, 2, 0])
    rows = pairs.rows(chosen)
    for place, pair in enumerate(chosen.tolist()):
        of_pair = [] if pair == spare else np.flatnonzero(pairs.row_pair == pair).tolist()
        assert rows.row[rows.place == place].tolist() == of_pair
        assert pair == spare or of_pair
