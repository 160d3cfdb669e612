"""Feature vectors: the shipped bundle against the oracle at every ask, and what each declaration means by example."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import VIEWED, Aggregate, Aggregates
from features.bundle import Bundle, Feature
from features.core_bundle import CORE
from features.pairs import NEVER_RANK
from tests.features.building import looks
from tests.features.naive_log import DAY
from tests.features.naive_moves import ANY, Move, events_of
from tests.features.naive_windows import vector
from tests.features.test_aggregates import event, look_at


@settings(max_examples=40, derandomize=True, database=None)
@given(ANY, st.integers(7, 13))
def test_core_vectors_as_the_oracle_says(moves: list[Move], every: int) -> None:
    """The shipped bundle's vectors are the oracle's to float32's precision, also of a subject never touched."""
    for look in looks(events_of(moves), every=every):
        pairs = look.pairs(most=8)
        chosen, asks = np.array([pair for pair, _, _ in pairs]), np.array([ask for _, ask, _ in pairs])
        found = CORE.vectors(Aggregates(look.aggregates.pairs, chosen), asks)
        expected = [vector(CORE, *look.seen[ask], subject) for _, ask, subject in pairs]
        np.testing.assert_allclose(found.T, np.array(expected, dtype=np.float32), rtol=2e-7, atol=1e-30)


VIEWS = Feature("views", Aggregate("pair", "count", VIEWED, "1h"))
ALL = Aggregate("customer", "count", VIEWED, "1h")


def feature_of(feature: Feature, subject: int = 7) -> float:
    """A feature of anna after two views of 7 and, the latest, one of 8."""
    aggregates = look_at(event("view", 0, 7), event("view", 1, 7), event("view", 2, 8), at=3)
    known = np.flatnonzero(aggregates.pairs.subject == subject)
    chosen = np.array([known[0] if len(known) else aggregates.pairs.size])
    (value,) = Bundle("one", (feature,)).vectors(Aggregates(aggregates.pairs, chosen), np.array([0]))[0].tolist()
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
        ({"then": "log"}, math.log(2)),
        ({"then": "log", "add_top": 1.0, "per": ALL, "add_bottom": 1.0}, math.log(3 / 4)),
        ({"then": "single"}, 0),
        ({"then": "single", "add_top": -1.0}, 1),
        ({"then": "single", "per": ALL}, 1),
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
    assert feature_of(replace(VIEWS, then="single"), subject=9) == 1
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
        Bundle("a", (replace(VIEWS, group="activity"),)),
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
        vectors = CORE.vectors(Aggregates(aggregates.pairs, np.array([0])), np.array([0]))
        assert vectors.dtype == np.float32 and np.isfinite(vectors).all()


def test_core_has_groups() -> None:
    """Each shipped feature is in a group that an ablation can take out; those for the latest subject are one."""
    assert all(feature.group for feature in CORE.features)
    assert {feature.group for feature in CORE.features if feature.latest} == {"latest"}
    assert {feature.group for feature in CORE.features if not feature.latest} == {
        *("choice", "activity", "recency", "actions", "items", "customer"),
    }
    assert [feature.name for feature in CORE.features[: CORE.leading]] == ["run", "open"]


def test_core_says_no_more_than_it_knows() -> None:
    """Of a subject that was never touched, the pair's own features are those of nothing."""
    aggregates = look_at(event("view", 0, 7), at=5)
    never = dict(
        zip(
            CORE.names,
            CORE.vectors(Aggregates(aggregates.pairs, np.array([1])), np.array([0]))[:, 0].tolist(),
            strict=True,
        )
    )
    assert never["rank_log"] == np.float32(math.log1p(NEVER_RANK))
    assert [never[name] for name in ("views_5m", "repeat", "favorite_item", "latest_visits", "share_5m")] == [0] * 5
