"""The pipeline is River's own, learns one at a time, and goes on from a snapshot's arrays as if never stopped."""

from importlib.metadata import version

import numpy as np
import pytest
from intents.pipeline import Pipeline
from river import compose, linear_model, optim, preprocessing

from intents.model import Weights
from intents.snapshots import RIVER

NAMES = [f"f{n}" for n in range(9)]


def labelled(seed: int, count: int) -> list[tuple[list[float], bool, float]]:
    """Labelled vectors with weights."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        vector = random.normal(size=9) * [1, 2, 0, 5, 1, 1, 0.1, 30, 1]
        found.append((vector.tolist(), bool(vector[1] + random.normal() > 1), float(random.choice([1.0, 2.0]))))
    return found


def same(one: Weights, other: Weights) -> bool:
    """Whether all numbers are the same to the bit."""
    arrays = ("counts", "means", "variances", "weights", "squares")
    numbers = (one.intercept, one.steps) == (other.intercept, other.steps)
    return numbers and all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in arrays)


def test_it_is_rivers_pipeline() -> None:
    """StandardScaler | LogisticRegression with AdaGrad, taught through River's public way, says the same to the bit."""
    plain = compose.Pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression(optim.AdaGrad(0.01), intercept_init=-3.3)
    )
    ours = Pipeline(NAMES)
    for vector, label, _ in labelled(1, 400):
        x = dict(zip(NAMES, vector, strict=True))
        assert ours.predict_one(vector) == plain.predict_proba_one(x)[True]
        ours.learn_one(vector, label)
        plain.learn_one(x, label)
    assert ours.predict_one([1.0] * 9) != ours.predict_one([0.0] * 9)


def test_a_weight_counts() -> None:
    """A label's weight makes it count more: a sample stands for the whole."""
    light, heavy = Pipeline(NAMES), Pipeline(NAMES)
    for vector, label, _ in labelled(1, 50):
        light.learn_one(vector, label, 1.0)
        heavy.learn_one(vector, label, 5.0)
    assert not same(light.weights(), heavy.weights())
    assert same(light.weights(), light.weights())


@pytest.mark.parametrize("stop", [0, 1, 2, 57, 199])
def test_goes_on_as_if_never_stopped(stop: int) -> None:
    """Restored from its arrays, a pipeline predicts and learns on to the same bytes."""
    through, first = Pipeline(NAMES), Pipeline(NAMES)
    examples = labelled(3, 200)
    for vector, label, weight in examples[:stop]:
        through.learn_one(vector, label, weight)
        first.learn_one(vector, label, weight)
    second = Pipeline(NAMES, first.weights())
    assert same(second.weights(), first.weights())
    for vector, label, weight in examples[stop:]:
        assert through.predict_one(vector) == second.predict_one(vector)
        through.learn_one(vector, label, weight)
        second.learn_one(vector, label, weight)
    assert same(through.weights(), second.weights())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_refuses_what_would_poison(bad: float) -> None:
    """One number that is not finite would poison a linear model for ever: refused, and nothing of it is learned."""
    pipeline = Pipeline(NAMES)
    for vector, label, weight in labelled(4, 20):
        pipeline.learn_one(vector, label, weight)
    before = pipeline.weights()
    with pytest.raises(ValueError, match="not finite"):
        pipeline.learn_one([0.0] * 8 + [bad], True)
    assert same(pipeline.weights(), before)
    assert pipeline.weights().finite()


def test_snapshots_name_the_installed_river() -> None:
    """A snapshot names River's version, by which somebody may rebuild it: it is the installed one's."""
    assert version("river") == RIVER
