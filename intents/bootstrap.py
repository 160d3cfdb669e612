"""How sure numbers are: resampling customers, not rows, because a customer's rows are alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import numpy as np

from intents.metrics import Bools, Floats
from intents.weighed import Weighed

SEED: Final = 20_171_125
"""The resamples are the same in every run, and for every scores file of a recording."""

Number = tuple[str, str]
"""(task, what): which number of a Measured."""


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


class Measured(NamedTuple):
    """A named thing: its counts, and its numbers by task, each a function of how much every customer counts."""

    name: str
    counts: Mapping[str, int]
    weighed: Mapping[str, Weighed]

    def numbers(self, weights: Floats) -> dict[Number, float]:
        """The numbers under these weights; ones for what was measured."""
        return {
            (task, name): value
            for task, each in self.weighed.items()
            for name, value in zip(each.names, each.under(weights).tolist(), strict=True)
        }

    def to_dict(self, judged: Bools, intervals: Mapping[Number, Interval] | None = None) -> dict[str, object]:
        """Name, counts, numbers by task and, where there are any, `intervals` by task; plain values."""
        said = nested(self.numbers(judged.astype(float)))
        told: dict[str, object] = {"name": self.name, **self.counts, **said}
        if intervals is not None:
            told["intervals"] = nested({number: asdict(each) for number, each in intervals.items()})
        return told


def nested(values: Mapping[Number, object]) -> dict[str, dict[str, object]]:
    """Values by task, then by name."""
    found: dict[str, dict[str, object]] = {}
    for (task, name), value in values.items():
        found.setdefault(task, {})[name] = value
    return found


def no_one(share: float, count: int) -> None:
    """Hears how far work has come, and does nothing."""


def interval(values: Floats) -> Interval:
    """Intervals of resampled values, those left out that could not be said (NaN)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(*[float("nan")] * 4)
    low_90, high_90, low_95, high_95 = np.percentile(known, [5, 95, 2.5, 97.5]).tolist()
    return Interval(low_90, high_90, low_95, high_95)


def resamples(judged: Bools, count: int, seed: int) -> Iterator[Floats]:
    """`count` times: how often each customer (by number) was drawn, with replacement, as many as `judged` marks."""
    chance, chosen = np.random.default_rng(seed), np.flatnonzero(judged)
    for _ in range(count):
        drawn = chance.choice(chosen, len(chosen)) if len(chosen) else chosen
        yield np.bincount(drawn, minlength=len(judged)).astype(float)


def bootstrap(
    measured: Sequence[Measured],
    judged: Bools,
    count: int,
    seed: int = SEED,
    told: Callable[[float, int], None] = no_one,
) -> list[dict[Number, Floats]]:
    """The numbers of each of `measured` in `count` resamples of the `judged` customers.

    All of them see the same resamples, so that their differences are paired. `told` hears the share and count done.
    """
    values: list[list[dict[Number, float]]] = []
    for number, weights in enumerate(resamples(judged, count, seed), 1):
        values.append([each.numbers(weights) for each in measured])
        told(number / count, number)
    return [
        {number: np.array([drawn[place][number] for drawn in values]) for number in drawn_once}
        for place, drawn_once in enumerate(values[0] if values else [])
    ]


def intervals(values: Mapping[Number, Floats]) -> dict[Number, Interval]:
    """Intervals of each number."""
    return {number: interval(each) for number, each in values.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of one scores file less that of another, over the same resamples of customers."""

    one: float
    other: float
    difference: float
    interval: Interval

    @property
    def beyond_chance(self) -> bool:
        """Whether the 95 % interval of the difference excludes 0."""
        return self.interval.excludes_zero

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self) | {"excludes_0": self.beyond_chance}


def differences(
    measured: tuple[Measured, Measured], drawn: tuple[Mapping[Number, Floats], Mapping[Number, Floats]], judged: Bools
) -> dict[Number, Difference]:
    """Compare what both of `measured` have, with what each of them `drawn` in the same resamples."""
    ones = judged.astype(float)
    mine, theirs = (each.numbers(ones) for each in measured)
    return {
        number: Difference(
            mine[number], theirs[number], mine[number] - theirs[number], interval(drawn[0][number] - drawn[1][number])
        )
        for number in mine
        if number in theirs
    }


class Compared(NamedTuple):
    """Something measured, its numbers, their intervals, and how they differ from those of the first (its own: by 0)."""

    measured: Measured
    numbers: dict[Number, float]
    intervals: dict[Number, Interval]
    differences: dict[Number, Difference]

    def to_dict(self) -> dict[str, object]:
        """Name, counts, numbers by task, `intervals` and `less_the_first`; plain values."""
        return {
            "name": self.measured.name,
            **self.measured.counts,
            **nested(self.numbers),
            "intervals": nested({number: asdict(each) for number, each in self.intervals.items()}),
            "less_the_first": nested({number: each.to_dict() for number, each in self.differences.items()}),
        }


def compare(
    measured: Sequence[Measured],
    judged: Bools,
    count: int,
    seed: int = SEED,
    told: Callable[[float, int], None] = no_one,
) -> list[Compared]:
    """Compare all of `measured` with the first, in the same `count` resamples of the `judged` customers."""
    drawn, ones = bootstrap(measured, judged, count, seed, told), judged.astype(float)
    return [
        Compared(
            each,
            each.numbers(ones),
            intervals(values),
            differences((each, measured[0]), (values, drawn[0]), judged),
        )
        for each, values in zip(measured, drawn, strict=True)
    ]
