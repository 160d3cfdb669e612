"""The regression of a head as an estimator of River, to be compared with River's own in River's own way."""

from collections.abc import Mapping, Sequence

import numpy as np
from river import base

from features.bundle import F32
from intents.head import CALIBRATION_PRIOR, PRIOR, Regression


class NaturalGradientLogistic(base.Classifier):
    """Logistic regression learned by natural gradient, with an online calibration.

    What `intents.head.Regression` learns for the model, for dictionaries. Columns are standardised within; a feature
    that was not there before counts as 0 until then, and so does one that is missing. There is no step size.

    Parameters
    ----------
    prior
        Precision that each weight begins with; the larger, the slower it learns.
    intercept
        Initial intercept value.
    calibration_prior
        Precision that the calibration begins with.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics

    >>> model = NaturalGradientLogistic(prior=10.0)

    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 89.52%

    """

    def __init__(
        self, prior: float = PRIOR, intercept: float = 0.0, calibration_prior: float = CALIBRATION_PRIOR
    ) -> None:
        self.prior, self.intercept, self.calibration_prior = prior, intercept, calibration_prior
        self.regression = Regression.empty(0, intercept, prior, calibration_prior)
        self._places: dict[base.typing.FeatureName, int] = {}

    def learn_one(self, x: Mapping[base.typing.FeatureName, float], y: base.typing.ClfTarget, w: float = 1.0) -> None:
        """Learn features and a label of weight `w`. Raises ValueError for a number that is not finite."""
        self.learn_batch([x], [y], [w])

    def learn_batch(
        self,
        xs: Sequence[Mapping[base.typing.FeatureName, float]],
        ys: Sequence[base.typing.ClfTarget],
        ws: Sequence[float] | None = None,
    ) -> None:
        """Learn some at once, in one step. Raises as `learn_one`, nothing learned."""
        names = list(dict.fromkeys(name for x in xs for name in x))
        columns = np.array([[x.get(name, 0.0) for x in xs] for name in names], dtype=np.float32).reshape(-1, len(xs))
        if not np.isfinite(columns).all():
            raise ValueError("features to learn from have a number that is not finite")
        for name in names:
            self._places.setdefault(name, len(self._places))
        self.regression = _widened(self.regression, len(self._places), self.prior)
        labels, weights = np.array([bool(y) for y in ys]), np.ones(len(xs)) if ws is None else np.array(ws, dtype=float)
        self.regression.learn(self._columns(xs), labels, weights)

    def predict_proba_one(
        self, x: Mapping[base.typing.FeatureName, float], **kwargs: object
    ) -> dict[base.typing.ClfTarget, float]:
        """Probability of False and True; features never learned from say nothing."""
        p = float(self.regression.probability(self._columns([x]))[0])
        return {False: 1.0 - p, True: p}

    def _columns(self, xs: Sequence[Mapping[base.typing.FeatureName, float]]) -> F32:
        found = np.zeros((len(self._places), len(xs)), dtype=np.float32)
        for n, x in enumerate(xs):
            for name, value in x.items():
                if name in self._places:
                    found[self._places[name], n] = value
        return found


def _widened(regression: Regression, features: int, prior: float) -> Regression:
    """The same regression with columns that were 0 so far."""
    have, new = len(regression.means), features - len(regression.means)
    if not new:
        return regression
    precision = prior * np.eye(features + 1)
    old = np.append(np.arange(have), features)  # the intercept stays the last
    precision[np.ix_(old, old)] = regression.precision
    return Regression(
        np.append(regression.means, np.zeros(new)),
        np.append(regression.variances, np.zeros(new)),
        np.insert(regression.weights, have, np.zeros(new)),
        precision,
        regression.calibration,
        regression.calibration_precision,
        regression.positives,
        regression.negatives,
    )
