"""Days and groups are the evidence of certain events or subjects, judged as everything is."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from intents.bootstrap import Measured
from intents.evidence import Evidence
from intents.occurrences import Occurrence, Questions
from intents.slices import DAY_MS, by_day, by_group
from tests.intents import naive_evaluation as naive
from tests.intents.test_evaluation import encode, judged

HOUR = 60 * 60_000
Case = tuple[list[Occurrence], list[dict[str, Any]]]


def stretched(case: Case) -> Case:
    """The same in hours instead of milliseconds, so that it takes days."""
    events, lines = case
    return (
        [event._replace(time_ms=event.time_ms * HOUR) for event in events],
        [line | {"time": line["time"] * HOUR} for line in lines],
    )


def numbers(measured: Measured, evidence: Evidence) -> dict[str, float]:
    """Its numbers by "task: name"."""
    told = measured.numbers(evidence.judged.astype(float))
    return {f"{task}: {name}": value for (task, name), value in told.items()}


def check(measured: Measured, evidence: Evidence, case: Case, rows: set[int], *, whole: bool) -> None:
    """Compare a slice of these events with the slow judge, from the first pair on or in the judged part."""
    events, lines = case
    start, from_row = (0, 0) if whole else (evidence.start, evidence.from_row)
    found = numbers(measured, evidence)
    labels, scores, places = naive.pairs(events, lines, 30 * HOUR)
    chosen = [n for n in range(start, len(places)) if places[n] in rows]
    assert measured.counts["pairs"] == len(chosen)
    told = [labels[n] for n in chosen], [scores[n] for n in chosen]
    assert naive.same(found["detect: auc"], naive.auc(*told))
    assert naive.same(found["detect: average_precision"], naive.average_precision(*told))
    alarms = [each for each in naive.alarms(events, lines, 0.5, 30 * HOUR) if each[0] >= from_row]
    right = [
        any(time < o <= time + 30 * HOUR for o in naive.outcomes(events, customer, subject))
        for row, customer, subject, time in alarms
        if row in rows
    ]
    assert measured.counts["alarms"] == len(right)
    assert naive.same(found["emission: precision"], sum(right) / len(right) if right else naive.NAN)
    warned = [
        any(a[1:3] == (e.customer_id, s) and a[3] < e.time_ms <= a[3] + 30 * HOUR for a in alarms)
        for place, e in enumerate(events)
        for s in (e.subjects if e.kind in naive.OUTCOME and place in rows and place >= from_row else ())
    ]
    assert measured.counts["wanted"] == len(warned)
    assert naive.same(found["emission: recall"], sum(warned) / len(warned) if warned else naive.NAN)
    places = [place for place, e in enumerate(events) if e.kind in naive.OUTCOME for _ in e.subjects]
    for task, ranks in zip(("rank", "rank_rule"), naive.ranks(events, lines), strict=True):
        mine = [rank for place, rank in zip(places, ranks, strict=True) if place in rows]
        assert naive.same(found[f"{task}: hit_1"], mine.count(1) / len(mine) if mine else naive.NAN)


@given(judged())
def test_days_equal_the_slow_judge(case: Case) -> None:
    """Each UTC day of the recording, from the first pair on, has the events of that day."""
    case = stretched(case)
    events, lines = case
    evidence = Evidence(encode(lines), Questions(events), horizon_ms=30 * HOUR)
    found = by_day(evidence, evidence.part(evidence.sounding(0.5), whole=True))
    days = sorted({event.time_ms // DAY_MS for event in events})
    assert [each.name for each in found] == [str(np.datetime64(day, "D")) for day in days]
    for each, day in zip(found, days, strict=True):
        rows = {n for n, event in enumerate(events) if event.time_ms // DAY_MS == day}
        check(each, evidence, case, rows, whole=True)


@given(judged())
def test_groups_equal_the_slow_judge(case: Case) -> None:
    """New customers' events, later ones, and first ones after a long gap, of the judged part."""
    case = stretched(case)
    events, lines = case
    evidence = Evidence(encode(lines), Questions(events), horizon_ms=30 * HOUR)
    found = {each.name: each for each in by_group(evidence, evidence.part(evidence.sounding(0.5)))}
    before = [[e for e in events[:n] if e.customer_id == event.customer_id] for n, event in enumerate(events)]
    new = {n for n, earlier in enumerate(before) if len(earlier) < 10}
    gap = {n for n, earlier in enumerate(before) if earlier and events[n].time_ms - earlier[-1].time_ms > 24 * HOUR}
    everything = set(range(len(events)))
    for name, rows in (
        ("all", everything),
        ("first 10 events", new),
        ("later events", everything - new),
        ("after more than 24 h", gap),
    ):
        check(found[name], evidence, case, rows, whole=False)
    assert found["touched before"].counts["pairs"] == found["all"].counts["pairs"]
    assert found["never touched"].counts["pairs"] == len(evidence.foreseen().rows)
    for count in ("alarms", "wanted", "outcomes"):
        parts = found["touched before"].counts[count] + found["never touched"].counts[count]
        assert parts == found["all"].counts[count]


