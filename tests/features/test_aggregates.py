"""Aggregates: against the oracle at every ask, and what each of them counts by example."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import NEVER_MS, OUTCOME, TOUCHED, VIEWED, Aggregate, Aggregates, What
from features.pairs import NEVER_RANK
from tests.features.building import Partition, asked, looks
from tests.features.naive_log import DAY, Event
from tests.features.naive_moves import ANY, START, Move, events_of
from tests.features.naive_windows import aggregate

MINUTE = 60_000
WHATS = ("count", "value", "distinct", "age", "first_age", "gap", "visits", "repeat", "active")
WINDOWS = (
    "",
    "90s",
    "30m",
    "1h",
    "1d",
    "7d",
    "30d",
    "session",
    "last:1",
    "last:20",
    "since:purchase",
    "pace:1",
    "pace:3",
)
KINDS = ((), VIEWED, OUTCOME, TOUCHED, ("cart_add",), ("impression", "refund"))

ANY_AGGREGATE = st.builds(
    Aggregate,
    over=st.sampled_from(["pair", "customer"]),
    what=st.sampled_from(WHATS),
    kinds=st.sampled_from(KINDS),
    window=st.sampled_from(WINDOWS),
)
RANK, PACE = Aggregate("pair", "rank"), Aggregate("customer", "pace")
SUBJECTS = Aggregate("customer", "subjects")
SAME = st.builds(Aggregate, st.just("pair"), st.just("same"), st.sampled_from(KINDS), st.sampled_from(WINDOWS))


@settings(max_examples=60, derandomize=True, database=None)
@given(ANY, st.lists(ANY_AGGREGATE, min_size=9, max_size=9, unique=True), SAME, st.integers(7, 13))
def test_aggregates_as_the_oracle_says(moves: list[Move], wanted: list[Aggregate], same: Aggregate, every: int) -> None:
    """Any aggregate in any window, over customers and over pairs, is the oracle's, at any ask."""
    for look in looks(events_of(moves), every=every):
        for one in [*wanted, same, RANK, PACE, SUBJECTS]:
            values = look.aggregates[one].tolist()
            if one.over == "pair":
                for pair, ask, subject in look.pairs(most=20):
                    assert values[pair] == aggregate(one, *look.seen[ask], subject), one
            else:
                assert values == [aggregate(one, entries, t) for entries, t in look.seen], one


def look_at(*events: Event, at: int) -> Aggregates:
    """Aggregates of anna after `events`, asked at START + `at`."""
    partition = Partition(["anna"])
    partition.run(events)
    return asked(partition.state("anna"), START + at)


def event(kind: str, at: int, *subjects: int, product: int = 0, value: int = 0) -> Event:
    """An event of anna's at START + `at`, whose id is its time."""
    return Event("anna", kind, START + at, START + at, subjects, product, value)


def one(aggregates: Aggregates, wanted: Aggregate, subject: int = 7) -> float:
    """An aggregate's value at the only ask, of the customer or of `subject`."""
    if wanted.over == "customer":
        return float(aggregates[wanted][0])
    known = np.flatnonzero(aggregates.pairs.subject == subject)
    return float(aggregates[wanted][known[0] if len(known) else -1])


def test_event_of_several_subjects_counts_once_for_the_customer() -> None:
    """Over pairs each subject of an event counts it; over the customer it is one event."""
    aggregates = look_at(event("view", 0, 7, 8, 9, value=5), event("view", 1, 7, value=3), at=10)
    assert one(aggregates, Aggregate("customer", "count", VIEWED, "1d")) == 2
    assert one(aggregates, Aggregate("customer", "value", VIEWED, "1d")) == 8
    assert one(aggregates, Aggregate("customer", "gap", VIEWED)) == 1
    assert [one(aggregates, Aggregate("pair", "count", VIEWED, "1d"), s) for s in (7, 8, 9)] == [2, 1, 1]


def test_distinct_counts_known_products() -> None:
    """Distinct products, where events name one."""
    products = [1, 2, 1, 0, 2**32 - 1]
    aggregates = look_at(*(event("view", i, 7, product=product) for i, product in enumerate(products)), at=9)
    assert one(aggregates, Aggregate("pair", "distinct", TOUCHED, "1d")) == 3
    assert one(aggregates, Aggregate("customer", "distinct", TOUCHED, "1d")) == 3
    assert one(aggregates, Aggregate("pair", "distinct", TOUCHED, "1d"), 8) == 0


def test_visits_are_parted_by_long_gaps() -> None:
    """A gap of 30 min is within a visit, a longer one begins the next."""
    gap = 30 * MINUTE
    aggregates = look_at(event("view", 0, 7), event("view", gap, 7), event("view", 2 * gap + 1, 7), at=DAY)
    assert one(aggregates, Aggregate("pair", "visits", TOUCHED, "7d")) == 2
    assert one(aggregates, Aggregate("pair", "visits", TOUCHED, "7d"), 8) == 0


def test_what_never_happened() -> None:
    """What has not happened has an age of NEVER_MS, and a subject never touched the rank NEVER_RANK."""
    aggregates = look_at(event("impression", 0, 7), at=5)
    for what in ("age", "first_age", "gap"):
        for subject in (7, 8):
            assert one(aggregates, Aggregate("pair", what, TOUCHED), subject) == NEVER_MS
        assert one(aggregates, Aggregate("customer", what, TOUCHED)) == NEVER_MS
    assert one(aggregates, RANK) == one(aggregates, RANK, 8) == NEVER_RANK


