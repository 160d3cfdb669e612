"""Feature declarations, and bundles: named, versioned lists of them that turn a view of logs into feature vectors.

A feature is declared once: name, aggregate, what it is over (the customer, or the pair of customer and subject), of
which kinds of events, in which window, and how the number is squashed. A bundle's hash travels with every model and
example.
"""

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.aggregates import Aggregate, Aggregates
from features.log import I64
from features.rows import F64

F32 = npt.NDArray[np.float32]

Then = Literal["none", "log1p", "log", "decay", "inverse", "flag", "single"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A declared feature.

    (numerator + add_top) / (denominator + add_bottom), squashed by `then`, kept for the latest subject only if
    `latest`. `decay` is exp(-x / scale), `inverse` 1 / (1 + x), `flag` 1 if x > 0, `single` 1 if x <= 1. `words` says a
    count to people: {n} is the number, {s} its plural s. `group` is what an ablation takes out at once.
    """

    name: str
    of: Aggregate
    then: Then = "none"
    scale: float = 1.0
    per: Aggregate | None = None
    add_top: float = 0.0
    add_bottom: float = 0.0
    latest: bool = False
    group: str = ""
    words: str = ""


@dataclass(frozen=True)
class Bundle:
    """A named, versioned list of features; `hash` (4 bytes, hex) changes with any declaration."""

    name: str
    features: tuple[Feature, ...]
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        digest = blake2b(repr((self.name, self.features)).encode(), digest_size=4).hexdigest()
        object.__setattr__(self, "hash", digest)

    @cached_property
    def leading(self) -> int:
        """How many features, the first ones, are of the group `choice`: nothing else reads them."""
        return sum(feature.group == "choice" for feature in self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    def vectors(self, aggregates: Aggregates, ask: I64) -> F32:
        """Feature vectors (features, c) of the aggregates' chosen pairs, which are of the asks `ask` (c,)."""
        out = np.empty((len(self.features), len(ask)), dtype=np.float32)
        latest = aggregates[Aggregate("pair", "rank")] == 0
        for column, feature in enumerate(self.features):
            value = _value(aggregates, feature.of, ask) + feature.add_top
            if feature.per is not None:
                bottom = _value(aggregates, feature.per, ask) + feature.add_bottom
                value = np.divide(value, bottom, out=np.zeros_like(value), where=bottom > 0)
            value = _squash(value, feature)
            out[column] = np.where(latest, value, 0.0) if feature.latest else value
        return out


def _value(aggregates: Aggregates, aggregate: Aggregate, ask: I64) -> F64:
    return aggregates[aggregate] if aggregate.over == "pair" else aggregates[aggregate][ask]


def _squash(value: F64, feature: Feature) -> F64:
    if feature.then == "log1p":
        return np.log1p(value / feature.scale)
    if feature.then == "log":
        return np.log(value)
    if feature.then == "decay":
        return np.exp(-value / feature.scale)
    if feature.then == "inverse":
        return 1.0 / (1.0 + value)
    if feature.then == "flag":
        return (value > 0).astype(np.float64)
    if feature.then == "single":
        return (value <= 1).astype(np.float64)
    return value
