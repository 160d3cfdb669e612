"""The model as workers use it: an immutable snapshot whose River pipeline is compiled into column arithmetic."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.bundle import F32, Bundle
from features.log import I64, U64
from intents.counts import F64
from intents.tables import MODEL_FEATURES, RANKS, Tables

NEEDED_POSITIVE: Final = 50
NEEDED_NEGATIVE: Final = 500
"""Labels that a model must have learned from before it is believed."""


@dataclass(frozen=True, slots=True)
class Weights:
    """River's StandardScaler | LogisticRegression(AdaGrad) as arrays (f,) in vector order.

    All it takes to go on learning.
    """

    counts: F64
    means: F64
    variances: F64
    weights: F64
    squares: F64
    intercept: float
    steps: int

    @staticmethod
    def empty(features: int, intercept: float) -> "Weights":
        """A pipeline that has learned nothing."""
        zero = np.zeros(features)
        return Weights(zero, zero, zero, zero, zero, intercept, 0)

    def finite(self) -> bool:
        """False if any number is NaN or infinite: one of them poisons a linear model for ever."""
        arrays = (self.counts, self.means, self.variances, self.weights, self.squares)
        return all(bool(np.isfinite(array).all()) for array in arrays) and bool(np.isfinite(self.intercept))


@dataclass(frozen=True)
class Model:
    """A frozen model: weights, tables, the subjects' names, and how many labels it has seen.

    `version` names its snapshot.
    """

    bundle: Bundle
    weights: Weights
    tables: Tables
    names: dict[int, str] = field(default_factory=dict)
    positives: int = 0
    negatives: int = 0
    version: str = "none"
    variant: str = "main"
    name: str = "logistic"

    @staticmethod
    def untrained(bundle: Bundle, intercept: float = -3.3) -> "Model":
        """The model before the first label: not ready."""
        return Model(bundle, Weights.empty(len(bundle.features) + len(MODEL_FEATURES), intercept), Tables())

    @property
    def ready(self) -> bool:
        """True once enough labels of both kinds were learned."""
        return self.positives >= NEEDED_POSITIVE and self.negatives >= NEEDED_NEGATIVE

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the whole vector: the bundle's, then the model-side columns'."""
        return self.bundle.names + MODEL_FEATURES

    def columns(self, vectors: F32, subjects: U64, before: U64) -> F64:
        """Whole vectors (f, n) by this snapshot's tables."""
        return whole_vectors(self.bundle, self.tables, vectors, subjects, before)

    def probability(self, columns: F64) -> F64:
        """Probability of an outcome within the horizon (n,) for vectors (f, n).

        Column by column so that batches can't change a bit.

        σ(b + Σ_j w_j (x_j − μ_j) / σ_j), a column without variance counting 0, as River does.
        """
        total = np.full(columns.shape[1], self.weights.intercept)
        for contribution in self.contributions(columns):
            total += contribution
        odds: F64 = np.exp(-np.clip(total, -30.0, 30.0))
        return 1.0 / (1.0 + odds)

    def contributions(self, columns: F64) -> F64:
        """What each column adds to the logit (f, n)."""
        deviation = np.sqrt(self.weights.variances)
        known = deviation > 0
        inverse = np.where(known, 1.0 / np.where(known, deviation, 1.0), 0.0)
        scaled = (columns - self.weights.means[:, None]) * inverse[:, None]
        return scaled * self.weights.weights[:, None]

    def fallback(self, rank: I64) -> F64:
        """Probability by recency rank (n,), used until the model is ready."""
        return self.tables.rank_rates()[np.minimum(rank, RANKS - 1)]


def whole_vectors(bundle: Bundle, tables: Tables, vectors: F32, subjects: U64, before: U64) -> F64:
    """Customer-side columns as scored (f, n), then the model-side columns of `subjects` (n,) from `tables`.

    `before` (n,) is each customer's latest other subject. Workers and trainer both call this.
    """
    names = bundle.names
    views, outcomes = vectors[names.index("views_7d")], vectors[names.index("outcomes")]
    return np.concatenate([vectors.astype(np.float64), tables.columns(subjects, before, views, outcomes)])
