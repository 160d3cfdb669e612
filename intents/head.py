"""One head of a model: logistic regressions learned by natural gradient, with a calibration step.

All numbers of a regression are arrays; learning takes some labelled pairs at once:

1. The calibration σ(a·z + b) takes a Newton step on the logits z as they were before these pairs are learned.
2. Means and variances of the columns take the pairs in (Chan, Golub, LeVeque 1983), and the columns are standardised.
3. A += Z'HZ, w −= A⁻¹ Z'r, with H = w p(1 − p) and r = w (p − y): a Newton step on a quadratic memory of all pairs
   so far (Amari 1998; for a logistic model Fisher's information is the Hessian). A begins as PRIOR on the diagonal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import I64, Bool
from features.pairs import NEVER_RANK
from intents.counts import F64

PRIOR: Final = 200.0
"""Precision that a weight begins with, in units of Z'HZ, unless a head is given another."""
CALIBRATION_PRIOR: Final = 50.0
UNMOVED: Final = 1e12
"""A prior of a calibration that stays what it is."""
NEEDED_POSITIVE: Final = 50
NEEDED_NEGATIVE: Final = 500
"""Labels that a head must have learned from before it is believed."""
_MOST_LOGIT: Final = 30.0
_FEW: Final = 2_000  # vectors whose terms are quicker in one array: they still fit into the cache of the CPU
_MOST_AWAY: Final = 100.0  # deviations from the mean that are learned: what is further away must not drown all else


@dataclass(slots=True)
class Regression:
    """The numbers of one logistic regression over f columns: all it takes to score, and to go on learning.

    `means`, `variances` (f,); `weights` (f + 1,), the intercept last; `precision` (f + 1, f + 1); `calibration` (2,)
    slope and offset; `calibration_precision` (2, 2).
    """

    means: F64
    variances: F64
    weights: F64
    precision: F64
    calibration: F64
    calibration_precision: F64
    positives: int = 0
    negatives: int = 0

    @staticmethod
    def empty(
        features: int, intercept: float, prior: float = PRIOR, calibration_prior: float = CALIBRATION_PRIOR
    ) -> "Regression":
        """A regression that has learned nothing."""
        weights = np.zeros(features + 1)
        weights[-1] = intercept
        return Regression(
            np.zeros(features),
            np.zeros(features),
            weights,
            prior * np.eye(features + 1),
            np.array([1.0, 0.0]),
            calibration_prior * np.eye(2),
        )

    def copy(self) -> "Regression":
        """An independent copy."""
        arrays = {name: getattr(self, name).copy() for name in ARRAYS}
        return Regression(**arrays, positives=self.positives, negatives=self.negatives)

    @property
    def base(self) -> float:
        """The logit without any column."""
        return float(self.calibration[0] * self.weights[-1] + self.calibration[1])

    @property
    def _scale(self) -> F64:
        """What a column's distance from its mean adds to the logit (f,); one without variance adds nothing."""
        scale: F64 = self.calibration[0] * self.weights[:-1] * _inverse(self.variances)
        return scale

    def contributions(self, columns: F32) -> F64:
        """What each column adds to the logit (f, n)."""
        adds: F64 = (columns - self.means[:, None]) * self._scale[:, None]
        return adds

    def probability(self, columns: F32) -> F64:
        """Probability of an outcome within the horizon (n,) for vectors (f, n).

        Column after column, so that batches cannot change a bit: many vectors in place, so that they stay in the CPU's
        cache, few in three calls. One alone would be summed in pairs.
        """
        count = columns.shape[1]
        if 1 < count <= _FEW:
            terms = np.empty((len(columns) + 1, count))
            terms[0] = self.base
            np.subtract(columns, self.means[:, None], out=terms[1:])
            terms[1:] *= self._scale[:, None]
            return _sigmoid(np.add.reduce(terms, axis=0))
        total, adds = np.full(count, self.base), np.empty(count)
        for column, mean, scale in zip(columns, self.means, self._scale, strict=True):
            np.subtract(column, mean, out=adds)
            adds *= scale
            total += adds
        return _sigmoid(total)

    def learn(self, columns: F32, labels: Bool, weights: F64) -> F64:
        """Learn labelled vectors (f, n), at least one, and return what was said of them before (n,).

        Raises ValueError for a number that is not finite, which would poison the weights.
        """
        if not np.isfinite(columns).all():
            raise ValueError("a vector to learn from has a number that is not finite")
        x = columns.astype(np.float64)
        before = np.einsum("fn,f->n", self._standardised(x), self.weights)
        said = _sigmoid(self.calibration[0] * before + self.calibration[1])
        self._calibrate(before, said, labels, weights)
        self._take_in(x)
        z = self._standardised(x)
        p = _sigmoid(np.einsum("fn,f->n", z, self.weights))
        added = np.einsum("fn,gn->fg", z * (weights * p * (1.0 - p)), z)
        self.precision += (added + added.T) / 2.0  # symmetric to the last bit, by which a snapshot knows a sound one
        self.weights -= np.linalg.solve(self.precision, np.einsum("fn,n->f", z, weights * (p - labels)))
        self.positives += int(labels.sum())
        self.negatives += int(len(labels) - labels.sum())
        return said

    def _standardised(self, x: F64) -> F64:
        z = np.ones((len(x) + 1, x.shape[1]))
        z[:-1] = np.clip((x - self.means[:, None]) * _inverse(self.variances)[:, None], -_MOST_AWAY, _MOST_AWAY)
        return z

    def _calibrate(self, logits: F64, said: F64, labels: Bool, weights: F64) -> None:
        z = np.stack([logits, np.ones(len(logits))])
        self.calibration_precision += np.einsum("fn,gn->fg", z * (weights * said * (1.0 - said)), z)
        gradient = np.einsum("fn,n->f", z, weights * (said - labels))
        self.calibration -= np.linalg.solve(self.calibration_precision, gradient)

    def _take_in(self, x: F64) -> None:
        """Means and variances with these vectors; each counts once, whatever its weight."""
        have, new = self.positives + self.negatives, x.shape[1]
        mean = x.mean(axis=1)
        away = mean - self.means
        squares = self.variances * have + ((x - mean[:, None]) ** 2).sum(axis=1) + away**2 * (have * new / (have + new))
        self.means += away * (new / (have + new))
        self.variances = squares / (have + new)


