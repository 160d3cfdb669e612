"""The estimator passes River's own checks, and learns what a head's regression does."""

import doctest
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from river import datasets, evaluate, linear_model, metrics, optim, preprocessing
from river.checks import yield_checks

import intents.natural
from intents.head import ARRAYS, Regression
from intents.natural import NaturalGradientLogistic

Check = Callable[[NaturalGradientLogistic], None]


def checks() -> Iterator[Check]:
    """River's checks of this estimator; their module imports scikit-learn, of which a classifier's use nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if "sklearn" not in sys.modules:
            absent = ModuleType("sklearn")
            absent.datasets = ModuleType("sklearn.datasets")  # type: ignore[attr-defined]  # any attribute will do
            patch.setitem(sys.modules, "sklearn", absent)
        yield from list(yield_checks(NaturalGradientLogistic()))


@pytest.mark.parametrize("check", list(checks()), ids=lambda check: check.__name__)
def test_rivers_checks(check: Check) -> None:
    """Each of the checks that River makes of its own estimators."""
    check(NaturalGradientLogistic().clone())


def test_there_are_many_checks() -> None:
    """River's list is not empty, and holds those of estimators, of their samples, and of classifiers."""
    names = [check.__name__ for check in checks()]
    assert len(names) > 35
    assert {"check_repr", "check_emerging_features", "check_predict_proba_one_binary"} <= set(names)


def test_the_example() -> None:
    """The documentation's example says what it says."""
    failed, tried = doctest.testmod(intents.natural)
    assert (failed, tried) == (0, 3)


def phishing(count: int) -> list[tuple[dict[Any, float], bool]]:
    """Some of River's Phishing."""
    return [(x, bool(y)) for x, y in datasets.Phishing().take(count)]


def the_regression(samples: list[tuple[dict[Any, float], bool]], names: list[Any], size: int = 1) -> Regression:
    """What a head's regression learns of them."""
    found = Regression.empty(len(names), 0.0)
    for n in range(0, len(samples), size):
        some = samples[n : n + size]
        columns = np.array([[x.get(name, 0.0) for x, _ in some] for name in names], dtype=np.float32)
        found.learn(columns, np.array([y for _, y in some]), np.ones(len(some)))
    return found


@pytest.mark.parametrize("size", [1, 16])
def test_it_is_the_regression(size: int) -> None:
    """One at a time or together, it learns and says what the regression of a head does, to the bit."""
    samples = phishing(160)
    model, names = NaturalGradientLogistic(), list(samples[0][0])
    for n in range(0, len(samples), size):
        xs, ys = zip(*samples[n : n + size], strict=True)
        model.learn_batch(xs, ys) if size > 1 else model.learn_one(xs[0], ys[0])
    regression = the_regression(samples, names, size)
    for name in ARRAYS:
        assert getattr(model.regression, name).tobytes() == getattr(regression, name).tobytes()
    x = np.array([[samples[3][0][name]] for name in names], dtype=np.float32)
    assert model.predict_proba_one(samples[3][0])[True] == regression.probability(x)[0]


def test_what_appears_later_was_nothing_before() -> None:
    """A new feature is one that was 0 until then: the same numbers as if it had been known from the start."""
    samples, names = phishing(120), list(phishing(1)[0][0])
    emerging = [({name: x[name] for name in names[: 3 + n // 20]}, y) for n, (x, y) in enumerate(samples)]
    model = NaturalGradientLogistic()
    for x, y in emerging:
        model.learn_one(x, y)
    regression = the_regression(emerging, names[:8])
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(model.regression, name), getattr(regression, name), rtol=1e-9, atol=1e-12)


def test_a_weight_counts() -> None:
    """A weight of 3 moves it further than one of 1."""
    light, heavy = NaturalGradientLogistic(), NaturalGradientLogistic()
    light.learn_one({"a": 1.0}, True)
    heavy.learn_one({"a": 1.0}, True, w=3.0)
    assert heavy.predict_proba_one({})[True] > light.predict_proba_one({})[True] > 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_refuses_what_would_poison(bad: float) -> None:
    """A number that is not finite, or is not as a float32, is refused, and its other features are not known then."""
    model = NaturalGradientLogistic()
    model.learn_one({"a": 1.0}, True)
    before = model.regression.weights.tobytes()
    with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
        model.learn_one({"a": 1.0, "new": bad}, False)
    assert model.regression.weights.tobytes() == before
    assert model.predict_proba_one({"a": 1.0, "new": 5.0}) == model.predict_proba_one({"a": 1.0})


@pytest.mark.parametrize("step", [0.01, 0.1, 0.3])
def test_as_good_as_rivers_pipeline(step: float) -> None:
    """On River's Phishing, said before learned, its log loss is below River's scaler and AdaGrad's of any step size."""
    theirs = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(step))
    both = (NaturalGradientLogistic(prior=10.0), theirs)
    losses = [evaluate.progressive_val_score(datasets.Phishing(), model, metrics.LogLoss()).get() for model in both]
    assert losses[0] < losses[1]
