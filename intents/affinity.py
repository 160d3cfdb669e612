"""Affinity of subjects: how much the same customers are about both, whatever the order."""

from typing import Final

import numpy as np

from features.log import I64, Bool, expand
from intents.counts import F64
from intents.stages import Stages

MOST_SUBJECTS: Final = 200
"""Subjects of a customer that count; who is about everything says little, and pairs grow with the square."""


class Affinity:
    """Cosines between subjects over customers, each customer with weight 1 / (number of subjects).

    Distinct (one, other) in ascending order, columns (a,): `one`, `other`, `cosine`; of a subject with itself it is 1.
    """

    def __init__(self, stages: Stages, part: Bool) -> None:
        """Learn from the stages (s,) that `part` marks."""
        known = max(len(stages.names), 1)
        at = np.flatnonzero(part)
        index, place = stages.of(at)
        held = np.unique(stages.customer[at][index] * known + stages.subject[place])
        customer, subject = held // known, held % known
        first = np.searchsorted(customer, np.arange(stages.customers + 1))
        keep = np.arange(len(customer)) - first[customer] < MOST_SUBJECTS
        customer, subject = customer[keep], subject[keep]
        first = np.searchsorted(customer, np.arange(stages.customers + 1))
        sizes = np.diff(first)
        row, other = expand(first[customer], sizes[customer])
        key, where = np.unique(subject[row] * known + subject[other], return_inverse=True)
        both = np.bincount(where, 1.0 / sizes[customer[row]], len(key))
        self.one, self.other = key // known, key % known
        alone = np.bincount(subject, 1.0 / sizes[customer], known)
        self.cosine: F64 = both / np.sqrt(alone[self.one] * alone[self.other])
        self.first: I64 = np.searchsorted(self.one, np.arange(known + 1))
