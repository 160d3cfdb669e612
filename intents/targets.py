"""What alarms shall be, and which of some thresholds meets that by what is known of each."""

from typing import Final, Literal, NamedTuple

import numpy as np

from intents.metrics import Floats

GRID: Final = np.round(np.arange(1, 61) / 100, 2)
"""Thresholds that are tried, the loosest first."""
ENOUGH_ALARMS: Final = 30
"""A share of fewer alarms says nothing."""
ENOUGH_OUTCOMES: Final = 30
"""An intent with fewer has no threshold of its own; nor is F1 taken over fewer."""
KNOWN: Final = "precision=0.25 (a share), alarms=2 (per active customer and day)"


class Target(NamedTuple):
    """What alarms shall be: at least this precise, at most so many per active customer and day, or best by F1."""

    kind: Literal["precision", "alarms", "f1"]
    value: float = float("nan")

    @staticmethod
    def parse(text: str) -> "Target":
        """A target as it is written; raises ValueError for what is none, or has a value that says nothing."""
        kind, _, said = text.partition("=")
        if text == "f1":
            return Target("f1")
        value = float(said)
        if kind == "precision" and 0 < value < 1:
            return Target("precision", value)
        if kind == "alarms" and 0 < value < 1e9:
            return Target("alarms", value)
        raise ValueError(text)

    def __str__(self) -> str:
        """As it is written."""
        return self.kind if self.kind == "f1" else f"{self.kind}={self.value:g}"

    def best(self, alarms: Floats, hits: Floats, outcomes: float, customer_days: float) -> int | None:
        """Which of some choices (n,), the loosest first, meets the target; else which comes nearest.

        Each has sounded `alarms` of which `hits` were right. None where too few alarms, outcomes or customers were
        there.
        """
        if self.kind == "alarms":
            fits = alarms <= self.value * customer_days
            return None if not customer_days else int(fits.argmax() if fits.any() else alarms.argmin())
        if self.kind == "f1":
            return int((hits / (alarms + outcomes)).argmax()) if outcomes >= ENOUGH_OUTCOMES else None
        enough = alarms >= ENOUGH_ALARMS
        precision = np.where(enough, hits / np.maximum(alarms, 1), -1.0)
        fits = precision >= self.value
        return None if not enough.any() else int(fits.argmax() if fits.any() else precision.argmax())