def test_a_customer_is_new_for_ten_events_and_a_gap_is_longer_than_a_day() -> None:
    """The eleventh event is a later one; exactly 24 h are no long gap, and nothing is before a first event."""
    events = [Occurrence("c", "view", n, ("tents",), f"e{n}") for n in range(11)]
    events += [Occurrence("c", "cart_add", 10 + n * (DAY_MS + (n > 1)), ("tents",), f"f{n}") for n in (1, 2)]
    evidence = Evidence([], Questions(events))
    part = evidence.part(evidence.sounding(0.5), whole=True)
    found = {each.name: each.counts for each in by_group(evidence, part)}
    assert (found["first 10 events"]["pairs"], found["later events"]["pairs"]) == (10, 1)
    assert (found["later events"]["outcomes"], found["after more than 24 h"]["outcomes"]) == (2, 1)


@pytest.mark.parametrize(("mugs", "big"), [(3, 1), (2, 2)])
def test_big_subjects_have_half_of_the_outcomes(mugs: int, big: int) -> None:
    """The fewest subjects, by outcomes, that together have half of them: 3 of 6 are half, 2 of 5 are not."""
    bought = ["mugs"] * mugs + ["tents", "bags", "hats"]
    events = [Occurrence("c", "purchase", n, (what,), f"e{n}") for n, what in enumerate(bought)]
    events.append(Occurrence("c", "view", 99, ("never bought",), "e99"))
    evidence = Evidence([], Questions(events))
    found = by_group(evidence, evidence.part(evidence.sounding(0.5)))
    names = [each.name for each in found if "subjects" in each.name]
    assert names == [f"big subjects ({big})", f"small subjects ({5 - big})"]
    sizes = {each.name.split()[0]: each.counts["outcomes"] for each in found}
    assert (sizes["big"], sizes["small"]) == (mugs + big - 1, 3 - big + 1)


def test_alarms_for_what_was_never_touched_are_apart() -> None:
    """An alarm for a foreseen subject counts among the never touched, one for a touched subject not; no rule has it."""
    events = [Occurrence("c", "view", 0, ("tents",), "e0"), Occurrence("c", "cart_add", 60_000, ("bags",), "e1")]
    scores = [["tents", 0.9], ["bags", 0.8]]
    lines = [{"ask": "detect", "customer_id": "c", "time": 0, "event_id": "e0", "scores": scores}]
    evidence = Evidence(encode(lines), Questions(events))
    found = {each.name: each for each in by_group(evidence, evidence.part(evidence.sounding(0.5)))}
    assert numbers(found["never touched"], evidence)["emission: precision"] == 1.0
    assert numbers(found["touched before"], evidence)["emission: precision"] == 0.0
    assert "detect_rule" in found["touched before"].weighed and "detect_rule" not in found["never touched"].weighed


def test_soon_is_judged_by_day_where_the_file_has_it() -> None:
    """With `soon` each slice has the longer horizon's pairs, beside the rule's."""
    events = [Occurrence("c", "view", n * 12 * HOUR, ("tents",), f"e{n}") for n in range(6)]
    line = {"ask": "detect", "customer_id": "c", "time": 0, "event_id": "e0", "scores": [["tents", 0.1]]}
    cases: list[tuple[dict[str, Any], list[int | None]]]
    cases = [({}, [None, None, None]), ({"soon": [["tents", 0.2]]}, [2, 2, 0])]
    for more, counted in cases:
        evidence = Evidence(encode([line | more]), Questions(events))
        found = by_day(evidence, evidence.part(evidence.sounding(0.5), whole=True))
        assert [each.counts.get("soon_pairs") for each in found] == counted
        assert ("soon" in found[0].weighed) == ("soon_rule" in found[0].weighed) == bool(more)
