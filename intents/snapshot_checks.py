"""Is a snapshot one to score with and to go on from? Shapes, ranges, and what belongs together."""

from typing import Any, Final

import numpy as np

from intents import alarm_arrays
from intents.choice import COLUMNS
from intents.examples import LARGEST
from intents.head import ARRAYS, PRIOR
from intents.progress import BINS, TOTALS
from intents.questions import MOST_SOON
from intents.snapshot_layout import ASKED, CHOICE, HEADS, TABLES, Header, ProgressTold, UnusableSnapshot
from intents.tables import COMPANIONS, RANKS, SUCCESSORS

SQUARES: Final = (
    *(head + name for head in HEADS for name in ("variances", "precision", "calibration_precision")),
    "choice.squares",
    "choice.precision",
)
SIGNED: Final = (
    *(head + name for head in HEADS for name in ARRAYS if name != "variances"),
    "now.successors",
    "base.successors",
    "now.companions",
    "base.companions",
    "later.columns",
    "choice.weights",
    "choice.precision",
)


def check_numbers(arrays: dict[str, Any], header: Header) -> None:
    """Raise UnusableSnapshot for a number that is not finite, or with which a trainer could not go on.

    Below zero only some can be, and from one too large counting and learning would end in what is not finite.
    """
    counted = (*header.sums, *header.labels, header.soon_share, header.lists, abs(header.progress.behind))
    counted = (*counted, header.alarms.customer_days, header.alarms.share)
    numbers = {"counted": np.array(counted, dtype=np.float64), **arrays}
    if not all(np.isfinite(array).all() for array in numbers.values()):
        raise UnusableSnapshot("a snapshot has a number that is not finite")
    for name, array in numbers.items():
        most = LARGEST**3 if name in SQUARES else LARGEST
        least = -most if name in SIGNED else 0.0
        if array.dtype.kind == "f" and not ((least <= array) & (array <= most)).all():
            raise UnusableSnapshot("a snapshot has a count below zero, or a number too large to go on with")


def check_tables(arrays: dict[str, Any], header: Header) -> None:
    """Raise UnusableSnapshot for tables whose shapes or rows do not belong together."""
    if any(len(subject) != 8 for subject in header.names):
        raise UnusableSnapshot("a damaged snapshot: a subject is not 8 bytes")
    whole = len(header.sums) == 4 and len(header.labels) == 2 * len(HEADS)
    whole &= all(_sound_head(prefix, arrays, len(header.features)) for prefix in HEADS)
    whole &= _sound_questions(arrays, header) and _sound_choice(arrays) and _sound_progress(arrays, header.progress)
    whole &= alarm_arrays.sound(arrays, header.alarms, len(header.sources))
    whole &= 0 <= header.base_reading.next <= header.reading.next <= LARGEST
    for prefix in ("now.", "base."):
        keys = [arrays[prefix + name] for name in ("subjects", "transitions")]
        whole &= all(array.ndim == 1 and len(np.unique(array)) == len(array) for array in keys)
        s, t = (array.size for array in keys)
        lists = ((SUCCESSORS, s), (SUCCESSORS, s), (COMPANIONS, s), (COMPANIONS, s))
        for name, shape in zip(TABLES, ((5, s), (3, t), *lists, (2, RANKS)), strict=True):
            whole &= arrays[prefix + name].shape == shape
        for nexts in (arrays[prefix + "successors"], arrays[prefix + "companions"]):
            whole &= bool(((nexts >= -1) & (nexts < s) & (nexts == np.floor(nexts))).all())
    if not whole:
        raise UnusableSnapshot("a damaged snapshot: its tables do not belong together")


def _sound_head(prefix: str, arrays: dict[str, Any], features: int) -> bool:
    """Whether a head's arrays fit to each other, and its precisions are ones that it can go on learning with."""
    wide = features + 1
    means, variances, weights, precision, *calibration = (arrays[prefix + name] for name in ARRAYS)
    shapes = [array.shape for array in (means, variances, weights, precision, *calibration)]
    if shapes != [(features,), (features,), (wide,), (wide, wide), (2,), (2, 2)]:
        return False
    calibration_precision = calibration[1]
    least = min(float(np.linalg.eigvalsh(precision)[0]) / PRIOR, float(np.linalg.eigvalsh(calibration_precision)[0]))
    symmetric = all(bool((matrix == matrix.T).all()) for matrix in (precision, calibration_precision))
    sound = symmetric and least > 0.5
    return bool(sound)


def _sound_choice(arrays: dict[str, Any]) -> bool:
    weights, precision, squares = (arrays["choice." + name] for name in CHOICE)
    count = len(COLUMNS)
    if (weights.shape, precision.shape, squares.shape) != ((count,), (count, count), (count,)):
        return False
    return bool((precision == precision.T).all()) and float(np.linalg.eigvalsh(precision)[0]) > 1.0


def _sound_progress(arrays: dict[str, Any], told: ProgressTold) -> bool:
    """Whether the sums have their shapes, and the duel's times are in order."""
    totals, bins = arrays["progress.totals"], arrays["progress.bins"]
    if (totals.shape, bins.shape) != ((TOTALS,), (2, BINS)):
        return False
    return -1 <= told.since <= told.clock <= LARGEST and 0 <= told.streak <= LARGEST


def _sound_questions(arrays: dict[str, Any], header: Header) -> bool:
    """Whether the waiting questions' arrays fit to each other."""
    asked, columns = arrays["later.asked"], arrays["later.columns"]
    if asked.ndim != 2 or asked.shape[1] != len(ASKED) or len(asked) > MOST_SOON or columns.ndim != 2:
        return False
    pairs = columns.shape[1]
    fits = all(arrays["later." + name].shape == (pairs,) for name in ("subjects", "ranks", "soon"))
    fits &= arrays["later.customers"].shape == (len(asked),) and columns.shape[0] == len(header.features)
    fits &= bool((asked == np.floor(asked))[:, [0, 1, 2, 3, 5]].all()) and 0 < header.soon_share <= 1
    fits &= bool((asked[:, 3] < len(header.sources)).all()) and int(asked[:, 5].sum()) == pairs
    return bool(fits)