ARRAYS: Final = ("means", "variances", "weights", "precision", "calibration", "calibration_precision")
"""Names of a regression's arrays, in the order in which a snapshot keeps them."""


@dataclass(slots=True)
class Head:
    """Two regressions over the same columns: one of pairs whose subject was touched, one of those foreseen.

    What is foreseen is rare and has nothing in the log: learned together, each would bend the other's weights.
    """

    touched: Regression
    foreseen: Regression

    @staticmethod
    def empty(
        features: int, intercept: float, prior: float = PRIOR, calibration_prior: float = CALIBRATION_PRIOR
    ) -> "Head":
        """A head that has learned nothing."""
        touched, foreseen = (Regression.empty(features, intercept, prior, calibration_prior) for _ in range(2))
        return Head(touched, foreseen)

    @property
    def positives(self) -> int:
        """Positive labels learned."""
        return self.touched.positives + self.foreseen.positives

    @property
    def negatives(self) -> int:
        """Negative labels learned."""
        return self.touched.negatives + self.foreseen.negatives

    @property
    def ready(self) -> bool:
        """True once enough labels of both kinds were learned."""
        return self.positives >= NEEDED_POSITIVE and self.negatives >= NEEDED_NEGATIVE

    def copy(self) -> "Head":
        """An independent copy."""
        return Head(self.touched.copy(), self.foreseen.copy())

    def of(self, rank: int) -> Regression:
        """The regression for a subject of this recency rank."""
        return self.foreseen if rank >= NEVER_RANK else self.touched

    def contributions(self, columns: F32, ranks: I64) -> F64:
        """What each column adds to the logit (f, n), of subjects of recency `ranks` (n,)."""
        return np.where(ranks >= NEVER_RANK, self.foreseen.contributions(columns), self.touched.contributions(columns))

    def probability(self, columns: F32, ranks: I64) -> F64:
        """Probability of an outcome within the horizon (n,) for vectors (f, n) of subjects of recency `ranks` (n,)."""
        p, foreseen = np.empty(columns.shape[1]), ranks >= NEVER_RANK
        for regression, mine in ((self.touched, ~foreseen), (self.foreseen, foreseen)):
            p[mine] = regression.probability(columns[:, mine])
        return p

    def learn(self, columns: F32, ranks: I64, labels: Bool, weights: F64) -> F64:
        """Learn labelled vectors (f, n), and return what was said of them before (n,). Raises as Regression.learn."""
        said, foreseen = np.empty(columns.shape[1]), ranks >= NEVER_RANK
        for regression, mine in ((self.touched, ~foreseen), (self.foreseen, foreseen)):
            if mine.any():
                said[mine] = regression.learn(columns[:, mine], labels[mine], weights[mine])
        return said


def _inverse(variances: F64) -> F64:
    known = variances > 1e-18
    return np.where(known, 1.0 / np.sqrt(np.where(known, variances, 1.0)), 0.0)


def _sigmoid(logits: F64) -> F64:
    odds: F64 = np.exp(-np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT))
    return 1.0 / (1.0 + odds)
