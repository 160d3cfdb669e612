"""How sure numbers are: resampling customers, not rows, because a customer's rows are alike."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from intents.metrics import Bools, Floats
from intents.weighed import Weighed

SEED: Final = 20_171_125
"""The resamples are the same in every run, and for every scores file of a recording."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Percentile intervals of 90 and 95 %; NaN where a number could not be said."""

    low_90: float
    high_90: float
    low_95: float
    high_95: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside of the 95 % (for differences: whether it is more than chance)."""
        return self.low_95 > 0 or self.high_95 < 0


def interval(values: Floats) -> Interval:
    """Intervals of resampled values, those left out that could not be said (NaN)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(*[float("nan")] * 4)
    return Interval(*np.percentile(known, [5, 95, 2.5, 97.5]).tolist())


def resamples(judged: Bools, count: int, seed: int) -> Iterator[Floats]:
    """`count` times: how often each customer (by number) was drawn, with replacement, as many as `judged` marks."""
    chance, chosen = np.random.default_rng(seed), np.flatnonzero(judged)
    for _ in range(count):
        drawn = chance.choice(chosen, len(chosen)) if len(chosen) else chosen
        yield np.bincount(drawn, minlength=len(judged)).astype(float)


def bootstrap(
    weighed: Mapping[str, Weighed],
    judged: Bools,
    count: int,
    seed: int = SEED,
    told: Callable[[float, int], None] = lambda share, done: None,
) -> dict[str, Floats]:
    """The numbers of each of `weighed`, named "its key: its name", in each of `count` resamples.

    All of them see the same resamples, so that their differences are paired. `told` hears the share and count done.
    """
    names = [f"{key}: {name}" for key, each in weighed.items() for name in each.names]
    values = np.empty((len(names), count))
    for number, weights in enumerate(resamples(judged, count, seed)):
        values[:, number] = np.concatenate([each.under(weights) for each in weighed.values()])
        told((number + 1) / count, number + 1)
    return dict(zip(names, values, strict=True))
