"""The slow judge of evaluation: every number straight from its definition, event by event, pair by pair."""

import math
from collections.abc import Sequence
from typing import Any

from intents.occurrences import Occurrence

TOUCHING = {"view", "click", "banner_click", "search", "favorite", "cart_add", "purchase"}
OUTCOME = {"cart_add", "purchase"}
NAN = float("nan")


def auc(labels: Sequence[bool], scores: Sequence[float]) -> float:
    """Count the couples."""
    positives = [score for label, score in zip(labels, scores, strict=True) if label]
    negatives = [score for label, score in zip(labels, scores, strict=True) if not label]
    if not positives or not negatives:
        return NAN
    won = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return won / len(positives) / len(negatives)


def average_precision(labels: Sequence[bool], scores: Sequence[float]) -> float:
    """Walk down the thresholds."""
    total, before, area = sum(labels), 0.0, 0.0
    if not total:
        return NAN
    for threshold in sorted(set(scores), reverse=True):
        chosen = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        area += (sum(chosen) / total - before) * sum(chosen) / len(chosen)
        before = sum(chosen) / total
    return area


def calibration_error(labels: Sequence[bool], scores: Sequence[float], bins: int) -> float:
    """Bin by bin."""
    error = 0.0
    for k in range(bins):
        inside = [
            (label, p)
            for label, p in zip(labels, scores, strict=True)
            if int(p * bins) == k or (k == bins - 1 and p == 1)
        ]
        if inside:
            rate = sum(label for label, _ in inside) / len(inside)
            error += abs(rate - sum(p for _, p in inside) / len(inside)) * len(inside) / len(labels)
    return error if len(labels) else NAN


def recent(earlier: Sequence[Occurrence], customer: str) -> list[str]:
    """Subjects that a customer touched, the last one first."""
    order: list[str] = []
    for event in reversed(earlier):
        if event.customer_id == customer and event.kind in TOUCHING:
            order += [subject for subject in reversed(event.subjects) if subject not in order]
    return order


def outcomes(events: Sequence[Occurrence], customer: str, subject: str) -> list[int]:
    """Times of a customer's outcomes in a subject."""
    return [e.time_ms for e in events if e.kind in OUTCOME and e.customer_id == customer and subject in e.subjects]


def ranks(events: Sequence[Occurrence], lines: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """(rank by the scores, rank by the rule) of each outcome's subject, 0 where it is not listed."""
    said, rule = [], []
    for place, event in enumerate(events):
        for subject in event.subjects if event.kind in OUTCOME else ():
            mine = [line for line in lines if line["event_id"] == event.event_id and line.get("intent") == subject]
            names = [name for name, _ in mine[0]["scores"]] if mine else []
            order = recent(events[:place], event.customer_id)
            said.append(names.index(subject) + 1 if subject in names else 0)
            rule.append(order.index(subject) + 1 if subject in order else 0)
    return said, rule


def touched(earlier: Sequence[Occurrence], customer: str) -> set[str]:
    """Subjects that a customer touched."""
    return {s for e in earlier if e.customer_id == customer and e.kind in TOUCHING for s in e.subjects}


def next_ranks(events: Sequence[Occurrence], lines: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """(rank by the scores, rank by popularity) among never-touched subjects, of each outcome in such a subject."""
    said, rule = [], []
    for place, event in enumerate(events):
        before = touched(events[:place], event.customer_id)
        for subject in event.subjects if event.kind in OUTCOME else ():
            if subject not in before:
                mine = [line for line in lines if line["event_id"] == event.event_id and line.get("intent") == subject]
                names = [name for name, _ in mine[0]["scores"] if name not in before] if mine else []
                order = [name for name in popular(events[:place]) if name not in before]
                said.append(names.index(subject) + 1 if subject in names else 0)
                rule.append(order.index(subject) + 1 if subject in order else 0)
    return said, rule


def popular(earlier: Sequence[Occurrence]) -> list[str]:
    """Subjects by the number of customers who touched them, those touched first before their equals."""
    fans: dict[str, set[str]] = {}
    for event in earlier:
        for subject in event.subjects if event.kind in TOUCHING else ():
            fans.setdefault(subject, set()).add(event.customer_id)
    return sorted(fans, key=lambda subject: -len(fans[subject]))


def pairs(
    events: Sequence[Occurrence], lines: Sequence[dict[str, Any]], horizon_ms: int, said_in: str = "scores"
) -> tuple[list[bool], list[float], list[int]]:
    """(label, p, row of the view) of every pair."""
    labels, scores, rows = [], [], []
    for place, event in enumerate(events):
        if event.kind == "view":
            mine = [line for line in lines if line["event_id"] == event.event_id and line["ask"] == "detect"]
            said = dict(mine[0].get(said_in) or {}) if mine else {}
            for subject in recent(events[: place + 1], event.customer_id)[:6]:
                times = outcomes(events, event.customer_id, subject)
                labels.append(any(event.time_ms < time <= event.time_ms + horizon_ms for time in times))
                scores.append(said.get(subject, 0.0))
                rows.append(place)
    return labels, scores, rows


def alarms(
    events: Sequence[Occurrence], lines: Sequence[dict[str, Any]], threshold: float, cool_down_ms: int
) -> list[tuple[int, str, str, int]]:
    """(row, customer, subject, time) of each alarm that sounds."""
    sounded: list[tuple[int, str, str, int]] = []
    for place, event in enumerate(events):
        mine = [line for line in lines if line["event_id"] == event.event_id and line["ask"] == "detect"]
        for subject, p in mine[0]["scores"] if mine and mine[0].get("ready", True) else ():
            times = outcomes(events, event.customer_id, subject)
            last = [alarm[3] for alarm in sounded if alarm[1:3] == (event.customer_id, subject)][-1:]
            silent = any(
                event.time_ms <= time + cool_down_ms and not any(time < outcome <= event.time_ms for outcome in times)
                for time in last
            )
            if p >= threshold and not silent:
                sounded.append((place, event.customer_id, subject, event.time_ms))
    return sounded


def emission(
    events: Sequence[Occurrence], sounded: Sequence[tuple[int, str, str, int]], from_row: int, horizon_ms: int
) -> dict[str, float]:
    """Precision, recall and the median lead of the alarms from a row on."""
    scored = [alarm[1:] for alarm in sounded if alarm[0] >= from_row]
    leads = []
    caught = set()
    for customer, subject, time in scored:
        after = [o - time for o in outcomes(events, customer, subject) if time < o <= time + horizon_ms]
        leads += [min(after)] if after else []
        caught |= {(customer, subject, time + min(after))} if after else set()
    wanted = [
        any(
            (e.customer_id, s) == (customer, subject) and t < e.time_ms <= t + horizon_ms
            for customer, subject, t in scored
        )
        for place, e in enumerate(events)
        for s in (e.subjects if e.kind in OUTCOME and place >= from_row else ())
    ]
    leads.sort()
    half = len(leads) // 2
    return {
        "alarms": len(scored),
        "outcomes": len(wanted),
        "precision": len(leads) / len(scored) if scored else NAN,
        "recall": sum(wanted) / len(wanted) if wanted else NAN,
        "median_lead_s": (leads[half] + leads[(len(leads) - 1) // 2]) / 2000 if leads else NAN,
        "f1_once": 2 * len(caught) / (len(scored) + len(wanted)) if scored or wanted else NAN,
    }


def same(one: float, other: float) -> bool:
    """Equal but for the last bits; NaN equals NaN."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))
