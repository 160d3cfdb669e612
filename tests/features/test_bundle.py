"""Aggregates and feature vectors: against the oracle at every ask, and what each declaration means by example."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import NEVER_MS, NEVER_RANK, OUTCOME, TOUCHED, VIEWED, Aggregate, Aggregates
from features.bundle import Bundle, Feature
from features.core_bundle import CORE
from tests.features.building import Partition, asked, looks
from tests.features.naive_log import DAY, Event
from tests.features.naive_moves import ANY, START, Move, events_of
from tests.features.naive_windows import aggregate, vector

MINUTE = 60_000
WHATS = ("count", "value", "distinct", "age", "first_age", "gap", "visits")
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


@settings(max_examples=60, derandomize=True, database=None)
@given(ANY, st.lists(ANY_AGGREGATE, min_size=8, max_size=8, unique=True), st.integers(7, 13))
def test_aggregates_as_the_oracle_says(moves: list[Move], wanted: list[Aggregate], every: int) -> None:
    """Any aggregate in any window, over customers and over pairs, is the oracle's, at any ask."""
    for look in looks(events_of(moves), every=every):
        for one in [*wanted, RANK, PACE]:
            values = look.aggregates[one].tolist()
            if one.over == "pair":
                for pair, ask, subject in look.pairs(most=20):
                    assert values[pair] == aggregate(one, *look.seen[ask], subject), one
            else:
                assert values == [aggregate(one, entries, t) for entries, t in look.seen], one


@settings(max_examples=40, derandomize=True, database=None)
@given(ANY, st.integers(7, 13))
def test_core_vectors_as_the_oracle_says(moves: list[Move], every: int) -> None:
    """The shipped bundle's vectors are the oracle's to float32's precision, also of a subject never touched."""
    for look in looks(events_of(moves), every=every):
        pairs = look.pairs(most=8)
        chosen, asks = np.array([pair for pair, _, _ in pairs]), np.array([ask for _, ask, _ in pairs])
        found = CORE.vectors(look.aggregates, chosen, asks)
        expected = [vector(CORE, *look.seen[ask], subject) for _, ask, subject in pairs]
        np.testing.assert_allclose(found.T, np.array(expected, dtype=np.float32), rtol=2e-7, atol=1e-30)


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
    assert aggregates.rank_of(np.array([0, aggregates.pairs.size])).dtype == np.int64


def test_outcomes_of_another_subject() -> None:
    """Over pairs only the subject's own events count, over the customer all."""
    aggregates = look_at(event("view", 0, 7), event("cart_add", 1, 8), at=2)
    assert one(aggregates, Aggregate("pair", "count", OUTCOME, "1d")) == 0
    assert one(aggregates, Aggregate("customer", "count", OUTCOME, "1d")) == 1


VIEWS = Feature("views", Aggregate("pair", "count", VIEWED, "1h"))
ALL = Aggregate("customer", "count", VIEWED, "1h")


def feature_of(feature: Feature, subject: int = 7) -> float:
    """A feature of anna after two views of 7 and, the latest, one of 8."""
    aggregates = look_at(event("view", 0, 7), event("view", 1, 7), event("view", 2, 8), at=3)
    known = np.flatnonzero(aggregates.pairs.subject == subject)
    chosen = np.array([known[0] if len(known) else aggregates.pairs.size])
    (value,) = Bundle("one", (feature,)).vectors(aggregates, chosen, np.array([0]))[0].tolist()
    return float(value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2),
        ({"then": "log1p"}, math.log(3)),
        ({"then": "log1p", "scale": 4.0}, math.log(1.5)),
        ({"then": "decay", "scale": 4.0}, math.exp(-0.5)),
        ({"then": "inverse"}, 1 / 3),
        ({"then": "flag"}, 1),
        ({"per": ALL}, 2 / 3),
        ({"per": ALL, "add_top": 1.0, "add_bottom": 2.0}, 3 / 5),
        ({"add_top": 1.0}, 3),
        ({"latest": True}, 0),
    ],
)
def test_declarations(changes: dict[str, object], expected: float) -> None:
    """A feature is (top + add_top) / (bottom + add_bottom), squashed, and 0 if it is for the latest subject only."""
    assert feature_of(replace(VIEWS, **changes)) == np.float32(expected)  # type: ignore[arg-type]  # names of fields


def test_declarations_of_the_absent() -> None:
    """Nothing by nothing is 0, a flag of nothing too; what is kept for the latest subject is kept for it."""
    none = Aggregate("customer", "count", ("refund",), "1h")
    assert feature_of(replace(VIEWS, per=none)) == 0
    assert feature_of(replace(VIEWS, per=none, add_top=5.0)) == 0
    assert feature_of(replace(VIEWS, then="flag"), subject=9) == 0
    assert feature_of(replace(VIEWS, latest=True), subject=8) == 1
    assert feature_of(replace(VIEWS, latest=True), subject=9) == 0


def test_hash_tells_declarations_apart() -> None:
    """A bundle's hash is 4 bytes, the same for the same declarations, and another one after any change."""
    bundles = [
        Bundle("a", (VIEWS,)),
        Bundle("b", (VIEWS,)),
        Bundle("a", (VIEWS, VIEWS)),
        Bundle("a", (replace(VIEWS, scale=2.0),)),
        Bundle("a", (replace(VIEWS, of=replace(VIEWS.of, window="2h")),)),
        Bundle("a", (replace(VIEWS, latest=True),)),
        Bundle("a", (replace(VIEWS, per=ALL),)),
    ]
    assert len({bundle.hash for bundle in bundles}) == len(bundles)
    assert all(len(bytes.fromhex(bundle.hash)) == 4 for bundle in bundles)
    assert Bundle("a", (VIEWS,)).hash == bundles[0].hash


def test_core_is_finite() -> None:
    """The shipped bundle has a finite value for the most extreme customers, and each of its names once."""
    assert len(set(CORE.names)) == len(CORE.names)
    for aggregates in (
        look_at(at=0),
        look_at(event("impression", 0), at=0),
        look_at(event("refund", 0, 7, value=-(2**31)), at=40 * DAY),
    ):
        vectors = CORE.vectors(aggregates, np.array([0]), np.array([0]))
        assert vectors.dtype == np.float32 and np.isfinite(vectors).all()
