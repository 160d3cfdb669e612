"""Published intents are judged by what customers truly wanted, and the rule beside them gets a fair chance."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.occurrences import Occurrence
from intents.truth import BadTruth, Comparison, TrueSpan, from_line, judge, to_line

H = 30


def alarm(number: int, customer: str, intent: str, at: int, status: str = "detected") -> dict[str, Any]:
    """What the intents topic holds, as far as it is judged."""
    return {"intent_id": f"i{number}", "customer_id": customer, "intent": intent, "status": status, "detected_at": at}


def span(customer: str, intent: str, from_ms: int, until_ms: int, stage: int = 1) -> TrueSpan:
    """A true want."""
    return TrueSpan(customer, intent, "birthday", stage, from_ms, until_ms)


def test_a_span_survives_its_line() -> None:
    """A truth file's line names from and until, and reads back as the same span."""
    one = span("4711", "ice_cream", 5, 9, stage=2)
    assert b'"from":5' in to_line(one)
    assert from_line(to_line(one)) == one


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"customer_id":"\xff"}'])
def test_a_broken_truth_is_refused(line: bytes) -> None:
    """A line that is no span is an error, not an empty truth."""
    with pytest.raises(BadTruth):
        from_line(line)


@pytest.mark.parametrize(
    ("at", "right"),
    [(69, False), (70, True), (99, True), (100, True), (199, True), (200, False)],
)
def test_an_alarm_is_right_from_one_horizon_before_a_want_to_its_end(at: int, right: bool) -> None:
    """Right if the want [100, 200) meets (t, t + 30]: not a ms earlier, not once it has ended."""
    found = judge([alarm(1, "c", "a", at)], [span("c", "a", 100, 200)], [], horizon_ms=H).model
    assert (found.precision, found.recall) == (float(right), float(right))


def test_another_customers_or_subjects_want_is_none() -> None:
    """Customer and subject must both be the span's."""
    spans = [span("c", "a", 100, 200)]
    found = judge([alarm(1, "d", "a", 150), alarm(2, "c", "b", 150)], spans, [], horizon_ms=H).model
    assert (found.alarms, found.precision, found.recall) == (2, 0.0, 0.0)


def test_an_outcome_within_the_horizon_makes_an_alarm_right() -> None:
    """A whim is no true span, but who bought was rightly foreseen; lead is to the first outcome."""
    events = [Occurrence("c", "cart_add", 1_010, ("a",), "e1"), Occurrence("c", "purchase", 1_020, ("a",), "e2")]
    found = judge([alarm(1, "c", "a", 1_000), alarm(2, "c", "a", 1_010)], [], events, horizon_ms=10).model
    assert (found.precision, found.followed, found.median_lead_s) == (1.0, 1.0, 0.01)
    assert math.isnan(found.recall)
    late = judge([alarm(1, "c", "a", 999)], [], events, horizon_ms=10).model
    assert (late.precision, late.followed) == (0.0, 0.0)


def test_foreseen_means_before_a_later_stage_began() -> None:
    """Only later stages can be foreseen, and only by an alarm before the want itself began."""
    spans = [span("c", "a", 100, 200), span("c", "b", 300, 400, stage=2), span("c", "d", 500, 600, stage=3)]
    alarms = [alarm(1, "c", "a", 90), alarm(2, "c", "b", 290), alarm(3, "c", "d", 500)]
    found = judge(alarms, spans, [], horizon_ms=H).model
    assert (found.recall, found.foreseen) == (1.0, 0.5)


def test_an_intent_counts_once() -> None:
    """Only `detected` is an alarm, and a record read twice is one: the topic may repeat."""
    records = [alarm(1, "c", "a", 100), alarm(1, "c", "a", 100), alarm(1, "c", "a", 100, "expired")]
    records.append(alarm(2, "c", "a", 100, "strengthened"))
    found = judge(records, [span("c", "a", 100, 200)], [], horizon_ms=H).model
    assert (found.alarms, found.precision) == (1, 1.0)


