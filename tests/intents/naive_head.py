"""A regression learned by natural gradient again, slow and obvious: loops over pairs and columns, explicit matrices.

It judges intents/head.py, whose module docstring says the three steps; the matrices are dense, and every pair is
remembered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Vector = Sequence[float]


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-logit), no surer than 30 away from even."""
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


@dataclass
class NaiveRegression:
    """One regression over `features` columns; `seen` are all vectors that it has learned from."""

    features: int
    intercept: float
    prior: float = 200.0
    calibration_prior: float = 50.0
    seen: list[Vector] = field(default_factory=list)
    positives: int = 0

    def __post_init__(self) -> None:
        wide = self.features + 1
        self.weights = [0.0] * self.features + [self.intercept]
        self.precision = [[self.prior * (i == j) for j in range(wide)] for i in range(wide)]
        self.slope, self.offset = 1.0, 0.0
        self.calibration = [[self.calibration_prior * (i == j) for j in range(2)] for i in range(2)]

    def spread(self, column: int) -> tuple[float, float]:
        """Mean and deviation of a column over all vectors seen."""
        values = [vector[column] for vector in self.seen]
        mean = math.fsum(values) / len(values) if values else 0.0
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values) if values else 0.0
        return mean, math.sqrt(variance)

    def standardised(self, vector: Vector, most: float) -> list[float]:
        """The vector as deviations from the means, at most `most` of them, 0 where there is no spread; then a 1."""
        found = []
        for column, value in enumerate(vector):
            mean, deviation = self.spread(column)
            found.append(min(max((value - mean) / deviation, -most), most) if deviation > 1e-9 else 0.0)
        return [*found, 1.0]

    def logit(self, vector: Vector, most: float = math.inf) -> float:
        """Before calibration."""
        return sum(w * z for w, z in zip(self.weights, self.standardised(vector, most), strict=True))

    def probability(self, vector: Vector) -> float:
        """Its word on a vector."""
        return sigmoid(self.slope * self.logit(vector) + self.offset)

    def learn(self, vectors: Sequence[Vector], labels: Sequence[bool], weights: Sequence[float]) -> list[float]:
        """Some pairs at once; what was said of them before."""
        logits = [self.logit(vector, 100.0) for vector in vectors]
        said = [sigmoid(self.slope * logit + self.offset) for logit in logits]
        rows = [[logit, 1.0] for logit in logits]
        step = newton(self.calibration, rows, said, labels, weights)
        self.slope, self.offset = self.slope - step[0], self.offset - step[1]
        self.seen += vectors
        self.positives += sum(labels)
        rows = [self.standardised(vector, 100.0) for vector in vectors]
        now = [sigmoid(sum(w * z for w, z in zip(self.weights, row, strict=True))) for row in rows]
        step = newton(self.precision, rows, now, labels, weights)
        self.weights = [weight - moved for weight, moved in zip(self.weights, step, strict=True)]
        return said


def newton(
    matrix: list[list[float]],
    rows: Sequence[Sequence[float]],
    said: Sequence[float],
    labels: Sequence[bool],
    weights: Sequence[float],
) -> list[float]:
    """Add the pairs' curvature to `matrix` and return the step that it gives, A⁻¹ Z'r."""
    size = len(matrix)
    gradient = [0.0] * size
    for row, p, label, weight in zip(rows, said, labels, weights, strict=True):
        for i in range(size):
            gradient[i] += weight * (p - label) * row[i]
            for j in range(size):
                matrix[i][j] += weight * p * (1 - p) * row[i] * row[j]
    step: list[float] = (np.linalg.inv(np.array(matrix)) @ np.array(gradient)).tolist()
    return step
