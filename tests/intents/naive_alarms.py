"""Alarms again, slow and obvious: every threshold by itself, pair by pair, from all that was ever asked and came.

It judges intents/cooldowns.py and intents/alarms.py.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

THRESHOLDS = [step / 100 for step in range(1, 61)]


class Answered(NamedTuple):
    """A question whose answers are known: by candidate the thresholds at which it sounds, and whether it was right."""

    time: int
    first: bool
    weight: float
    candidates: list[tuple[list[float], bool]]


@dataclass
class NaiveCoolDowns:
    """The last alarm of each (source, customer, subject, threshold), until an outcome ends it."""

    horizon: int
    last: dict[tuple[str, int, int, float], int] = field(default_factory=dict)

    def ask(self, source: str, customer: int, time: int, said: dict[int, float]) -> dict[int, list[float]]:
        """By subject, at which thresholds it sounds."""
        sounding: dict[int, list[float]] = {}
        for subject, p in said.items():
            sounding[subject] = []
            for threshold in THRESHOLDS:
                key = source, customer, subject, threshold
                if round(p, 4) >= threshold and (key not in self.last or time > self.last[key] + self.horizon):
                    self.last[key] = time
                    sounding[subject].append(threshold)
        return sounding

    def outcome(self, source: str, customer: int, subject: int, time: int) -> None:
        """What came after an alarm ends its cool-down."""
        for threshold in THRESHOLDS:
            key = source, customer, subject, threshold
            if key in self.last and self.last[key] < time:
                del self.last[key]


def curve(answered: list[Answered], half_life: int) -> tuple[list[float], list[float], float]:
    """Alarms and right ones of each threshold, and days of customers, as they count at the newest question."""
    now = max(question.time for question in answered)
    alarms, hits, days = [0.0] * len(THRESHOLDS), [0.0] * len(THRESHOLDS), 0.0
    for question in answered:
        left = question.weight * 0.5 ** ((now - question.time) / half_life)
        days += left * question.first
        for sounding, right in question.candidates:
            for threshold in sounding:
                alarms[THRESHOLDS.index(threshold)] += left
                hits[THRESHOLDS.index(threshold)] += left * right
    return alarms, hits, days
