"""How well the trainer's model does on what it has not learned yet, fading so that the last days count most."""

from dataclasses import dataclass
from math import log
from typing import Final

_FADE: Final = 0.9999  # the last 10,000 pairs or so


@dataclass(slots=True)
class Progress:
    """Fading means over the pairs answered so far: outcome rate, mean probability, log loss.

    `pairs` is their number.
    """

    pairs: int = 0
    rate: float = 0.0
    mean: float = 0.0
    loss: float = 0.0

    def note(self, p: float, label: bool) -> None:
        """Note a probability that was said before its label was known."""
        self.pairs += 1
        step = max(1.0 - _FADE, 1.0 / self.pairs)
        said = min(max(p if label else 1.0 - p, 1e-12), 1.0)
        self.rate += step * (label - self.rate)
        self.mean += step * (p - self.mean)
        self.loss += step * (-log(said) - self.loss)
