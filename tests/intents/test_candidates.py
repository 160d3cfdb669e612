"""Candidates are the subjects touched last, in the log's order, then the likeliest next; ties go by hash."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.pairs import NEVER_RANK, Pairs
from intents.candidates import FORESEEN, TOUCHED, Declared, choose
from intents.catalog import Catalogue
from intents.subjects import subject_hash
from intents.tables import Tables
from tests.features.building import Partition
from tests.features.naive_log import Event, NaiveLog
from tests.intents.naive_detect import NaiveDetect
from tests.intents.replaying import handmade, setup_of


def event(n: int, *subjects: int, kind: str = "view", time: int | None = None, customer: str = "anna") -> Event:
    """An event of some subjects, in the n-th second."""
    return Event(customer, kind, 1_000 * n if time is None else time, n + 1, tuple(subjects))


def pairs_after(events: Sequence[Event]) -> Pairs:
    """Pairs asked right after the last event of each customer."""
    customers = sorted({event.customer for event in events})
    partition = Partition(customers)
    last = {event.customer: number for number, event in enumerate(events)}
    for worked in partition.work(events):
        numbers = worked.numbers()
        return worked.aggregates(
            [numbers.index(last[customer]) for customer in customers], [False] * len(customers)
        ).pairs
    raise AssertionError("no wave")


def chosen(
    events: Sequence[Event], tables: Tables | None = None, catalogue: str = "", touched: int = 6, foreseen: int = 2
) -> list[tuple[int, int]]:
    """(subject, rank) of one customer's candidates after some events."""
    declared = Declared(Catalogue.parse(catalogue))
    counts = (np.array([touched]), np.array([foreseen]))
    found = choose(pairs_after(events), tables or Tables(), declared, *counts)
    return list(zip(found.subject.tolist(), found.rank.tolist(), strict=True))


def leading(*steps: tuple[int, int, int]) -> Tables:
    """Tables with (one, other, how often) meetings in sessions."""
    tables = Tables()
    for before, after, times in steps:
        for _ in range(times):
            tables.count_together(after, [before], 1.0)
    return tables


def test_how_many_there_are() -> None:
    """Six touched and two foreseen after a view, as the scores file promises."""
    assert (TOUCHED, FORESEEN) == (6, 2)


def test_touched_last_first() -> None:
    """The latest touch is the first candidate; a subject touched again moves to the front; six at most."""
    events = [event(n, subject) for n, subject in enumerate([1, 2, 3, 4, 5, 6, 7, 3])]
    assert chosen(events) == [(subject, rank) for rank, subject in enumerate([3, 7, 6, 5, 4, 2])]


@pytest.mark.parametrize("kind", ["impression", "cart_remove", "refund", "banner_impression", "checkout", "feedback"])
def test_what_does_not_touch(kind: str) -> None:
    """Events that are only logged touch nothing."""
    assert chosen([event(0, 1), event(1, 2, kind=kind), event(2, 3)]) == [(3, 0), (1, 1)]


@pytest.mark.parametrize("kind", ["click", "banner_click", "search", "favorite", "cart_add", "purchase"])
def test_what_touches(kind: str) -> None:
    """Outcomes and favorites touch as views do."""
    assert chosen([event(0, 1), event(1, 2, kind=kind), event(2, 3)]) == [(3, 0), (2, 1), (1, 2)]


def test_ties_go_by_arrival() -> None:
    """Of touches at the same time the later arrival counts as the later touch; of one event, its later subject."""
    assert [subject for subject, _ in chosen([event(0, 9), event(1, 4, 2, 3, time=0), event(2, 1, time=0)])] == [
        1,
        3,
        2,
        4,
        9,
    ]


def test_a_late_touch_takes_its_own_place() -> None:
    """A touch that arrives late is as old as its own time."""
    events = [event(1, 1), event(5, 2), event(6, 3, time=3_000), event(7, 4, time=5_000)]
    assert [subject for subject, _ in chosen(events)] == [4, 2, 3, 1]


def test_foreseen_by_companions() -> None:
    """What the last three touched subjects met most in sessions follows, nearer ones weighing more."""
    tables = leading((1, 10, 5), (2, 20, 5), (3, 30, 5), (4, 40, 500))
    events = [event(n, subject) for n, subject in enumerate([4, 3, 2, 1])]
    assert chosen(events, tables)[4:] == [(10, NEVER_RANK), (20, NEVER_RANK)]
    tables = leading((1, 10, 5), (4, 40, 500))
    assert [subject for subject, _ in chosen(events, tables)[4:]] == [10]  # 4 is too long ago
    assert [subject for subject, _ in chosen(events, tables, foreseen=9)[4:]] == [40, 10]  # not where many are wanted


