"""Task *next*: the subject of a customer's next outcome, among those the customer never touched before."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from intents.metrics import Ints
from intents.occurrences import Questions

LISTED: Final = 30
"""How many never-touched subjects are looked at, best first; what stands further down is a miss."""


@dataclass(frozen=True, slots=True)
class NextTask:
    """Where never-touched subjects stood among the never-touched candidates; NaN where `count` is 0.

    `count` is the number of outcomes in subjects that their customers had never touched; `hit_k` the share at rank k or
    better, `mrr` the mean of 1/rank. Places beyond LISTED are misses.
    """

    count: int
    hit_1: float
    hit_5: float
    hit_10: float
    hit_30: float
    mrr: float


def next_task(ranks: Ints) -> NextTask:
    """Judge 1-based ranks, 0 meaning a miss."""
    if not len(ranks):
        return NextTask(0, *[float("nan")] * 5)
    listed = (ranks > 0) & (ranks <= LISTED)
    hit_1, hit_5, hit_10, hit_30 = (float((listed & (ranks <= k)).mean()) for k in (1, 5, 10, 30))
    reciprocal = np.where(listed, 1.0 / np.maximum(ranks, 1), 0.0)
    return NextTask(len(ranks), hit_1, hit_5, hit_10, hit_30, float(reciprocal.mean()))


def popular_ranks(asked: Questions) -> Ints:
    """Per outcome the rank of its subject by the rule *most popular so far, never touched by this customer*.

    Popular is what most customers had touched in the events before (a stronger rule than most touches, views or
    outcomes); of equals, the one that came first. 0 for a subject that the customer had touched, or that nobody had.
    """
    customers, subjects = asked.key_parts()
    counts = np.zeros(len(asked.subjects), np.int64)
    touched_subjects = subjects[asked.touch_keys].tolist()
    touched_customers = customers[asked.touch_keys].tolist()
    rows = asked.touch_rows.tolist()
    seen: dict[int, set[int]] = {}
    ranks, done = np.zeros(len(asked.outcome_keys), np.int64), 0
    for place in np.flatnonzero(asked.rule_ranks == 0).tolist():
        while done < len(rows) and rows[done] < asked.outcome_rows[place]:
            mine = seen.setdefault(touched_customers[done], set())
            counts[touched_subjects[done]] += touched_subjects[done] not in mine
            mine.add(touched_subjects[done])
            done += 1
        key = asked.outcome_keys[place]
        subject = subjects[key]
        if counts[subject]:
            before = counts > counts[subject]
            before[:subject] |= counts[:subject] == counts[subject]
            known = np.fromiter(seen.get(int(customers[key]), ()), np.int64)
            ranks[place] = 1 + before.sum() - before[known].sum()
    return ranks
