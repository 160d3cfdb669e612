"""The evidence cut into days and groups, each part judged alike."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from intents.bootstrap import Measured
from intents.evidence import Columns, Evidence, Outcomes, Part, only
from intents.metrics import Bools
from intents.occurrences import ONCE
from intents.weighed import Detection, Emitted, Weighed, rank_shares

DAY_MS: Final = 24 * 60 * 60_000
NEW_EVENTS: Final = 10
"""A customer is new for so many events."""
LONG_GAP_MS: Final = DAY_MS
"""An event is the first one after a long gap if the customer's event before it is longer ago than this."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def by_day(evidence: Evidence, whole: Part) -> list[Measured]:
    """One for each UTC day of event time, in order; of the whole, so that the first days show how learning began."""
    days = evidence.asked.event_ms // DAY_MS
    return [
        _measured(f"{_EPOCH + timedelta(days=day):%Y-%m-%d}", whole.where(_on(days == day)), evidence)
        for day in np.unique(days).tolist()
    ]


def by_group(evidence: Evidence, part: Part) -> list[Measured]:
    """The judged part whole, then its groups.

    New customers (their first NEW_EVENTS events) and later ones; the first event after a long gap; big subjects (those
    with most outcomes of the recording, together half of them) and small ones; subjects that the customer had touched,
    and never touched: of the latter the pairs are the candidates that the model brought in itself, without a rule.
    """
    asked = evidence.asked
    new = asked.event_counts < NEW_EVENTS
    gaps = asked.event_gaps
    returning = (gaps > LONG_GAP_MS) & (gaps < ONCE)
    big = big_subjects(evidence)
    groups = {
        "all": part,
        f"first {NEW_EVENTS} events": part.where(_on(new)),
        "later events": part.where(_on(~new)),
        "after more than 24 h": part.where(_on(returning)),
        f"big subjects ({big.sum():,})": part.where(lambda each: big[each.subjects]),
        f"small subjects ({(~big).sum():,})": part.where(lambda each: ~big[each.subjects]),
        "touched before": _touched(evidence, part, touched=True),
        "never touched": _touched(evidence, part, touched=False),
    }
    return [_measured(name, group, evidence) for name, group in groups.items()]


def big_subjects(evidence: Evidence) -> Bools:
    """By subject number: the fewest subjects that have half of the recording's outcomes; of equals, earlier ones."""
    subjects = evidence.subjects_of[evidence.asked.outcome_keys]
    counts = np.bincount(subjects, minlength=len(evidence.asked.subjects))
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    big = np.zeros(len(counts), bool)
    big[order[(before < len(subjects) / 2) & (counts[order] > 0)]] = True
    return big


def _on(events: Bools) -> Callable[[Columns], Bools]:
    """Rows of these events."""

    def chosen(columns: Columns) -> Bools:
        return events[columns.rows]

    return chosen


def _touched(evidence: Evidence, part: Part, *, touched: bool) -> Part:
    def alike(outcomes: Outcomes) -> Outcomes:
        return only(outcomes, (outcomes.rule_ranks > 0) == touched)

    new = evidence.never_touched(part.alarms)
    now, soon = part.now, part.soon
    if not touched:
        now, soon = evidence.foreseen(), only(soon, np.zeros(len(soon.rows), bool))
    return Part(now, soon, alike(part.outcomes), alike(part.wanted), only(part.alarms, new != touched))


def _measured(name: str, part: Part, evidence: Evidence) -> Measured:
    population, now, soon, outcomes = len(evidence.judged), part.now, part.soon, part.outcomes
    counts = {
        "pairs": len(now.rows),
        "alarms": len(part.alarms.rows),
        "wanted": len(part.wanted.rows),
        "outcomes": len(outcomes.rows),
    }
    weighed: dict[str, Weighed] = {
        "detect": Detection(now.customers, now.labels, now.scores, population),
        "emission": Emitted(part.alarms.customers, part.wanted.customers, part.worth(), population),
        "rank": rank_shares(outcomes.customers, outcomes.ranks, population, hits=(1,)),
        "rank_rule": rank_shares(outcomes.customers, outcomes.rule_ranks, population, hits=(1,)),
    }
    if not np.isnan(now.rule).any():
        weighed["detect_rule"] = Detection(now.customers, now.labels, now.rule, population, calibrated=False)
    if evidence.said.has_soon:
        counts["soon_pairs"] = len(soon.rows)
        weighed["soon"] = Detection(soon.customers, soon.labels, soon.scores, population)
        weighed["soon_rule"] = Detection(soon.customers, soon.labels, soon.rule, population, calibrated=False)
    return Measured(name, counts, weighed)
