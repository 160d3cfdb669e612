"""A model is two heads over one vector, which never make up a probability."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.core_bundle import CORE
from intents.head import CALIBRATION_PRIOR, PRIOR
from intents.model import NOW_INTERCEPT, SOON_INTERCEPT, SOON_MS, SOON_PRIOR, Model, regressed_names, whole_vectors
from intents.tables import MODEL_FEATURES
from tests.intents.naive_model import NaiveModel
from tests.intents.replaying import handmade, learned, made_up, unready
from tests.intents.test_tables import busy

NAMES = Model.untrained(CORE).feature_names
RANKS = np.array([0, 1, 5, 63, 64, 70])


def test_untrained() -> None:
    """A model before the first label: each head says its intercept; `soon` learns slower."""
    model = Model.untrained(CORE)
    vectors = np.ones((len(NAMES), len(RANKS)), dtype=np.float32)
    for head, intercept in ((model.now, NOW_INTERCEPT), (model.soon, SOON_INTERCEPT)):
        assert head.probability(vectors, RANKS).tolist() == pytest.approx([1 / (1 + np.exp(-intercept))] * len(RANKS))
    assert (model.now.touched.precision[0, 0], model.soon.foreseen.precision[0, 0]) == (PRIOR, SOON_PRIOR)
    assert model.now.foreseen.calibration_precision[0, 0] == CALIBRATION_PRIOR
    assert model.soon.touched.calibration_precision[1, 1] == CALIBRATION_PRIOR
    assert SOON_MS == 86_400_000 and not model.ready


@pytest.mark.parametrize("made", [lambda: learned(made_up()), lambda: handmade(["tea", "rum", "cups"])])
def test_as_the_slow_model_says(made: Callable[[], Model]) -> None:
    """For whole vectors of any rank, both heads' probabilities and each column's part are the slow model's."""
    model = made()
    slow, random = NaiveModel(model), np.random.default_rng(4)
    spread = np.sqrt(np.maximum(model.now.touched.variances, 0.01))
    vectors = (model.now.touched.means[:, None] + random.normal(size=(len(NAMES), 60)) * spread[:, None]).astype("f4")
    ranks = np.resize(RANKS, 60)
    now, soon = model.now.probability(vectors, ranks), model.soon.probability(vectors, ranks)
    assert np.ptp(now) > 0.1
    for n, (column, rank) in enumerate(zip(vectors.T.astype(float).tolist(), ranks.tolist(), strict=True)):
        assert now[n] == pytest.approx(slow.probability(column, rank), rel=0, abs=1e-9)
        parts = model.now.contributions(vectors[:, n : n + 1], np.array([rank]))[:, 0]
        np.testing.assert_allclose(parts, slow.contributions(column, rank), atol=1e-9)
        if model.soon.ready:
            assert max(soon[n], now[n]) == pytest.approx(slow.soon(column, rank), rel=0, abs=1e-9)
        else:
            assert slow.soon(column, rank) is None


def test_whole_vectors_do_not_depend_on_the_batch() -> None:
    """The whole way from a customer-side vector and a subject to p gives the same bytes in any batch."""
    model = learned(made_up())
    random = np.random.default_rng(8)
    keys = model.tables.subjects.keys[: model.tables.subjects.size]
    subjects, before = random.choice(keys, 400), random.choice(keys, 400)
    ranks, own = np.resize(RANKS, 400), len(CORE.features)
    regression = model.now.touched
    leading = CORE.leading
    spread = np.sqrt(regression.variances[: own - leading, None])
    made = np.abs(regression.means[: own - leading, None] + random.normal(size=(own - leading, 400)) * 2 * spread)
    vectors = np.concatenate([np.ones((leading, 400)), made]).astype(np.float32)
    whole = model.now.probability(model.columns(vectors, subjects, before)[leading:], ranks)
    assert np.ptp(whole) > 0.2
    for size in (1, 3, 64):
        cuts = [slice(i, i + size) for i in range(0, 400, size)]
        parts = [
            model.now.probability(model.columns(vectors[:, cut], subjects[cut], before[cut])[leading:], ranks[cut])
            for cut in cuts
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_whole_vectors() -> None:
    """A whole vector is the customer-side columns as they are, then the model-side ones, named in this order."""
    tables = busy()
    keys = tables.subjects.keys[:7]
    vectors = np.random.default_rng(1).random((len(CORE.features), 7)).astype(np.float32)
    whole = whole_vectors(CORE, tables, vectors, keys, keys[::-1].copy())
    assert CORE.names[CORE.leading :] + MODEL_FEATURES == NAMES and CORE.leading == 2
    assert whole.shape == (len(CORE.names) + len(MODEL_FEATURES), 7) and whole.dtype == np.float32
    assert (whole[: len(CORE.features)] == vectors).all()
    views, outcomes = vectors[CORE.names.index("views_7d")], vectors[CORE.names.index("outcomes")]
    assert regressed_names(CORE) == NAMES
    own = tables.columns(keys, keys[::-1].copy(), views, outcomes).astype(np.float32)
    assert (whole[len(CORE.features) :] == own).all()


# Ready or not


def test_ready() -> None:
    """A model is ready when its head `now` is, whatever `soon` knows."""
    model = handmade(["tea", "rum"])
    assert model.ready and not unready(model).ready
    assert replace(model, soon=Model.untrained(CORE).soon).ready
    assert not replace(Model.untrained(CORE), soon=model.soon).ready


@settings(max_examples=80, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=100))
def test_fallback(labels: list[tuple[int, bool]]) -> None:
    """Before that, p is the smoothed rate of the recency rank: never rising, never 0.5 for want of knowledge."""
    model = Model.untrained(CORE)
    asked, positive = np.array([r for r, _ in labels], dtype=np.int64), np.array([y for _, y in labels], dtype=bool)
    model.tables.count_ranks(asked, positive, np.ones(len(labels)))
    ranks = np.arange(80)
    p = model.fallback(ranks)
    assert (np.diff(p) <= 0).all()
    assert (p >= 0).all() and (p <= 1).all()
    slow = NaiveModel(model)
    assert p.tolist() == pytest.approx([slow.probability([], rank) for rank in ranks.tolist()])
    if not labels:
        assert set(p.tolist()) == {0.01}
