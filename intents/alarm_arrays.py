"""The curve of alarms, and what was cooling down, as the arrays of a snapshot."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from intents.alarms import Curve
from intents.cooldowns import MOST, Sounded
from intents.questions import Source
from intents.targets import GRID

WORDS: Final = ("cooling.customers", "cooling.subjects", "cooling.alarms")
"""Arrays of whole numbers; the others are of floats."""
_CURVE: Final = ("alarms", "hits")
_ASKED: Final = ("time", "source", "count")


class Told(msgspec.Struct, array_like=True, frozen=True):
    """What a snapshot's header tells of them."""

    clock: int
    customer_days: float
    share: float


def arrays_of(curve: Curve, sounded: Sequence[Sounded], sources: Sequence[Source]) -> list[tuple[str, Any]]:
    """Arrays by name; `sources` are those that the header lists."""
    asked = [(one.time, sources.index(one.source), len(one.subjects)) for one in sounded]
    none = np.zeros(0, dtype="<u8")
    return [
        *(("curve." + name, getattr(curve, name)) for name in _CURVE),
        ("cooling.asked", np.array(asked, dtype="<f8").reshape(len(asked), len(_ASKED))),
        ("cooling.customers", np.array([one.customer for one in sounded], dtype="<u8")),
        ("cooling.subjects", np.concatenate([none, *(one.subjects for one in sounded)])),
        ("cooling.alarms", np.concatenate([none, *(one.alarms for one in sounded)])),
    ]


def sound(arrays: Mapping[str, Any], told: Told, sources: int) -> bool:
    """Whether the arrays fit to each other, and to so many sources, and say what can be."""
    alarms, hits = (arrays["curve." + name] for name in _CURVE)
    if alarms.shape != GRID.shape or hits.shape != GRID.shape or not told.clock >= -1:
        return False
    asked, bits = arrays["cooling.asked"], arrays["cooling.alarms"]
    if asked.ndim != 2 or asked.shape[1] != len(_ASKED) or len(asked) > MOST:
        return False
    fits = bool((hits <= alarms * (1 + 1e-9)).all()) and 0 < told.share <= 1
    fits &= arrays["cooling.customers"].shape == (len(asked),)
    fits &= bits.shape == arrays["cooling.subjects"].shape == (int(asked[:, 2].sum()),)
    fits &= bool((asked == np.floor(asked)).all() and (asked[:, 1] < sources).all())
    return fits and bool((bits >> np.uint64(len(GRID)) == 0).all())


def curve_of(arrays: Mapping[str, Any], told: Told) -> Curve:
    """The curve."""
    alarms, hits = (arrays["curve." + name].copy() for name in _CURVE)
    return Curve(told.clock, alarms, hits, told.customer_days)


def sounded_of(arrays: Mapping[str, Any], sources: Sequence[Source]) -> list[Sounded]:
    """What was cooling down."""
    ends = np.cumsum(arrays["cooling.asked"][:, 2]).astype(np.int64).tolist()
    rows = zip(arrays["cooling.asked"].tolist(), arrays["cooling.customers"].tolist(), ends, strict=True)
    return [
        Sounded(
            sources[int(source)],
            customer,
            int(time),
            arrays["cooling.subjects"][end - int(count) : end],
            arrays["cooling.alarms"][end - int(count) : end],
        )
        for (time, source, count), customer, end in rows
    ]
