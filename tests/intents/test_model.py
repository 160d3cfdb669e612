"""The compiled model says what River says, the same bytes in every batch, and never makes up a probability."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intents.pipeline import INTERCEPT, Pipeline

from features.core_bundle import CORE
from intents.counts import F64
from intents.model import NEEDED_NEGATIVE, NEEDED_POSITIVE, Model, Weights, whole_vectors
from intents.tables import MODEL_FEATURES, Tables
from tests.intents.naive_model import NaiveModel
from tests.intents.replaying import learned, made_up
from tests.intents.test_tables import busy

NAMES = Model.untrained(CORE).feature_names


def trained(seed: int, labels: int = 300, scale: float = 3.0) -> tuple[Pipeline, F64]:
    """A pipeline that has learned from vectors like ours (one column constant), and vectors (f, 200) to ask it for."""
    random = np.random.default_rng(seed)
    pipeline = Pipeline(NAMES)
    spread = random.random(len(NAMES)) * scale
    spread[3] = 0.0
    shift = random.normal(size=len(NAMES))
    for _ in range(labels):
        vector = random.normal(size=len(NAMES)) * spread + shift
        pipeline.learn_one(vector.tolist(), bool(random.random() < 0.1 + 0.5 * (vector[0] > 0)))
    return pipeline, random.normal(size=(len(NAMES), 200)) * 20 * spread[:, None]


def model_of(weights: Weights) -> Model:
    """A ready model of some weights."""
    return Model(CORE, weights, Tables(), positives=100, negatives=1_000)


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_river(seed: int) -> None:
    """Column arithmetic gives River's predict_proba_one within 1e-9, a column without variance included."""
    pipeline, vectors = trained(seed)
    p = model_of(pipeline.weights()).probability(vectors)
    river = [pipeline.river.predict_proba_one(dict(zip(NAMES, x, strict=True)))[True] for x in vectors.T.tolist()]
    assert np.ptp(p) > 0.5
    np.testing.assert_allclose(p, river, rtol=0, atol=1e-9)


def test_equal_to_river_at_the_ends() -> None:
    """Far-off vectors are as certain as River is about them; nothing overflows."""
    pipeline, vectors = trained(1)
    far = vectors * 1e6
    p = model_of(pipeline.weights()).probability(far)
    river = [pipeline.river.predict_proba_one(dict(zip(NAMES, x, strict=True)))[True] for x in far.T.tolist()]
    assert (p.min(), p.max()) == pytest.approx((0, 1), abs=1e-9)
    np.testing.assert_allclose(p, river, rtol=0, atol=1e-9)


def test_before_learning_it_is_rivers_intercept() -> None:
    """Weights that nobody trained give the intercept's probability, as River does; it is not 0.5."""
    untrained = replace(Model.untrained(CORE), positives=100, negatives=1_000)
    p = untrained.probability(np.ones((len(NAMES), 2)))
    assert p.tolist() == pytest.approx([1 / (1 + np.exp(-INTERCEPT))] * 2)
    assert Pipeline(NAMES).predict_one([1.0] * len(NAMES)) == pytest.approx(p[0])


def test_contributions_add_up() -> None:
    """What each column adds, and the intercept, are the logit; they are those of the slow model."""
    pipeline, vectors = trained(2)
    model = model_of(pipeline.weights())
    parts = model.contributions(vectors)
    logit = np.log(1 / (1 / model.probability(vectors) - 1))
    np.testing.assert_allclose(parts.sum(axis=0) + model.weights.intercept, logit, atol=1e-6)
    for i in range(0, 200, 20):
        np.testing.assert_allclose(parts[:, i], NaiveModel(model).contributions(vectors[:, i].tolist()), atol=1e-12)


