"""A choice learned again, slow and obvious: one list at a time, one number at a time, explicit matrices.

It judges intents/choice.py, whose module docstring has the formula.
"""

import math
from collections.abc import Sequence

import numpy as np

Vector = Sequence[float]


class NaiveChoice:
    """A conditional logit over lists of candidates; `squares` are each list's mean squares about its mean, summed."""

    def __init__(self, columns: int) -> None:
        """By the first column alone."""
        self.weights = [1.0] + [0.0] * (columns - 1)
        self.precision = [[10.0 * (i == j) for j in range(columns)] for i in range(columns)]
        self.squares = [0.0] * columns
        self.lists = 0

    def spread(self) -> list[float]:
        """σ of each column within lists, as ten lists of spread 1 before the first would have it."""
        return [math.sqrt((square + 10) / (self.lists + 10)) for square in self.squares]

    def score(self, candidate: Vector) -> float:
        """What puts one candidate before another."""
        return sum(w * x / s for w, x, s in zip(self.weights, candidate, self.spread(), strict=True))

    def shares(self, candidates: Sequence[Vector]) -> list[float]:
        """Which is chosen: a softmax."""
        scores = [self.score(candidate) for candidate in candidates]
        weights = [math.exp(score - max(scores)) for score in scores]
        return [weight / sum(weights) for weight in weights]

    def learn(self, candidates: Sequence[Vector], chosen: int) -> None:
        """One list."""
        if len(candidates) < 2:
            return
        wide, spread, q = range(len(self.weights)), self.spread(), self.shares(candidates)
        middle = [math.fsum(candidate[i] for candidate in candidates) / len(candidates) for i in wide]
        z = [[(candidate[i] - middle[i]) / spread[i] for i in wide] for candidate in candidates]
        mean = [math.fsum(share * row[i] for share, row in zip(q, z, strict=True)) for i in wide]
        for share, row in zip(q, z, strict=True):
            for i in wide:
                for j in wide:
                    self.precision[i][j] += share * (row[i] - mean[i]) * (row[j] - mean[j])
        gradient = [mean[i] - z[chosen][i] for i in wide]
        step = np.linalg.inv(np.array(self.precision)) @ np.array(gradient)
        self.weights = [weight - moved for weight, moved in zip(self.weights, step.tolist(), strict=True)]
        for i in wide:
            self.squares[i] += math.fsum((candidate[i] - middle[i]) ** 2 for candidate in candidates) / len(candidates)
        self.lists += 1