def test_one_touch_has_no_gap() -> None:
    """One event has an age, also as the first one, and no gap; two have the gap between the last of them."""
    aggregates = look_at(event("view", 0, 7), at=5)
    assert [one(aggregates, Aggregate("pair", what, VIEWED)) for what in ("age", "first_age")] == [5, 5]
    assert one(aggregates, Aggregate("pair", "gap", VIEWED)) == NEVER_MS
    aggregates = look_at(event("view", 0, 7), event("view", 1, 7), event("view", 4, 7), at=10)
    assert [one(aggregates, Aggregate("pair", what, VIEWED)) for what in ("age", "first_age", "gap")] == [6, 10, 3]


def test_ranks_are_bounded() -> None:
    """No rank is above that of a subject never touched."""
    aggregates = look_at(*(event("view", i, 1_000 + i, 2_000 + i) for i in range(40)), at=50)
    assert one(aggregates, RANK, 2_039) == 0 and one(aggregates, RANK, 1_039) == 1
    assert one(aggregates, RANK, 1_000) == NEVER_RANK
    assert aggregates.pairs.rank.dtype == np.int64


def test_outcomes_of_another_subject() -> None:
    """Over pairs only the subject's own events count, over the customer all."""
    aggregates = look_at(event("view", 0, 7), event("cart_add", 1, 8), at=2)
    assert one(aggregates, Aggregate("pair", "count", OUTCOME, "1d")) == 0
    assert one(aggregates, Aggregate("customer", "count", OUTCOME, "1d")) == 1


def test_the_product_looked_at_most() -> None:
    """Of the products without an outcome, how often the one is there that is there most; over the customer too."""
    products = [1, 2, 2, 2, 3, 3, 0, 0, 0, 0]
    views = [event("view", i, 7, product=product) for i, product in enumerate(products)]
    repeat, kinds = Aggregate("pair", "repeat", TOUCHED), Aggregate("pair", "repeat", VIEWED)
    assert one(look_at(*views, at=99), repeat) == 3
    assert one(look_at(*views, at=99), repeat, 8) == 0
    bought = look_at(*views, event("purchase", 20, 7, product=2), at=99)
    assert one(bought, repeat) == 2  # product 3: what was had is no longer wanted
    assert one(bought, kinds) == 3  # for which the outcome does not count at all
    elsewhere = look_at(*views, event("cart_add", 20, 8, product=2), at=99)
    assert one(elsewhere, repeat) == 3
    assert one(elsewhere, Aggregate("customer", "repeat", TOUCHED)) == 2
    assert one(look_at(event("cart_add", 0, 7, product=1), at=9), repeat) == 0


def test_events_of_the_latest_product() -> None:
    """`same` counts the subject's events of the product that it was touched with last, whatever came since."""
    events = [event("favorite", 0, 7, product=1), event("view", 1, 7, product=2), event("view", 2, 7, product=1)]
    favorite = Aggregate("pair", "same", ("favorite",))
    assert one(look_at(*events[:2], at=9), favorite) == 0
    assert one(look_at(*events, at=9), favorite) == 1
    assert one(look_at(*events, at=9), Aggregate("pair", "same", TOUCHED)) == 2
    since = [*events, event("view", 3, 8, product=2), event("impression", 4, 7, product=2)]
    assert one(look_at(*since, at=9), favorite) == 1  # an impression touches nothing
    assert one(look_at(*since, at=9), favorite, 8) == one(look_at(*since, at=9), favorite, 9) == 0
    unknown = [event("favorite", 0, 7), event("view", 1, 7)]
    assert one(look_at(*unknown, at=9), favorite) == 0  # no product is not the same one


def test_before_the_first_event() -> None:
    """Just before a customer's first event every aggregate is that of nothing, though its subject is known by then."""
    aggregates = look_at(event("cart_add", 0, 7, product=1), at=-1)
    assert aggregates.pairs.size == 1 and len(aggregates.view.ask) == 0
    sums: tuple[What, ...] = ("count", "value", "distinct", "repeat", "same", "active", "visits")
    for what in sums:
        assert one(aggregates, Aggregate("pair", what, TOUCHED)) == 0
        assert what == "same" or one(aggregates, Aggregate("customer", what, TOUCHED)) == 0
    ages: tuple[What, ...] = ("age", "first_age", "gap")
    for what in ages:
        assert one(aggregates, Aggregate("pair", what, TOUCHED)) == NEVER_MS
    assert one(aggregates, RANK) == NEVER_RANK and one(aggregates, SUBJECTS) == 0


def test_time_in_sessions() -> None:
    """`active` adds up gaps up to the session gap, that one included; longer ones are time away."""
    gap = 30 * MINUTE
    events = [event("view", at, subject) for at, subject in ((0, 7), (gap, 8), (2 * gap + 1, 7), (2 * gap + 6, 7))]
    active = Aggregate("customer", "active", (), "30d")
    assert one(look_at(*events, at=DAY), active) == gap + 5
    assert one(look_at(*events, at=DAY), Aggregate("pair", "active", VIEWED)) == 5
    assert one(look_at(events[0], at=DAY), active) == one(look_at(at=DAY), active) == 0
    assert one(look_at(*events, at=30 * DAY + gap), active) == 5  # the first two are out of the window


def test_subjects_ever_touched() -> None:
    """`subjects` counts what was touched, once each, also past the ranks that are told apart."""
    assert one(look_at(at=9), SUBJECTS) == 0
    touched = [event("view", 0, 7, 8), event("view", 1, 7), event("impression", 2, 9), event("cart_add", 3, 10)]
    assert one(look_at(*touched, at=9), SUBJECTS) == 3
    assert one(look_at(*(event("view", i, 1_000 + i, 2_000 + i) for i in range(40)), at=50), SUBJECTS) == 80
