"""How good what the workers' models said was, beside their fallback: fading by event time, and whether the model loses.

A pair's loss is −log of the probability that was given to its answer. Two things are kept of the pairs answered so far:

1. What people look at: sums and a histogram of p in which a pair counts half HALF_LIFE_MS of event time later.
2. A duel: how far the model's losses are above the fallback's, summed, halved every DUEL_HALF_LIFE_MS. A model that is
   behind for LOSING_MS without a break, over NEEDED pairs at least, is losing from then on, until it is ahead for as
   long. The sum begins anew at each change, so that the past does not decide what comes next.

Event time is that of the newest pair, so late ones count as what they are: older.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import DAY_MS, I64, Bool
from intents.counts import F64
from intents.weighed import Detection

_log = logging.getLogger(__name__)

HALF_LIFE_MS: Final = DAY_MS
DUEL_HALF_LIFE_MS: Final = 6 * 3_600_000
LOSING_MS: Final = 6 * 3_600_000
NEEDED: Final = 1_000
"""Pairs over which a model must be behind, or ahead again: a quiet night decides nothing."""

LOSES: Final = "loses to its fallback, which is served"
WINS: Final = "wins again, and is served again"
"""What is said of a model when it begins or ceases to lose."""

TOTALS: Final = 5
"""Sums over pairs: of 1, outcomes, p, the model's losses, the fallback's."""
BINS: Final = 400
_BIN: Final = 0.05  # a bin's width on the logit scale; the first and the last one take all that is beyond
_SURE: Final = 1e-7  # what float32 can tell from 0 and 1: being sure and wrong costs much, not everything
_JUDGE: Final = Detection(
    np.arange(2 * BINS), np.repeat([False, True], BINS), np.tile(np.arange(BINS) / BINS, 2), 2 * BINS, calibrated=False
)


@dataclass(slots=True, eq=False)
class Progress:
    """Fading sums, and the duel.

    `clock` is the time of the newest pair (-1: none); `totals` (TOTALS,); `bins` (2, BINS) pairs without and with an
    outcome by logit of p; `behind` the duel's sum; `losing`; the model is on the other side of that since `since`
    (-1: it is not), for `streak` pairs.
    """

    clock: int = -1
    totals: F64 = field(default_factory=lambda: np.zeros(TOTALS))
    bins: F64 = field(default_factory=lambda: np.zeros((2, BINS)))
    behind: float = 0.0
    losing: bool = False
    since: int = -1
    streak: int = 0

    def note(self, times: I64, said: F32, fallback: F64, labels: Bool, weights: F64) -> bool:
        """Note answered pairs (n,): when they were asked, what the model and its fallback said, and the answers.

        Pairs of which the model said nothing (NaN) do not count. True if this changed who is losing.
        """
        told = np.isfinite(said)
        if not told.any():
            return False
        times, labels, weights = times[told], labels[told], weights[told]
        p, other = (np.clip(each[told].astype(np.float64), _SURE, 1.0 - _SURE) for each in (said, fallback))
        loss, beside = _losses(p, labels), _losses(other, labels)
        before, self.clock = self.clock, max(self.clock, int(times.max()))
        count = weights * _left(self.clock - times, HALF_LIFE_MS)
        kept = float(_left(self.clock - before, HALF_LIFE_MS))
        self.totals = self.totals * kept + (count * np.stack([np.ones(len(p)), labels, p, loss, beside])).sum(axis=1)
        place = np.clip(np.log(p / (1.0 - p)) / _BIN + BINS / 2, 0, BINS - 1).astype(np.int64) + BINS * labels
        self.bins = self.bins * kept + np.bincount(place, count, 2 * BINS).reshape(2, BINS)
        count = weights * _left(self.clock - times, DUEL_HALF_LIFE_MS)
        kept = float(_left(self.clock - before, DUEL_HALF_LIFE_MS))
        self.behind = self.behind * kept + float((count * (loss - beside)).sum())
        return self._duel(len(p))

    def _duel(self, pairs: int) -> bool:
        if not (self.behind < 0.0 if self.losing else self.behind > 0.0):
            self.since, self.streak = -1, 0
            return False
        self.since = self.clock if self.since < 0 else self.since
        self.streak += pairs
        if self.clock - self.since < LOSING_MS or self.streak < NEEDED:
            return False
        self.losing, self.behind, self.since, self.streak = not self.losing, 0.0, -1, 0
        return True

    def copy(self) -> "Progress":
        """An independent copy."""
        return Progress(
            self.clock, self.totals.copy(), self.bins.copy(), self.behind, self.losing, self.since, self.streak
        )

    @property
    def pairs(self) -> float:
        """How many pairs the means are of, faded."""
        return float(self.totals[0])

    @property
    def rate(self) -> float:
        """Share of pairs with an outcome; like all means, NaN without pairs."""
        return self._mean(1)

    @property
    def mean(self) -> float:
        """Mean p."""
        return self._mean(2)

    @property
    def loss(self) -> float:
        """Mean log loss of the model."""
        return self._mean(3)

    @property
    def fallback_loss(self) -> float:
        """Mean log loss of its fallback on the same pairs."""
        return self._mean(4)

    def discrimination(self) -> tuple[float, float]:
        """AUC and average precision, to the width of a bin; NaN without both kinds of answers."""
        _, area, precision, _ = _JUDGE.under(self.bins.ravel()).tolist()
        return area, precision if np.isfinite(area) else float("nan")

    def _mean(self, of: int) -> float:
        return float(self.totals[of] / self.totals[0]) if self.totals[0] else float("nan")

    def tell(self, version: str) -> None:
        """Say in the log that the model, last heard of in this version, began or ceased to lose."""
        at = np.datetime64(self.clock // 1000, "s")  # a year that Python has no date for is none for it either
        change = LOSES if self.losing else WINS
        _log.warning("at %s UTC of event time the model, last of version %s, %s: %s", at, version, change, self)

    def __str__(self) -> str:
        """For the log."""
        area, precision = self.discrimination()
        return (
            f"log loss {self.loss:.4f}, its fallback's {self.fallback_loss:.4f}, AUC {area:.3f}, average precision "
            f"{precision:.3f}, mean p {self.mean:.4f}, outcomes {self.rate:.4f}, of {self.pairs:,.0f} fading pairs"
        )


def _left(age_ms: I64 | int, half_life_ms: int) -> F64:
    """What is left of what is so old."""
    left: F64 = np.exp2(-np.asarray(age_ms, dtype=np.float64) / half_life_ms)
    return left


def _losses(p: F64, labels: Bool) -> F64:
    losses: F64 = -np.log(np.where(labels, p, 1.0 - p))
    return losses