def test_many_foreseen_are_smoothed_by_what_is_wanted() -> None:
    """Where more than two are to be found, the most wanted subjects are among them, and make the order."""
    tables = leading((1, 10, 5), (1, 20, 5))
    for _ in range(9):
        tables.count_outcome(30, [])
    tables.count_outcome(20, [])
    assert [subject for subject, _ in chosen([event(0, 1)], tables, foreseen=9)[1:]] == [30, 20, 10]
    assert [subject for subject, _ in chosen([event(0, 1)], tables)[1:]] == [10, 20]


def test_foreseen_adds_up() -> None:
    """A subject that several of the last ones lead to is likelier than each alone makes it."""
    tables = leading((1, 10, 5), (1, 20, 4), (2, 20, 4))
    assert [subject for subject, _ in chosen([event(0, 2), event(1, 1)], tables)[2:]] == [20, 10]


def test_foreseen_ties_go_by_hash() -> None:
    """Of equal scores the lower hash is first."""
    tables = leading((1, 30, 5), (1, 10, 5), (1, 20, 5))
    assert [subject for subject, _ in chosen([event(0, 1)], tables)] == [1, 10, 20]


def test_foreseen_is_not_what_is_there() -> None:
    """A subject among the touched candidates is not foreseen; one touched longer ago is, with its own rank."""
    tables = leading((8, 7, 50), (8, 1, 9), (8, 2, 8))
    events = [event(n, subject) for n, subject in enumerate(range(1, 9))]
    assert chosen(events, tables)[6:] == [(1, 7), (2, 6)]


def test_declared_journeys() -> None:
    """A declared next stage counts half, so that it beats a rare learned step and loses to a certain one."""
    catalogue = "\n".join(f'[intent.{name}]\ncategory = "{name}"' for name in ("party", "cake", "gift"))
    catalogue += '\n[journey.a]\nstages = ["party", "cake"]\n[journey.b]\nstages = ["gift", "party", "cake"]\n'
    party, cake = subject_hash("party"), subject_hash("cake")
    assert chosen([event(0, party)], catalogue=catalogue) == [(party, 0), (cake, NEVER_RANK)]
    rare, often = leading((party, 5, 4)), leading((party, 5, 20))
    assert [subject for subject, _ in chosen([event(0, party)], rare, catalogue)] == [party, cake, 5]
    assert [subject for subject, _ in chosen([event(0, party)], often, catalogue)] == [party, 5, cake]


def test_nothing_foreseen_from_nothing() -> None:
    """A customer who touched nothing has no candidates, whatever others do."""
    assert chosen([event(0, 1, kind="impression")], leading((1, 2, 9))) == []


def test_before() -> None:
    """Each candidate knows the latest other subject, by which its transition columns are looked up."""
    tables = leading((1, 10, 5))
    found = choose(pairs_after([event(0, 2), event(1, 1)]), tables, Declared(Catalogue()), np.array([6]), np.array([2]))
    assert found.subject.tolist() == [1, 2, 10]
    assert found.before().tolist() == [2, 1, 1]


@settings(max_examples=60, derandomize=True, database=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 3)), min_size=3, max_size=60),
    st.integers(0, 99),
)
def test_many_asks_at_once(acts: list[tuple[int, int, int]], seed: int) -> None:
    """Asks of several customers with limits of their own get what the slow detect chooses for each alone."""
    random = Random(seed)
    names = [f"s{n}" for n in range(14)]
    model = handmade(names)
    hashes = [subject_hash(name) for name in names]
    kinds = ["view", "cart_add", "favorite", "impression"]
    events = [event(n, hashes[s], kind=kinds[k], customer="abc"[c], time=500 * n) for n, (c, s, k) in enumerate(acts)]
    aggregates = pairs_after(events)
    customers = sorted({event.customer for event in events})
    limits = [(random.choice([0, 1, 6, 24]), random.choice([0, 2, 8])) for _ in customers]
    touched, foreseen = (np.array(column, dtype=np.int64) for column in zip(*limits, strict=True))
    found = choose(aggregates, model.tables, Declared(Catalogue()), touched, foreseen)
    slow = NaiveDetect(setup_of(), model)
    for ask, customer in enumerate(customers):
        log = NaiveLog()
        for one in events:
            if one.customer == customer:
                log.apply(one, 0)
        at = max(one.time for one in events if one.customer == customer)
        expected, n = slow.candidates(log.entries, at, *limits[ask])
        place = slice(*found.offsets[ask : ask + 2].tolist())
        mine = list(zip(found.subject[place].tolist(), found.rank[place].tolist(), strict=True))
        assert mine == [(candidate.subject, candidate.rank) for candidate in expected]
        assert found.touched[ask] == n
        assert (found.ask[place] == ask).all()
