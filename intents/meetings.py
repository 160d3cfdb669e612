"""Which subjects meet: one that is new in a customer's session meets those that are there."""

from typing import Final

import numpy as np

from features.bundle import F32, Bundle
from features.log import U64, Bool
from features.windows import SESSION_GAP_MS

_SESSION: Final = np.float32(np.log1p(SESSION_GAP_MS / 1000))  # as the columns `gap` and `age` have it


def met_by_views(bundle: Bundle, vectors: F32, viewed: int, touched: int) -> Bool:
    """Which of an ask's candidates each of the first `viewed` ones meets (viewed, n), for vectors (f, n).

    Those that were viewed meet nobody again if they were in the session before, nor one another; what is foreseen, the
    candidates from `touched` on, is not there.
    """
    gap, age = (vectors[bundle.names.index(name)] for name in ("gap", "age"))
    there = np.arange(len(age)) < touched
    there[:viewed] = False
    met: Bool = (gap[:viewed, None] > _SESSION) & (there & (age <= _SESSION))
    return met


def met_by_outcome(bundle: Bundle, vectors: F32, subjects: U64, subject: int) -> list[int]:
    """The `subjects` (n,), of vectors (f, n), that an outcome's subject meets; none if it is there itself."""
    there: list[int] = subjects[vectors[bundle.names.index("age")] <= _SESSION].tolist()
    return [] if subject in there else there
