"""Thresholds are chosen by the days before, meet their targets there, and never look ahead."""

import math
from typing import Any

import numpy as np
import pytest

from intents.evidence import Evidence
from intents.occurrences import Occurrence, Questions
from intents.targets import GRID, Target
from intents.thresholds import DAY_MS, Chosen, Sweep
from tests.intents import naive_evaluation as naive
from tests.intents.test_evaluation import encode

HOUR = 60 * 60_000
HORIZON = 2 * HOUR
Case = tuple[list[Occurrence], list[dict[str, Any]]]


def made_up(seed: int, customers: int, events: int, subjects: str = "ab") -> Case:
    """Customers who view and sometimes buy, over days; p says a little of it."""
    chance = np.random.default_rng(seed)
    happened: list[Occurrence] = []
    lines: list[dict[str, Any]] = []
    time = 0
    for place in range(events):
        time += int(chance.integers(1, 3 * HOUR // 4))
        who, what = f"c{chance.integers(customers)}", str(chance.choice(list(subjects)))
        kind = "view" if chance.random() < 0.75 else "cart_add"
        happened.append(Occurrence(who, kind, time, (what,), f"e{place}"))
        if kind == "view":
            scores = [[what, round(float(chance.random()) * 0.7, 3)]]
            lines.append({"ask": "detect", "customer_id": who, "time": time, "event_id": f"e{place}", "scores": scores})
    return happened, lines


def sweep(case: Case, fixed: float = 0.15) -> Sweep:
    """The sweep over it."""
    return Sweep(Evidence(encode(case[1]), Questions(case[0]), horizon_ms=HORIZON), fixed)


def bounds(chosen: Chosen) -> list[float]:
    """The thresholds by day."""
    return [bound for _, bound in chosen.by_day]


def slow(case: Case, target: Target, enough: int) -> list[float]:
    """Day by day: every threshold's alarms that were over before the day, and the loosest that meets the target."""
    events, lines = case
    sounded = {bound: naive.alarms(events, lines, bound, HORIZON) for bound in GRID.tolist()}
    days = range(events[0].time_ms // DAY_MS, events[-1].time_ms // DAY_MS + 1)
    found = []
    for start in (day * DAY_MS for day in days):
        outcomes = sum(e.kind in naive.OUTCOME and e.time_ms < start for e in events)
        active = len({(e.customer_id, e.time_ms // DAY_MS) for e in events if e.time_ms < start})
        meets, worth = [], {}
        for bound, alarms in sounded.items():
            before = [alarm for alarm in alarms if alarm[3] + HORIZON < start]
            right = sum(
                any(time < o <= time + HORIZON for o in naive.outcomes(events, customer, subject))
                for _, customer, subject, time in before
            )
            count = len(before)
            if target.kind == "alarms" and active:
                worth[bound] = -float(count)
                meets += [bound] if count <= target.value * active else []
            elif target.kind == "f1" and outcomes >= enough:
                worth[bound] = right / (count + outcomes)
            elif target.kind == "precision" and count >= enough:
                worth[bound] = right / count
                meets += [bound] if right / count >= target.value else []
        best = [bound for bound in worth if worth[bound] == max(worth.values())]
        found.append(meets[0] if meets else best[0] if best else math.nan)
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "target",
    [
        *(Target("precision", value) for value in (0.1, 0.2, 0.3, 0.99)),
        *(Target("alarms", value) for value in (0.2, 1.0)),
        Target("f1"),
    ],
    ids=str,
)
def test_each_day_s_threshold_is_the_slow_judge_s(target: Target, seed: int) -> None:
    """By the alarms whose horizon was over before the day, the outcomes and the active customers before it."""
    case = made_up(seed, customers=4, events=160)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intents.targets.ENOUGH_ALARMS", 5)
        patch.setattr("intents.targets.ENOUGH_OUTCOMES", 5)
        patch.setattr("intents.thresholds.ENOUGH_OUTCOMES", 5)
        found = sweep(case).choose(target)
    assert np.allclose(bounds(found), slow(case, target, 5), equal_nan=True)


@pytest.mark.parametrize("target", [Target("precision", 0.2), Target("alarms", 3), Target("f1")], ids=str)
def test_no_threshold_looks_ahead(target: Target) -> None:
    """A recording cut anywhere gives its days the thresholds that the whole gives them, for all and by intent."""
    events, lines = made_up(7, customers=6, events=700)
    whole = sweep((events, lines)).choose(target)
    assert len({bound for bound in bounds(whole) if not math.isnan(bound)}) > 2
    for cut in (150, 350, 500):
        part = sweep((events[:cut], [line for line in lines if int(line["event_id"][1:]) < cut]))
        told = part.choose(target)
        assert np.allclose(bounds(told), bounds(whole)[: len(told.by_day)], equal_nan=True)
        day = part.days - 1
        # Both know an intent by its name; which intents ever have enough differs, which have enough by then does not.
        names = {name for name, _, _ in told.by_intent}
        wanted = sweep((events, lines))
        mine, all_days = part._by_intent(target, day), wanted._by_intent(target, day)
        by_name = dict(zip([wanted._evidence.asked.subjects[n] for n in wanted._intents], all_days, strict=False))
        ours = dict(zip([part._evidence.asked.subjects[n] for n in part._intents], mine, strict=False))
        assert all(ours[name] == by_name[name] for name in names)


def test_what_was_achieved_is_measured_with_each_day_s_threshold() -> None:
    """Alarms sound at their own day's threshold (the fixed one where nothing was chosen), and are judged as ever."""
    events, lines = case = made_up(3, customers=6, events=400)
    made = sweep(case, fixed=0.4)
    found = made.choose(Target("precision", 0.2))
    first = events[0].time_ms // DAY_MS
    by_day = [0.4 if math.isnan(bound) else bound for bound in bounds(found)]
    kept = [
        line | {"scores": [[name, float(p >= by_day[line["time"] // DAY_MS - first])] for name, p in line["scores"]]}
        for line in lines
    ]
    _, _, rows = naive.pairs(events, lines, HORIZON)
    from_row = rows[int(len(rows) * 0.2)]
    wanted = naive.emission(events, naive.alarms(events, kept, 0.5, HORIZON), from_row, HORIZON)
    told = found.achieved.numbers(np.ones(6))
    for name in ("precision", "recall", "median_lead_s", "f1_once"):
        assert naive.same(told["emission", name], wanted[name]), name
    assert found.achieved.counts == {"alarms": wanted["alarms"], "outcomes": wanted["outcomes"]}
    active = {(e.customer_id, e.time_ms // DAY_MS) for e in events[from_row:]}
    assert told["rate", "alarms_per_customer_day"] == pytest.approx(wanted["alarms"] / len(active))


def test_the_table_has_every_threshold_as_if_fixed() -> None:
    """Each row is what alarms at that threshold were worth in the judged part."""
    events, lines = case = made_up(4, customers=6, events=200)
    table = {each.name: each for each in sweep(case).table()}
    assert list(table) == [f"{bound:.2f}" for bound in GRID]
    _, _, rows = naive.pairs(events, lines, HORIZON)
    for bound in (0.01, 0.15, 0.5):
        sounded = naive.alarms(events, lines, bound, HORIZON)
        wanted = naive.emission(events, sounded, rows[int(len(rows) * 0.2)], HORIZON)
        told = table[f"{bound:.2f}"].numbers(np.ones(6))
        assert naive.same(told["emission", "precision"], wanted["precision"])
        assert naive.same(told["emission", "f1_once"], wanted["f1_once"])


def apart(days: int = 4) -> Case:
    """Alarms for gloves are always right from p = .1 on, those for hats never below p = .5, for 40 customers a day."""
    events: list[Occurrence] = []
    lines: list[dict[str, Any]] = []

    def view(who: str, what: str, time: int, p: float) -> None:
        events.append(Occurrence(who, "view", time, (what,), f"e{len(events)}"))
        base = {"ask": "detect", "customer_id": who, "time": time, "event_id": events[-1].event_id}
        lines.append({**base, "scores": [[what, p]]})

    for day in range(days):
        for n in range(40):
            time = day * DAY_MS + n * 60_000
            for what, p in (("gloves", 0.1), ("hats", 0.1), ("hats", 0.5)):
                who = f"{what} {p} {n}"
                view(who, what, time, p)
                if what == "gloves" or p == 0.5:
                    events.append(Occurrence(who, "purchase", time + 1, (what,), f"e{len(events)}"))
    return events, lines


def test_an_intent_with_enough_evidence_has_its_own_threshold() -> None:
    """For a precision of .8, gloves may be told from .1 on, hats from .5; one threshold for all is less worth."""
    found = sweep(apart()).choose(Target("precision", 0.8))
    assert [(name, bound) for name, _, bound in found.by_intent] == [("gloves", 0.01), ("hats", 0.11)]
    assert bounds(found)[-1] == 0.11
    together, each = (measured.numbers(np.ones(120)) for measured in (found.achieved, found.achieved_by_intent))
    # On the first day nothing is chosen yet, and the fixed threshold tells no gloves.
    assert each["emission", "recall"] > 0.95 > 0.6 > together["emission", "recall"]
    assert each["emission", "precision"] == 1.0


def test_an_intent_with_few_alarms_is_shrunk_to_all() -> None:
    """Socks are bought often, and their only two alarms were wrong: that is no reason to be silent about them."""
    events, lines = apart()
    for n in range(40):
        events.insert(0, Occurrence(f"socks {n}", "purchase", 0, ("socks",), f"s{n}"))
    for n in range(2):
        view = Occurrence(f"socks {n}", "view", DAY_MS, ("socks",), f"v{n}")
        events.append(view)
        base = {"ask": "detect", "customer_id": view.customer_id, "time": DAY_MS, "event_id": f"v{n}"}
        lines.append({**base, "scores": [["socks", 0.5]]})
    found = sweep((events, lines)).choose(Target("precision", 0.8))
    assert [(name, bound) for name, _, bound in found.by_intent if name == "socks"] == [("socks", 0.01)]


def test_an_intent_needs_enough_outcomes() -> None:
    """With 20 outcomes before the day socks go by the alarms of all, though 60 of their own were wrong."""
    events, lines = apart(days=3)
    for day, bought in enumerate((10, 10, 15)):
        events += [Occurrence(f"s{n}", "purchase", day * DAY_MS, ("socks",), f"{day} {n}") for n in range(bought)]
        for n in range(30 if day < 2 else 0):
            events.append(Occurrence(f"s{n}", "view", day * DAY_MS, ("socks",), f"v{day} {n}"))
            base = {"ask": "detect", "customer_id": f"s{n}", "time": day * DAY_MS, "event_id": f"v{day} {n}"}
            lines.append({**base, "scores": [["socks", 0.5]]})
    found = sweep((events, lines)).choose(Target("precision", 0.55))
    # Were they silenced for their own alarms, hats could be told from .01 on and all would still be right often enough.
    assert [(name, bound) for name, _, bound in found.by_intent] == [("gloves", 0.01), ("hats", 0.11)]


def test_a_recording_without_anything_chooses_nothing() -> None:
    """No events, no days; a day without evidence has no threshold of its own."""
    assert sweep(([], [])).choose(Target("f1")).by_day == []
    alone = sweep(([Occurrence("c", "view", 0, ("a",), "e0")], []))
    assert all(math.isnan(bound) for bound in bounds(alone.choose(Target("precision", 0.5))))


def test_targets_are_written_as_they_are_asked_for() -> None:
    """A target's words are those of the command line."""
    assert [str(Target("precision", 0.25)), str(Target("alarms", 2.0)), str(Target("f1"))] == [
        "precision=0.25",
        "alarms=2",
        "f1",
    ]
