"""The River pipeline that learns, and its way to and from a snapshot's arrays."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from river import compose, linear_model, optim, preprocessing

from intents.counts import F64
from intents.model import Weights

INTERCEPT: Final = -3.3
_STEP: Final = 0.01


class Pipeline:
    """StandardScaler | LogisticRegression(AdaGrad(0.01), intercept -3.3) over named columns.

    Predict, then learn, one at a time.
    """

    def __init__(self, names: Sequence[str], weights: Weights | None = None) -> None:
        """A pipeline over columns `names`, going on from `weights` if given."""
        self.names = list(names)
        self.scaler = preprocessing.StandardScaler()
        self.model = linear_model.LogisticRegression(optim.AdaGrad(_STEP), intercept_init=INTERCEPT)
        self.river = compose.Pipeline(self.scaler, self.model)
        if weights is not None:
            self._restore(weights)

    def predict_one(self, vector: Sequence[float]) -> float:
        """Probability of an outcome for one vector (f,)."""
        return float(self.river.predict_proba_one(dict(zip(self.names, vector, strict=True)))[True])

    def learn_one(self, vector: Sequence[float], label: bool, weight: float = 1.0) -> None:
        """Learn one labelled vector (f,).

        Raises ValueError for a number that is not finite, which would poison the weights.
        """
        if not np.isfinite(vector).all():
            raise ValueError("a vector to learn from has a number that is not finite")
        x = dict(zip(self.names, vector, strict=True))
        self.scaler.learn_one(x)
        self.model.learn_one(self.scaler.transform_one(x), label, weight)

    def weights(self) -> Weights:
        """All it takes to score, and to go on learning, as arrays in column order."""

        def column(table: Mapping[str, float]) -> F64:
            return np.array([float(table.get(name, 0.0)) for name in self.names])

        return Weights(
            counts=column(self.scaler.counts),
            means=column(self.scaler.means),
            variances=column(self.scaler.vars),
            weights=column(self.model.weights),
            squares=column(self.model.optimizer.g2),
            intercept=float(self.model.intercept),
            steps=int(self.model.optimizer.n_iterations),
        )

    def _restore(self, weights: Weights) -> None:
        seen = weights.counts > 0

        def table(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dict[str, float]:
            return {name: float(value) for name, value, ok in zip(self.names, values, seen, strict=True) if ok}

        self.scaler.counts = Counter({name: int(count) for name, count in table(weights.counts).items()})
        self.scaler.means = defaultdict(float, table(weights.means))
        self.scaler.vars = defaultdict(float, table(weights.variances))
        self.model._weights.update(table(weights.weights))
        self.model.optimizer.g2 = defaultdict(float, table(weights.squares))
        self.model.intercept = weights.intercept
        self.model.optimizer.n_iterations = weights.steps