@pytest.mark.parametrize("of", [Model.probability, Model.contributions])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_bytes_do_not_depend_on_the_batch(of: Callable[..., F64], layout: Callable[[F64], F64]) -> None:
    """One pair alone, seven, or all: the same bytes for each, whatever the memory layout."""
    pipeline, vectors = trained(3)
    model = model_of(pipeline.weights())
    vectors = np.concatenate([vectors, vectors * 0.37, vectors * 1.9], axis=1)
    whole = of(model, vectors)
    for size in (1, 2, 7, 64, 599):
        parts = [of(model, layout(vectors[:, i : i + size])) for i in range(0, 600, size)]
        assert np.concatenate(parts, axis=-1).tobytes() == whole.tobytes()


def test_whole_vectors_do_not_depend_on_the_batch() -> None:
    """The whole way from a customer-side vector and a subject to p gives the same bytes in any batch."""
    model = learned(made_up())
    random = np.random.default_rng(8)
    keys = model.tables.subjects.keys[: model.tables.subjects.size]
    subjects, before = random.choice(keys, 400), random.choice(keys, 400)
    own = len(CORE.features)
    spread = np.sqrt(model.weights.variances[:own, None])
    vectors = np.abs(model.weights.means[:own, None] + random.normal(size=(own, 400)) * 2 * spread).astype(np.float32)
    whole = model.probability(model.columns(vectors, subjects, before))
    assert np.ptp(whole) > 0.2
    for size in (1, 3, 64):
        parts = [
            model.probability(model.columns(vectors[:, i : i + size], subjects[i : i + size], before[i : i + size]))
            for i in range(0, 400, size)
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_whole_vectors() -> None:
    """A whole vector is the customer-side columns as they are, then the model-side ones, named in this order."""
    tables = busy()
    keys = tables.subjects.keys[:7]
    vectors = np.random.default_rng(1).random((len(CORE.features), 7)).astype(np.float32)
    whole = whole_vectors(CORE, tables, vectors, keys, keys[::-1].copy())
    assert CORE.names + MODEL_FEATURES == NAMES
    assert whole.shape == (len(NAMES), 7) and whole.dtype == np.float64
    assert (whole[: len(CORE.features)] == vectors).all()
    views, outcomes = vectors[CORE.names.index("views_7d")], vectors[CORE.names.index("outcomes")]
    assert (whole[len(CORE.features) :] == tables.columns(keys, keys[::-1].copy(), views, outcomes)).all()


# Ready or not


@pytest.mark.parametrize(
    ("positives", "negatives", "ready"), [(50, 500, True), (49, 500, False), (50, 499, False), (10_000, 0, False)]
)
def test_ready(positives: int, negatives: int, ready: bool) -> None:
    """A model is believed from 50 positive and 500 negative labels on."""
    assert (NEEDED_POSITIVE, NEEDED_NEGATIVE) == (50, 500)
    assert replace(Model.untrained(CORE), positives=positives, negatives=negatives).ready is ready


@settings(max_examples=80, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=100))
def test_fallback(labels: list[tuple[int, bool]]) -> None:
    """Before that, p is the smoothed rate of the recency rank: never rising, never 0.5 for want of knowledge."""
    model = Model.untrained(CORE)
    for rank, positive in labels:
        model.tables.count_rank(rank, positive, 1.0)
    ranks = np.arange(80)
    p = model.fallback(ranks)
    assert (np.diff(p) <= 0).all()
    assert (p >= 0).all() and (p <= 1).all()
    slow = NaiveModel(model)
    assert p.tolist() == pytest.approx([slow.probability([], rank) for rank in ranks.tolist()])
    if not labels:
        assert set(p.tolist()) == {0.01}


# Finite or not


def test_finite() -> None:
    """One NaN or infinity anywhere in the weights is found."""
    weights = trained(1)[0].weights()
    assert weights.finite()
    for name in ("counts", "means", "variances", "weights", "squares"):
        for bad in (np.nan, np.inf):
            poisoned = getattr(weights, name).copy()
            poisoned[5] = bad
            assert not replace(weights, **{name: poisoned}).finite()
    assert not replace(weights, intercept=float("nan")).finite()
    assert {field.name for field in fields(Weights)} - {"steps"} == {
        "counts",
        "means",
        "variances",
        "weights",
        "squares",
        "intercept",
    }
