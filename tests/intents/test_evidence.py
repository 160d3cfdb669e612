"""The columns that judgements are taken from: folds, parts, foreseen pairs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from intents.evaluation import evaluate, judge_evidence, weighed
from intents.evidence import Evidence, Fold, only
from intents.occurrences import Occurrence, Questions
from tests.intents import naive_evaluation as naive
from tests.intents.test_evaluation import HORIZON, SOON, encode, judged

Case = tuple[list[Occurrence], list[dict[str, Any]]]


def of(case: Case, fold: Fold | None = None) -> Evidence:
    """The evidence of events and lines."""
    events, lines = case
    return Evidence(encode(lines), Questions(events), horizon_ms=HORIZON, soon_ms=SOON, fold=fold)


def test_folds_leave_nobody_out_and_nobody_twice() -> None:
    """Each customer is in exactly one of n folds, always the same, and folds are about equal."""
    names = [f"customer {n}" for n in range(600)]
    folds = [[name for name in names if Fold(k, 3).holds(name)] for k in (1, 2, 3)]
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    assert all(160 < len(fold) < 240 for fold in folds)
    assert [n for n in range(12) if Fold(1, 2).holds(f"customer {n}")] == [0, 1, 3, 4, 7, 8]


@given(judged())
def test_folds_are_parts_of_the_whole(case: Case) -> None:
    """Pairs, alarms, outcomes and missing lines of three folds add up to those of all customers."""
    events, lines = case
    whole, *parts = (
        evaluate(encode(lines), events, horizon_ms=HORIZON, threshold=0.5, fold=fold)
        for fold in (None, Fold(1, 3), Fold(2, 3), Fold(3, 3))
    )
    for name in ("customers", "missing_rank_lines", "missing_detect_lines", "disordered_lines", "not_ready_lines"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts), name
    assert whole.detect.pairs == sum(part.detect.pairs for part in parts)
    assert whole.rank.all.count == sum(part.rank.all.count for part in parts)
    assert whole.next.count == sum(part.next.count for part in parts)
    assert whole.emission.alarms == sum(part.emission.alarms for part in parts)
    assert whole.emission.outcomes == sum(part.emission.outcomes for part in parts)


@given(judged())
def test_a_fold_is_the_recording_of_its_customers(case: Case) -> None:
    """Ranks of a fold are those of a recording that has its customers only."""
    events, lines = case
    fold = Fold(1, 3)  # has c, and d not
    mine = [event for event in events if fold.holds(event.customer_id)]
    own = [line for line in lines if fold.holds(line["customer_id"])]
    found, wanted = evaluate(encode(lines), events, fold=fold), evaluate(encode(own), mine)
    assert str(found.rank) == str(wanted.rank)  # where NaN equals NaN


@given(judged())
def test_weighed_numbers_are_the_evaluation_s(case: Case) -> None:
    """With each customer counted once, every number of the rows is what its weighed twin says."""
    evidence = of(case)
    part = evidence.part(evidence.sounding(0.5))
    mine, rule = weighed(evidence, part)
    ones = np.ones(len(evidence.judged))
    told = [
        {
            (task, name): value
            for task, each in tasks.items()
            for name, value in zip(each.names, each.under(ones), strict=True)
        }
        for tasks in (mine, rule)
    ]
    for what, model, ruled in judge_evidence(evidence, part).rows():
        task, name = what.split(": ")
        if name not in ("count", "pairs", "alarms", "outcomes"):
            assert naive.same(model, float(told[0][task, name])), what
            if task != "emission":
                assert naive.same(ruled, float(told[1][task, name])), what


@given(judged())
def test_foreseen_pairs_are_candidates_never_touched(case: Case) -> None:
    """They are the judged candidates of detect lines that the customer had not touched when the view was over."""
    events, lines = case
    evidence = of(case)
    wanted = []
    for place, event in enumerate(events):
        for line in lines:
            if line["event_id"] == event.event_id and line["ask"] == "detect" and place >= evidence.from_row:
                before = naive.touched(events[: place + 1], event.customer_id)
                for name, p in line["scores"]:
                    times = naive.outcomes(events, event.customer_id, name)
                    label = any(event.time_ms < time <= event.time_ms + HORIZON for time in times)
                    wanted += [] if name in before else [(place, p, label)]
    found = evidence.foreseen()
    assert list(zip(found.rows.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)) == wanted


def test_parts_share_rows() -> None:
    """A part's alarms are worth what they are worth to its outcomes; the whole begins with the first pair."""
    events = [Occurrence("c", "view", n * 10, ("a",), f"e{n}") for n in range(10)]
    events.append(Occurrence("c", "cart_add", 100, ("a",), "e10"))
    lines = [
        {"ask": "detect", "customer_id": "c", "time": n * 10, "event_id": f"e{n}", "scores": [["a", 0.9]]}
        for n in (0, 7)
    ]
    evidence = of((events, lines))
    sounding = evidence.sounding(0.5)
    part, whole = evidence.part(sounding), evidence.part(sounding, whole=True)
    assert (len(part.now.rows), len(whole.now.rows)) == (8, 10)
    assert (part.alarms.rows.tolist(), whole.alarms.rows.tolist()) == ([7], [0, 7])
    assert part.worth().right.tolist() == [True] and whole.worth().right.tolist() == [False, True]
    first = whole.where(lambda each: each.rows < 5)
    assert (len(first.now.rows), first.alarms.rows.tolist(), len(first.outcomes.rows)) == (5, [0], 0)
    assert only(whole.alarms, np.array([False, True])).lead_ms.tolist() == [30]


def test_thresholds_may_differ_by_candidate() -> None:
    """Each candidate has its own bound; one bound is the same for all."""
    events = [Occurrence("c", "view", n * 100, ("a",), f"e{n}") for n in range(3)]
    lines = [
        {"ask": "detect", "customer_id": "c", "time": n * 100, "event_id": f"e{n}", "scores": [["a", 0.5]]}
        for n in range(3)
    ]
    evidence = of((events, lines))
    assert evidence.sounding(0.5).tolist() == [0, 1, 2]
    assert evidence.sounding(np.array([0.5, 0.6, 0.5])).tolist() == [0, 2]


@pytest.mark.parametrize("soon", [True, False])
def test_a_pair_without_an_end_is_open(soon: bool) -> None:
    """For the longer horizon only pairs whose horizon ends at or before the recording's last event are judged."""
    events = [Occurrence("c", "view", time, ("a",), f"e{time}") for time in (0, 80, 81, 200)]
    pairs = of((events, [])).pairs(soon=soon, whole=True)
    assert pairs.rows.tolist() == ([0, 1] if soon else [0, 1, 2, 3])
