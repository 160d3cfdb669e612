"""Stages: what each customer was about, one thing after another, in columns; the material of journeys.

In a clickstream a stage is a visit to a subject: its successive events, until another subject's. In a recording of
purchases alone it is a basket: a session (an invoice), or a day where sessions have no ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from features.kinds import ASKED, OUTCOMES
from features.log import I64, Bool, expand
from intents.occurrences import columns

DAY_MS: Final = 86_400_000
"""Where sessions have no ids, a basket is a UTC day."""


class Touch(NamedTuple):
    """One event that touches something; `time_ms` is event time (UTC), `session` its id or empty."""

    customer_id: str
    kind: str
    time_ms: int
    session: str
    product_id: str
    name: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages in order of customer and time, columns (s,); stage i's subjects are [starts[i], starts[i + 1]) of (n,).

    `subject` (n,) are numbers of `names`; `outcome` (n,) says whether the stage has a cart_add or purchase of it, and
    `direct` whether nothing of it came before that in the stage. `baskets` says what a stage is.
    """

    customer: I64
    time_ms: I64
    starts: I64
    subject: I64
    outcome: Bool
    direct: Bool
    names: tuple[str, ...]
    customers: int
    baskets: bool

    def __len__(self) -> int:
        """Number of stages."""
        return len(self.customer)

    def of(self, stages: I64) -> tuple[I64, I64]:
        """(index into `stages`, place in the columns (n,)) of every subject of each of `stages`."""
        return expand(self.starts[stages], self.starts[stages + 1] - self.starts[stages])

    def before(self, time_ms: int) -> Bool:
        """Which stages (s,) began before a time."""
        earlier: Bool = self.time_ms < time_ms
        return earlier

    def cut_ms(self, share: float) -> int:
        """The time that leaves the last `share` of the whole span behind it."""
        if not len(self):
            return 0
        first, last = int(self.time_ms.min()), int(self.time_ms.max())
        return last - round((last - first) * share)


def stages_of(touches: Iterable[Touch]) -> Stages:
    """The stages of a recording's touches, which need not be in order of time; those without a subject are left out."""
    customers: dict[str, int] = {}
    subjects: dict[str, int] = {}
    groups: dict[tuple[object, ...], int] = {}
    rows: list[tuple[int, ...]] = []
    lines: list[tuple[int, int]] = []
    asked = False
    for touch in touches:
        asked = asked or touch.kind in ASKED
        if not touch.subjects:
            continue
        who = customers.setdefault(touch.customer_id, len(customers))
        basket = groups.setdefault((who, touch.session or touch.time_ms // DAY_MS), len(groups))
        visit = groups.setdefault(touch.subjects, len(groups))
        lines += [(len(rows), subjects.setdefault(name, len(subjects))) for name in touch.subjects]
        rows.append((who, touch.time_ms, basket, visit, touch.kind in OUTCOMES))
    customer, time, in_basket, in_visit, outcome = columns(rows, 5)
    owner, subject = columns(lines, 2)
    group, order = in_visit, np.lexsort((time, customer))
    if not asked:
        began = np.full(len(groups), np.iinfo(np.int64).max)
        np.minimum.at(began, in_basket, time)
        group, order = in_basket, np.lexsort((time, in_basket, began[in_basket], customer))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(customer[order]) != 0) | (np.diff(group[order]) != 0)
    first = order[new]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    stage = (np.cumsum(new) - 1)[place]
    turn = np.empty(len(owner), dtype=np.int64)  # of each subject of each touch
    turn[np.lexsort((np.arange(len(owner)), place[owner]))] = np.arange(len(owner))
    found = _merged(stage[owner], subject, turn, outcome[owner] > 0, len(first), max(len(subjects), 1))
    return Stages(customer[first], time[first], *found, tuple(subjects), customers=len(customers), baskets=not asked)


def _merged(stage: I64, subject: I64, turn: I64, outcome: Bool, stages: int, known: int) -> tuple[I64, I64, Bool, Bool]:
    """(starts, subject, outcome, direct) of the distinct subjects of each stage, in order of their first touch."""
    order = np.lexsort((turn, subject, stage))
    key = (stage * known + subject)[order]
    new = np.ones(len(key), dtype=bool)
    new[1:] = np.diff(key) != 0
    at = np.flatnonzero(new)
    any_outcome = np.logical_or.reduceat(outcome[order], at) if len(at) else outcome
    direct = outcome[order][at]
    by_touch = np.lexsort((turn[order][at], stage[order][at]))
    starts = np.zeros(stages + 1, dtype=np.int64)
    np.cumsum(np.bincount(stage[order][at], minlength=stages), out=starts[1:])
    return starts, subject[order][at][by_touch], any_outcome[by_touch], direct[by_touch]
