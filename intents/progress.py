"""How well the trainer's model does on what it has not learned yet, fading so that the last days count most."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.log import Bool
from intents.counts import F64

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

    def note(self, p: F64, labels: Bool) -> None:
        """Note probabilities (n,) that were said before their labels (n,) were known."""
        steps = np.maximum(1.0 - _FADE, 1.0 / (self.pairs + 1 + np.arange(len(p))))
        stays = np.cumprod((1.0 - steps)[::-1])[::-1]  # what is left of the mean before each pair, after all of them
        share = steps * np.append(stays[1:], 1.0)
        said = np.clip(np.where(labels, p, 1.0 - p), 1e-12, 1.0)
        left = float(stays[0]) if len(p) else 1.0
        self.rate = left * self.rate + float((share * labels).sum())
        self.mean = left * self.mean + float((share * p).sum())
        self.loss = left * self.loss - float((share * np.log(said)).sum())
        self.pairs += len(p)
