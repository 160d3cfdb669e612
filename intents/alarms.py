"""What alarms at each threshold have been worth of late, fading by event time, and the threshold that meets a target.

An alarm is a pair of a question and a candidate at which an intent would have been detected: what the worker's model
said of it reaches the threshold, and it is not cooling down (`intents/cooldowns.py`). It is right if the answer is yes.
A day of a customer counts once, with its first question. All halve every HALF_LIFE_MS, by the time of the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from features.log import DAY_MS, I64, U64, Bool
from intents.counts import F64
from intents.targets import ENOUGH_ALARMS, GRID, Target

HALF_LIFE_MS: Final = 2 * DAY_MS
DEFAULT: Final = 0.15
"""The threshold where no other can be chosen."""
LOWEST: Final = 0.02
"""The lowest threshold that a target may choose."""

_BITS: Final = np.arange(len(GRID), dtype=np.uint64)
_CHOSEN: Final = slice(int(np.searchsorted(GRID, LOWEST)), len(GRID))


class InForce(NamedTuple):
    """The probability from which intents are detected, and where it comes from, in words."""

    value: float
    why: str


@dataclass(slots=True, eq=False)
class Curve:
    """Fading sums: `alarms` and `hits`, those that were right, of each threshold of GRID, and days of customers.

    `clock` is the time of the newest question (-1: what is here is of no time, and fades from the next one on).
    """

    clock: int = -1
    alarms: F64 = field(default_factory=lambda: np.zeros(len(GRID)))
    hits: F64 = field(default_factory=lambda: np.zeros(len(GRID)))
    customer_days: float = 0.0

    def note(self, times: I64, first: Bool, weights: F64, alarms: Sequence[U64], labels: Sequence[Bool]) -> None:
        """Note answered questions (q,): when they were asked, and which are the first of a customer's day.

        By candidate, question after question: `alarms`, with bit k where one sounds at GRID[k], and the answers.
        """
        before, self.clock = self.clock, max(self.clock, int(times.max()))
        kept = float(np.exp2((before - self.clock) / HALF_LIFE_MS)) if before >= 0 else 1.0
        counts = weights * np.exp2((times - self.clock) / HALF_LIFE_MS)
        sounding = np.concatenate(alarms)[:, None] >> _BITS & np.uint64(1) > 0
        pairs = np.repeat(counts, [len(each) for each in alarms])[:, None] * sounding
        self.alarms = self.alarms * kept + pairs.sum(axis=0)
        self.hits = self.hits * kept + pairs[np.concatenate(labels)].sum(axis=0)
        self.customer_days = self.customer_days * kept + float(counts[first].sum())

    def threshold(self, target: Target) -> InForce:
        """The loosest threshold that meets the target by these sums, else the one that comes nearest."""
        alarms, hits = self.alarms[_CHOSEN], self.hits[_CHOSEN]
        place = None
        if alarms[0] >= ENOUGH_ALARMS:  # else hardly anything fits any number of alarms
            place = target.best(alarms, hits, 0.0, self.customer_days)
        if place is None:
            return InForce(DEFAULT, f"until more alarms have been judged, for {target}")
        of = f"{alarms[place]:,.0f} fading alarms"
        if target.kind == "alarms":
            found, met = alarms[place] / self.customer_days, alarms[place] <= target.value * self.customer_days
            told = f"{found:.2f} alarms per active customer and day, of {of}"
        else:
            found, met = hits[place] / max(alarms[place], 1.0), hits[place] >= target.value * alarms[place]
            told = f"{found:.0%} of {of} were right"
        return InForce(float(GRID[_CHOSEN][place]), f"{'for' if met else 'the nearest to'} {target}: {told}")

    def undated(self) -> "Curve":
        """A copy for a new beginning, at whatever time that is."""
        return Curve(-1, self.alarms.copy(), self.hits.copy(), self.customer_days)

    def copy(self) -> "Curve":
        """An independent copy."""
        return Curve(self.clock, self.alarms.copy(), self.hits.copy(), self.customer_days)
