"""One head of a model: a logistic regression learned by natural gradient, with hashed biases and a calibration step.

All its numbers are arrays; learning takes some labelled pairs at once:

1. The calibration σ(a·z + b) takes a Newton step on the logits z as they were before these pairs are learned.
2. Means and variances of the columns take the pairs in (Chan, Golub, LeVeque 1983), and the columns are standardised.
3. A += Z'HZ, w −= A⁻¹ Z'r, with H = w p(1 − p) and r = w (p − y): a Newton step on a quadratic memory of all pairs
   so far (Amari 1998; for a logistic model Fisher's information is the Hessian). A begins as PRIOR on the diagonal.
4. Each bias takes the same step in its one dimension, with a prior of its own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import I64, U64, Bool
from intents.counts import F64

BUCKETS: Final = 1024
"""Biases by a hash of the customer: some customers share one, so that none of them is about one customer alone."""
PRIOR: Final = 500.0
"""Precision that a weight begins with, in units of Z'HZ."""
BIAS_PRIOR: Final = 100.0
CALIBRATION_PRIOR: Final = 50.0
NEEDED_POSITIVE: Final = 50
NEEDED_NEGATIVE: Final = 500
"""Labels that a head must have learned from before it is believed."""
_MOST_LOGIT: Final = 30.0
_MOST_AWAY: Final = 100.0  # deviations from the mean that are learned: what is further away must not drown all else


@dataclass(slots=True)
class Head:
    """The numbers of one head over f columns: all it takes to score, and to go on learning.

    `means`, `variances` (f,); `weights` (f + 1,), the intercept last; `precision` (f + 1, f + 1); `biases` and
    `bias_precision` (BUCKETS,); `calibration` (2,) slope and offset; `calibration_precision` (2, 2).
    """

    means: F64
    variances: F64
    weights: F64
    precision: F64
    biases: F64
    bias_precision: F64
    calibration: F64
    calibration_precision: F64
    positives: int = 0
    negatives: int = 0

    @staticmethod
    def empty(features: int, intercept: float) -> "Head":
        """A head that has learned nothing."""
        weights = np.zeros(features + 1)
        weights[-1] = intercept
        return Head(
            np.zeros(features),
            np.zeros(features),
            weights,
            PRIOR * np.eye(features + 1),
            np.zeros(BUCKETS),
            np.full(BUCKETS, BIAS_PRIOR),
            np.array([1.0, 0.0]),
            CALIBRATION_PRIOR * np.eye(2),
        )

    @property
    def ready(self) -> bool:
        """True once enough labels of both kinds were learned."""
        return self.positives >= NEEDED_POSITIVE and self.negatives >= NEEDED_NEGATIVE

    def copy(self) -> "Head":
        """An independent copy."""
        arrays = {name: getattr(self, name).copy() for name in ARRAYS}
        return Head(**arrays, positives=self.positives, negatives=self.negatives)

    def finite(self) -> bool:
        """False if any number is NaN or infinite: one of them poisons a linear model for ever."""
        return all(bool(np.isfinite(getattr(self, name)).all()) for name in ARRAYS)

    def bias(self, customers: U64) -> F64:
        """What the logit is without any column (n,), for hashes of customers (n,)."""
        slope, offset = self.calibration
        base: F64 = slope * (self.weights[-1] + self.biases[bucket(customers)]) + offset
        return base

    def contributions(self, columns: F32) -> F64:
        """What each column adds to the logit (f, n); a column without variance adds nothing."""
        scale = self.calibration[0] * self.weights[:-1] * _inverse(self.variances)
        return (columns - self.means[:, None]) * scale[:, None]

    def probability(self, columns: F32, customers: U64) -> F64:
        """Probability of an outcome within the horizon (n,) for vectors (f, n) of customers (n,), by their hash.

        Column by column so that batches can't change a bit.
        """
        total = self.bias(customers)
        for contribution in self.contributions(columns):
            total += contribution
        return _sigmoid(total)

    def learn(self, columns: F32, customers: U64, labels: Bool, weights: F64) -> F64:
        """Learn labelled vectors (f, n), and return what was said of them before (n,).

        Raises ValueError for a number that is not finite, which would poison the weights.
        """
        if not np.isfinite(columns).all():
            raise ValueError("a vector to learn from has a number that is not finite")
        place, x = bucket(customers), columns.astype(np.float64)
        before = self._logits(self._standardised(x), place)
        said = _sigmoid(self.calibration[0] * before + self.calibration[1])
        self._calibrate(before, said - labels, said, weights)
        self._take_in(x)
        z = self._standardised(x)
        p = _sigmoid(self._logits(z, place))
        residual, curvature = weights * (p - labels), weights * p * (1.0 - p)
        self.precision += np.einsum("fn,gn->fg", z * curvature, z)
        self.weights -= np.linalg.solve(self.precision, np.einsum("fn,n->f", z, residual))
        self.bias_precision += np.bincount(place, curvature, BUCKETS)
        self.biases -= np.bincount(place, residual, BUCKETS) / self.bias_precision
        self.positives += int(labels.sum())
        self.negatives += int(len(labels) - labels.sum())
        return said

    def _standardised(self, x: F64) -> F64:
        z = np.ones((len(x) + 1, x.shape[1]))
        z[:-1] = np.clip((x - self.means[:, None]) * _inverse(self.variances)[:, None], -_MOST_AWAY, _MOST_AWAY)
        return z

    def _logits(self, z: F64, place: I64) -> F64:
        logits: F64 = np.einsum("fn,f->n", z, self.weights) + self.biases[place]
        return logits

    def _calibrate(self, logits: F64, error: F64, said: F64, weights: F64) -> None:
        z = np.stack([logits, np.ones(len(logits))])
        self.calibration_precision += np.einsum("fn,gn->fg", z * (weights * said * (1.0 - said)), z)
        self.calibration -= np.linalg.solve(self.calibration_precision, np.einsum("fn,n->f", z, weights * error))

    def _take_in(self, x: F64) -> None:
        """Means and variances with these vectors; each counts once, whatever its weight."""
        have, new = self.positives + self.negatives, x.shape[1]
        mean = x.mean(axis=1)
        away = mean - self.means
        squares = self.variances * have + ((x - mean[:, None]) ** 2).sum(axis=1) + away**2 * (have * new / (have + new))
        self.means += away * (new / (have + new))
        self.variances = squares / (have + new)


ARRAYS: Final = (
    "means",
    "variances",
    "weights",
    "precision",
    "biases",
    "bias_precision",
    "calibration",
    "calibration_precision",
)
"""Names of a head's arrays, in the order in which a snapshot keeps them."""


def bucket(customers: U64) -> I64:
    """The bias that hashed customers (n,) share with others."""
    return (customers % np.uint64(BUCKETS)).astype(np.int64)


def _inverse(variances: F64) -> F64:
    known = variances > 1e-18
    return np.where(known, 1.0 / np.sqrt(np.where(known, variances, 1.0)), 0.0)


def _sigmoid(logits: F64) -> F64:
    odds: F64 = np.exp(-np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT))
    return 1.0 / (1.0 + odds)