def browse(customer: str, start: int, subjects: str) -> list[Occurrence]:
    """Views one after another, 1 ms apart."""
    return [
        Occurrence(customer, "view", start + n, (subject,), f"{customer}{start + n}")
        for n, subject in enumerate(subjects)
    ]


def test_the_rule_prefers_what_was_touched_again() -> None:
    """At the recall of one span the rule sounds for the subject that was looked at twice in a row, and for no other."""
    events = browse("c", 0, "xyz") + browse("d", 100, "aa") + browse("f", 200, "u")
    spans = [span("d", "a", 100, 200), span("f", "q", 900, 999)]
    found = judge([alarm(1, "d", "a", 150)], spans, events, horizon_ms=H)
    assert found.rule.recall == found.model.recall == 0.5
    assert (found.rule.alarms, found.rule.precision) == (1, 1.0)


def test_the_rule_cools_down_too() -> None:
    """However often a subject is viewed within the horizon, the rule sounds once for it."""
    events = browse("c", 0, "a" * 20) + browse("d", 100, "b")
    spans = [span("c", "a", 0, 50), span("d", "b", 100, 150)]
    found = judge([alarm(1, "c", "a", 5), alarm(2, "d", "b", 105)], spans, events, horizon_ms=H)
    assert (found.rule.recall, found.rule.alarms) == (1.0, 2)


def test_the_rule_stays_below_a_recall_it_cannot_reach() -> None:
    """What was never touched no such rule finds: it sounds for all it has, and its lower recall is said."""
    spans = [span("c", "a", 0, 10), span("c", "ghost", 0, 10)]
    found = judge([alarm(1, "c", "a", 0), alarm(2, "c", "ghost", 0)], spans, browse("c", 0, "ab"), horizon_ms=H)
    assert (found.model.recall, found.rule.recall) == (1.0, 0.5)


def test_silence_is_compared_with_silence() -> None:
    """No intents at all: the rule is silent at that recall, and nothing breaks."""
    found = judge([], [span("c", "a", 0, 10)], browse("c", 0, "ab"), horizon_ms=H)
    assert (found.model.alarms, found.rule.alarms, found.model.recall) == (0, 0, 0.0)
    assert [what for what, _, _ in found.rows()] == [
        "alarms",
        "precision",
        "followed",
        "recall",
        "foreseen",
        "median_lead_s",
    ]


@given(
    st.lists(st.tuples(st.sampled_from("cd"), st.sampled_from("abc"), st.integers(0, 5)), max_size=30),
    st.lists(st.tuples(st.sampled_from("cd"), st.sampled_from("abc"), st.integers(0, 90)), max_size=6),
    st.lists(st.tuples(st.sampled_from("cd"), st.sampled_from("abc"), st.integers(0, 90)), max_size=5),
)
def test_the_rule_has_the_least_alarms_of_its_recall(
    steps: list[tuple[str, str, int]], told: list[tuple[str, str, int]], wanted: list[tuple[str, str, int]]
) -> None:
    """The rule reaches the model's recall wherever all of its alarms do, and the same input gives the same answer."""
    events, time = [], 0
    for place, (customer, subject, wait) in enumerate(steps):
        time += wait
        events.append(Occurrence(customer, "view", time, (subject,), f"e{place}"))
    alarms = [alarm(n, *one) for n, one in enumerate(told)]
    spans = [span(customer, subject, start, start + 20) for customer, subject, start in wanted]
    found = judge(alarms, spans, events, horizon_ms=H)
    # A prophet asks for every span: what the rule then catches is all that it can.
    everything = [alarm(n, each.customer_id, each.intent, each.from_ms) for n, each in enumerate(spans)]
    most: Comparison = judge(everything, spans, events, horizon_ms=H)
    if spans:
        assert found.rule.recall >= min(found.model.recall, most.rule.recall)
    assert repr(judge(alarms, spans, events, horizon_ms=H)) == repr(found)
