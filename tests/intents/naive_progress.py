"""How good what was said was, slow and obvious: every pair that was ever answered, in a list.

It judges intents/progress.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DAY = 24 * 3_600_000
SIX_HOURS = 6 * 3_600_000


class Pair(NamedTuple):
    """A pair that was answered: when it was asked, what the model and its fallback said, the answer, what it counts."""

    time: int
    said: float
    fallback: float
    label: bool
    weight: float


@dataclass
class NaiveProgress:
    """All pairs of which the model said something, those since the last change, and who is losing."""

    pairs: list[Pair] = field(default_factory=list)
    since_change: list[Pair] = field(default_factory=list)
    losing: bool = False
    other_side: list[tuple[int, int]] = field(default_factory=list)  # (clock, pairs) of each step without a break

    @property
    def clock(self) -> int:
        """Time of the newest pair."""
        return max((pair.time for pair in self.pairs), default=-1)

    def note(self, pairs: Sequence[Pair]) -> bool:
        """Some more pairs, answered together: whether that changed who loses."""
        told = [pair for pair in pairs if not math.isnan(pair.said)]
        if not told:
            return False
        self.pairs += told
        self.since_change += told
        behind = sum(
            self._count(pair, SIX_HOURS) * (loss(pair.said, pair.label) - loss(pair.fallback, pair.label))
            for pair in self.since_change
        )
        if not (behind < 0 if self.losing else behind > 0):
            self.other_side = []
            return False
        self.other_side.append((self.clock, len(told)))
        long = self.clock - self.other_side[0][0] >= SIX_HOURS
        if not long or sum(count for _, count in self.other_side) < 1_000:
            return False
        self.losing, self.since_change, self.other_side = not self.losing, [], []
        return True

    def _count(self, pair: Pair, half_life: int) -> float:
        return pair.weight * math.pow(0.5, (self.clock - pair.time) / half_life)

    def means(self) -> list[float]:
        """How many pairs these are of, faded: share of outcomes, mean p, loss, the fallback's loss."""
        counts = [self._count(pair, DAY) for pair in self.pairs]
        of = [
            (float(pair.label), pair.said, loss(pair.said, pair.label), loss(pair.fallback, pair.label))
            for pair in self.pairs
        ]
        columns = list(zip(*of, strict=True))
        return [
            sum(counts),
            *(sum(n * x for n, x in zip(counts, column, strict=True)) / sum(counts) for column in columns),
        ]

    def discrimination(self) -> tuple[float, float]:
        """AUC over couples of pairs, and precision averaged over pairs with an outcome, exactly."""
        counted = [(pair.said, pair.label, self._count(pair, DAY)) for pair in self.pairs]
        yes, no = ([(p, n) for p, label, n in counted if label is which] for which in (True, False))
        won = sum(n * m * ((p > q) + 0.5 * (p == q)) for p, n in yes for q, m in no)
        precisions = []
        for p, n in yes:
            reached = sum(m for q, _, m in counted if q >= p)
            precisions.append(n * sum(m for q, m in yes if q >= p) / reached)
        positives, negatives = (sum(n for _, n in kind) for kind in (yes, no))
        return won / positives / negatives, sum(precisions) / positives


def loss(p: float, label: bool) -> float:
    """−log of the probability that was given to the answer; nobody is surer than float32 can tell."""
    p = min(max(p, 1e-7), 1 - 1e-7)
    return -math.log(p if label else 1 - p)
