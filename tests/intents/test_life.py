"""An intent begins, changes and ends as the rules say, to the millisecond and to the last digit."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from features.memory_store import MemoryStore
from features.state import States, UnreadableState, decode, encode
from intents.alarms import Curve
from intents.catalog import Catalogue
from intents.counts import F64
from intents.detect import Setup
from intents.intent import Intent
from intents.life import Rules
from intents.subjects import subject_hash
from intents.tables import Tables
from intents.targets import Target
from tests.intents.replaying import MINUTE, Drive, in_chunks, unready
from tests.intents.steered import HORIZON, LATENESS, STEERED, Shop, T, steered_model

LONG = Rules(horizon_ms=30 * MINUTE, cooldown_ms=60 * MINUTE)
"""A cool-down that lasts longer than the intent."""


@pytest.fixture
def shop() -> Shop:
    """A shop with the rules that ship."""
    return Shop()


# Beginning


def test_detected_from_the_threshold(shop: Shop) -> None:
    """An intent is detected from a probability of 0.15 on, not below it."""
    shop.view(0, "tea", 0.1499)
    shop.view(MINUTE, "rum", 0.15)
    assert shop.lives() == [("detected", "rum", MINUTE)]


def test_rounded_before_the_threshold(shop: Shop) -> None:
    """A probability is rounded to 1e-4 before it is compared and published."""
    shop.view(0, "tea", 0.149951)
    shop.view(MINUTE, "rum", 0.149949)
    assert [(said.intent, said.p) for said in shop.said()] == [("tea", 0.15)]


def test_what_a_detected_intent_says(shop: Shop) -> None:
    """It begins with sequence 0, ends a horizon later, and names the event that it comes from."""
    shop.view(0, "rum", 0.1)
    event_id = shop.view(MINUTE, "tea", 0.6)
    (intent,) = shop.intents()
    assert (intent.sequence, intent.detected_at, intent.updated_at) == (0, T + MINUTE, T + MINUTE)
    assert intent.expires_at == T + MINUTE + HORIZON
    assert (intent.source.topic, intent.source.partition) == ("clickstream", 0)
    assert (intent.source.offset, intent.source.event_id) == (1, event_id)
    assert (intent.model.name, intent.model.version, intent.model.variant) == ("logistic", "1-steered", "main")
    assert intent.confidence == 0.6


def test_only_what_was_asked(shop: Shop) -> None:
    """Only views, clicks, banner clicks and searches ask; an event older than the customer's newest asks nothing."""
    shop.view(MINUTE, "tea", 0.1)
    shop.view(30_000, "tea", 0.9)  # late: it counts, but asks nothing
    for kind in ("impression", "favorite", "cart_remove", "refund", "checkout", "message", "feedback"):
        shop.do(kind, 2 * MINUTE, "tea")
    assert shop.lives() == []
    shop.do("banner_click", 2 * MINUTE, "tea")
    assert shop.lives() == [("detected", "tea", 2 * MINUTE)]


def test_event_without_subject(shop: Shop) -> None:
    """An event without a subject is logged and asks nothing, though other subjects are likely."""
    shop.view(0, "tea", 0.1)
    shop.view(-1_000, "tea", 0.9)
    shop.do("view", MINUTE, None)
    assert shop.lives() == []


def test_duplicate_asks_nothing(shop: Shop) -> None:
    """The same id a second time changes nothing."""
    shop.view(0, "tea", 0.1)
    shop.view(-1_000, "tea", 0.9)
    shop.records.append(shop.records[0])
    assert shop.lives() == []


def test_two_subjects_of_one_ask_in_candidate_order(shop: Shop) -> None:
    """Intents of one event are published in candidate order: latest touch first, whatever their probability."""
    shop.view(1, "rum", 0.1)
    shop.view(2, "tea", 0.1)
    shop.view(0, "rum", 0.9)  # late
    shop.view(1, "tea", 0.3)  # late
    shop.do("click", MINUTE, "tea")
    assert [said.intent for said in shop.said()] == ["tea", "rum"]


def test_sixteen_at_most() -> None:
    """A customer has at most 16 intents open or cooling down; what finds no place is counted and not published."""
    shop = Shop()
    for n in range(20):
        shop.view(n, f"c{n:02}", 0.5)
    assert [said.intent for said in shop.said()] == [f"c{n:02}" for n in range(16)]
    assert shop.drive().unslotted == 4 + 3 + 2 + 1  # each is asked for again with the views that follow
    shop.do("cart_add", 100, "c03")
    shop.do("click", 101, "c19")
    assert shop.lives()[16:] == [("fulfilled", "c03", 100), ("detected", "c19", 101)]


def test_not_ready_emits_nothing_new() -> None:
    """A model that is not ready begins nothing and changes nothing."""
    shop = Shop(model=steered_model(ready=False))
    shop.view(0, "tea", 0.99)
    assert shop.lives() == []


def test_the_fallback_speaks_and_says_so() -> None:
    """A model that loses is not asked: what was touched last is wanted as often as ever, whatever the model thinks."""
    tables = Tables()
    tables.ranks[0], tables.ranks[1, :2] = 990.0, (499.9, 99.9)
    shop = Shop(model=replace(steered_model(tables=tables, soon=True), losing=True))
    shop.view(0, "tea", 0.99)
    shop.view(1, "rum", 0.01)
    shop.do("purchase", 2, "rum")
    shop.clock(HORIZON + 10)
    told = shop.intents()
    assert [(one.status, one.intent, one.confidence) for one in told] == [
        ("detected", "tea", 0.5),
        ("detected", "rum", 0.5),
        ("weakened", "tea", 0.1),
        ("fulfilled", "rum", 0.5),
        ("expired", "tea", 0.1),
    ]
    assert {(one.model.name, one.soon) for one in told} == {("fallback", None)}
    assert [one.evidence[0].text for one in told[:3]] == ["looked at last", "looked at last", "looked at lately"]


def test_whose_word_it_is_stays_with_it() -> None:
    """An intent ends by the name of who spoke last, though another speaks meanwhile."""
    tables = Tables()
    tables.ranks[0], tables.ranks[1, 0] = 990.0, 499.9
    for first, name in ((True, "fallback"), (False, "logistic")):
        shop = Shop(model=replace(steered_model(tables=tables), losing=first))
        shop.view(0, "tea", 0.5)
        shop.clock(HORIZON + 10)
        catalogue = Catalogue()
        setup = Setup(STEERED, catalogue, catalogue.names, shop.rules)
        store, told = MemoryStore(), list[Intent]()
        for losing, lane, begin in ((first, shop.records[:1], 0), (not first, shop.records, 1)):
            model = replace(shop.model, losing=losing)
            drive = Drive(setup, model, [lane], store=store, begin=begin)
            told += asyncio.run(drive.run(in_chunks([lane], 9))).intents[0]
        assert [(one.status, one.model.name) for one in told] == [("detected", name), ("expired", name)]


# Changing


def test_strengthened_and_weakened_by_a_step(shop: Shop) -> None:
    """An open intent says so when its probability has moved by 0.10 from what it said last, not less."""
    for minute, p in enumerate((0.5, 0.5999, 0.6, 0.65, 0.5001, 0.5, 0.45, 0.4)):
        shop.view(minute * MINUTE, "tea", p)
    assert [(said.status, said.at // MINUTE, said.p, said.sequence) for said in shop.said()] == [
        ("detected", 0, 0.5, 0),
        ("strengthened", 2, 0.6, 1),
        ("weakened", 5, 0.5, 2),
        ("weakened", 7, 0.4, 3),
    ]


def test_weakened_below_the_threshold_stays_open(shop: Shop) -> None:
    """An intent whose probability falls below the threshold stays open, and is not detected a second time."""
    for minute, p in enumerate((0.3, 0.01, 0.3)):
        shop.view(minute * MINUTE, "tea", p)
    assert [said.status for said in shop.said()] == ["detected", "weakened", "strengthened"]


def test_expires_at_stays(shop: Shop) -> None:
    """Strengthening never extends an intent; all its events name one id and one end, and the change's own source."""
    shop.view(0, "tea", 0.3)
    later = shop.view(20 * MINUTE, "tea", 0.9)
    shop.clock(HORIZON + 1)
    intents = shop.intents()
    assert [intent.status for intent in intents] == ["detected", "strengthened", "expired"]
    assert {intent.expires_at for intent in intents} == {T + HORIZON}
    assert len({intent.intent_id for intent in intents}) == 1
    assert [intent.source.event_id for intent in intents[1:]] == [later, later]
    assert [intent.source.offset for intent in intents] == [0, 1, 1]
    assert [intent.confidence for intent in intents] == [0.3, 0.9, 0.9]


def test_what_is_said_of_the_next_day() -> None:
    """An intent says how likely an outcome within a day is, as of its last change by a question, and ends with that."""
    shop = Shop(model=steered_model(soon=True))
    shop.view(0, "tea", 0.3)
    shop.view(MINUTE, "tea", 0.35)  # too little to be said
    shop.view(2 * MINUTE, "tea", 0.5)
    shop.clock(HORIZON + 1)
    intents = shop.intents()
    odds = [math.e * p / (1 - p) for p in (0.3, 0.5, 0.5)]
    assert [intent.status for intent in intents] == ["detected", "strengthened", "expired"]
    assert [intent.soon for intent in intents] == [round(odd / (1 + odd), 4) for odd in odds]


def test_nothing_is_said_of_the_next_day_before_it_is_known(shop: Shop) -> None:
    """A model whose other head is not ready says nothing of the next day; one that is not ready at all, neither."""
    shop.view(0, "tea", 0.3)
    shop.do("cart_add", MINUTE, "tea")
    assert [intent.soon for intent in shop.intents()] == [None, None]


def test_another_subjects_view_changes_it_too(shop: Shop) -> None:
    """A question about any subject asks for all candidates, so an intent moves by what is done elsewhere."""
    shop.view(1, "tea", 0.3)
    shop.view(0, "tea", 0.9)  # late: it counts, but asks nothing
    shop.view(MINUTE, "rum", 0.01)
    assert shop.lives() == [("detected", "tea", 1), ("strengthened", "tea", MINUTE)]


# Fulfilled


@pytest.mark.parametrize("kind", ["cart_add", "purchase"])
@pytest.mark.parametrize(("at", "fulfilled"), [(0, False), (1, True), (HORIZON, True), (HORIZON + 1, False)])
def test_fulfilled_within_the_horizon(shop: Shop, kind: str, at: int, fulfilled: bool) -> None:
    """A cart_add or purchase fulfils an intent if its time lies in (detected_at, expires_at]."""
    shop.view(0, "tea", 0.3)
    event_id = shop.do(kind, at, "tea")
    said = shop.said()[1:]
    assert [(s.status, s.at, s.p, s.sequence, s.source) for s in said] == [
        ("fulfilled", at, 0.3, 1, event_id)
    ] * fulfilled


def test_fulfilled_says_what_did_it(shop: Shop) -> None:
    """The outcome is the evidence; the model's version stays that of the word that it confirms."""
    shop.view(0, "tea", 0.3)
    shop.do("purchase", MINUTE, "tea")
    end = shop.intents()[1]
    assert [(e.feature, e.value, e.text) for e in end.evidence] == [("purchase", 1, "bought")]
    assert end.model.version == "1-steered"


def test_outcomes_of_others_fulfil_nothing(shop: Shop) -> None:
    """Another subject's outcome, and another customer's, leave an intent alone."""
    shop.view(0, "tea", 0.3)
    shop.do("cart_add", MINUTE, "rum")
    shop.do("cart_add", MINUTE, "tea", "ben")
    assert [said.status for said in shop.said()] == ["detected"]


def test_fulfilled_once(shop: Shop) -> None:
    """An intent has one end: a second outcome is none of its business, nor is its deadline."""
    shop.view(0, "tea", 0.3)
    shop.do("cart_add", MINUTE, "tea")
    shop.do("purchase", 2 * MINUTE, "tea")
    shop.clock(HORIZON + 1)
    assert [said.status for said in shop.said()] == ["detected", "fulfilled"]


def test_late_outcome_fulfils_by_its_own_time(shop: Shop) -> None:
    """An outcome that arrives late fulfils by its own time, and says that time."""
    shop.view(0, "tea", 0.3)
    shop.do("impression", 10 * MINUTE)
    shop.do("cart_add", 5 * MINUTE, "tea")
    assert shop.said()[1][:4] == ("fulfilled", "anna", "tea", 5 * MINUTE)
    assert shop.said()[1].watermark == 10 * MINUTE - LATENESS


def test_late_outcome_before_the_intent(shop: Shop) -> None:
    """An outcome older than the intent does not fulfil it."""
    shop.view(MINUTE, "tea", 0.3)
    shop.do("cart_add", 30_000, "tea")
    assert [said.status for said in shop.said()] == ["detected"]


def test_basket_fulfils_line_by_line(shop: Shop) -> None:
    """The lines of one purchase fulfil each its intent, in their order, at one record."""
    shop.view(0, "tea", 0.3)
    shop.view(1, "rum", 0.4)
    lines = [{"category": "rum"}, {"category": "jam"}, {"category": "tea"}]
    event_id = shop.do("purchase", MINUTE, None, items=lines)
    ends = [said for said in shop.said() if said.status == "fulfilled"]
    assert [(end.intent, end.source) for end in ends] == [("rum", f"{event_id}#0"), ("tea", f"{event_id}#2")]


def test_outcome_of_several_subjects() -> None:
    """An event that maps to several subjects fulfils the intents of all of them."""
    shop = Shop(catalogue='[intent.party]\ncategory = "balloons"\n[intent.fun]\ncategory = ["ball*"]\n')
    shop.view(0, "balloons", 0.3)
    shop.do("cart_add", MINUTE, "balloons")
    assert [(said.status, said.intent) for said in shop.said()] == [
        ("detected", "fun"),  # touched last, so the first candidate
        ("detected", "party"),
        ("fulfilled", "party"),
        ("fulfilled", "fun"),
    ]


# Expired


def test_expires_when_the_watermark_is_greater(shop: Shop) -> None:
    """A deadline fires before the first record whose watermark is greater, not equal, and says its own time."""
    event_id = shop.view(0, "tea", 0.3)
    shop.clock(HORIZON)
    assert [said.status for said in shop.said()] == ["detected"]
    shop.clock(HORIZON + 10 * MINUTE)
    said = shop.said()[1]
    assert said == ("expired", "anna", "tea", HORIZON, 0.3, 1, event_id, HORIZON)


def test_expires_at_the_first_record_after_it(shop: Shop) -> None:
    """A record whose watermark equals the deadline comes before its firing; one with a greater watermark, after it."""
    shop.view(0, "tea", 0.3)
    for n, customer in enumerate(["ben", "chris"]):
        shop.view(HORIZON + LATENESS + n, "tea", 0.3, customer)
    assert [(said.status, said.customer) for said in shop.said()] == [
        ("detected", "anna"),
        ("detected", "ben"),
        ("expired", "anna"),
        ("detected", "chris"),
    ]


def test_what_cools_down_keeps_its_place_and_no_words(shop: Shop) -> None:
    """Of an expired intent the state holds its place, until a question after its cool-down, and no note."""
    shop.view(0, "tea", 0.3)
    shop.clock(HORIZON + 1)
    cooling = _state(shop)
    assert (cooling.slots["subject"] != 0).sum() == 1 and not cooling.slots["open"].any()
    assert not any(cooling.notes.values())


def test_a_state_does_not_tell_the_order_of_ends(shop: Shop) -> None:
    """A place that became free and was taken again leaves the same bytes, however the events were cut."""
    for n, subject in enumerate(["tea", "rum", "jam", "nut"]):
        shop.view(n, subject, 0.3)
    shop.do("cart_add", 10, "tea")
    shop.do("cart_add", 11, "jam")
    shop.view(12, "egg", 0.3)
    shop.view(13, "ham", 0.3)
    shop.intents()  # compares the states
    slots = [int(subject) for subject in _state(shop).slots["subject"][0] if subject]
    assert slots == sorted(slots) and len(slots) == 6


def _state(shop: Shop) -> States:
    drive = shop.drive()
    found = asyncio.run(drive.store.peek(drive.partitions[0].key, ["anna"]))
    return decode(["anna"], found)


def test_expires_before_the_customers_own_event(shop: Shop) -> None:
    """An outcome that brings the watermark past the deadline comes too late, though its time may be right."""
    shop.view(0, "tea", 0.3)
    shop.clock(HORIZON + 1)
    shop.do("cart_add", 10 * MINUTE, "tea")
    assert shop.lives() == [("detected", "tea", 0), ("expired", "tea", HORIZON)]


def test_order_of_publication(shop: Shop) -> None:
    """At one record: deadlines first, by time, customer and subject; then what the record itself led to."""
    for customer, subject, at in (("zoe", "tea", 0), ("ben", "tea", 1), ("anna", "tea", 1), ("anna", "rum", 1)):
        shop.view(at, subject, 0.3, customer)
    shop.view(HORIZON + LATENESS + 2, "jam", 0.3, "anna")
    first, second = sorted(["tea", "rum"], key=subject_hash)
    assert [(said.status, said.customer, said.intent) for said in shop.said() if said.at] == [
        ("detected", "ben", "tea"),
        ("detected", "anna", "tea"),
        ("detected", "anna", "rum"),
        ("expired", "zoe", "tea"),
        ("expired", "anna", first),
        ("expired", "anna", second),
        ("expired", "ben", "tea"),
        ("detected", "anna", "jam"),
        ("detected", "anna", "rum"),
        ("detected", "anna", "tea"),
    ]


def test_overdue_intent_does_not_change(shop: Shop) -> None:
    """Past its end, and before the watermark says so, an open intent neither changes nor is fulfilled."""
    shop.view(0, "tea", 0.3)
    shop.view(HORIZON, "tea", 0.5)
    shop.view(HORIZON + 1, "tea", 0.9)
    shop.do("cart_add", HORIZON + 2, "tea")
    shop.clock(HORIZON + 1)
    assert shop.lives() == [("detected", "tea", 0), ("strengthened", "tea", HORIZON), ("expired", "tea", HORIZON)]


def test_late_question_opens_what_is_over(shop: Shop) -> None:
    """A customer far behind the others may begin what is over: it expires before the next record, not before itself."""
    shop.clock(60 * MINUTE)
    shop.view(0, "tea", 0.3)
    assert shop.lives() == [("detected", "tea", 0)]
    shop.view(1, "tea", 0.4, "ben")
    shop.view(2, "tea", 0.4, "ben")
    assert [(said.status, said.customer, said.at, said.watermark) for said in shop.said()] == [
        ("detected", "anna", 0, 60 * MINUTE),
        ("expired", "anna", HORIZON, HORIZON),
        ("detected", "ben", 1, 60 * MINUTE),
        ("expired", "ben", HORIZON + 1, HORIZON + 1),
    ]


# The threshold of a target


def curve(right: float) -> Curve:
    """1,000 alarms at .01, a tenth fewer at each threshold; from .30 on a share is right, below half of that."""
    alarms: F64 = 1_000 * 0.9 ** np.arange(60.0)
    return Curve(0, alarms, alarms * np.where(np.arange(60) < 29, right / 2, right), 100.0)


@pytest.mark.parametrize(("right", "least"), [(0.4, 0.3), (0.5, 0.02), (0.8, 0.02)])
def test_a_snapshot_s_threshold_is_met_exactly(right: float, least: float) -> None:
    """An intent is detected from the very threshold on that meets the target by what the snapshot knows of alarms."""
    rules = Rules(Target("precision", 0.25))
    for p, detected in ((least, True), (least - 0.0001, False)):
        shop = Shop(rules=rules, model=replace(steered_model(), curve=curve(right)))
        shop.view(0, "tea", p)
        assert bool(shop.lives()) is detected


def test_another_snapshot_another_threshold() -> None:
    """Each snapshot has its threshold, and each target has its own by the same snapshot."""
    snapshots = [replace(steered_model(), curve=curve(right)) for right in (0.4, 0.8)]
    told = {"precision=0.25": [False, True], "precision=0.5": [False, False], "alarms=9": [True, True]}
    for target, wanted in told.items():
        found = []
        for model in snapshots:
            shop = Shop(rules=Rules(Target.parse(target)), model=model)
            shop.view(0, "tea", 0.2)
            found.append(bool(shop.lives()))
        assert found == wanted


def test_the_default_where_no_model_is_served() -> None:
    """A fallback's rates are no model's word: while it is served, the default counts, whatever the curve knows."""
    model = replace(steered_model(), curve=curve(0.8), losing=True)
    assert model.threshold(Target("precision", 0.25)) == (0.15, "until a model is served, for precision=0.25")
    assert unready(replace(model, losing=False)).threshold(Target("alarms", 1)).value == 0.15
    assert model.threshold(0.4) == (0.4, "as set")


# Cool-down


def test_detected_again_after_the_horizon(shop: Shop) -> None:
    """With a cool-down as long as the horizon, an expired intent can be detected anew at once, with another id."""
    shop.view(0, "tea", 0.3)
    shop.view(HORIZON + LATENESS, "tea", 0.3)  # the watermark is not yet greater than the end
    shop.view(HORIZON + LATENESS + 1, "tea", 0.3)
    intents = shop.intents()
    assert [intent.status for intent in intents] == ["detected", "expired", "detected"]
    assert intents[0].intent_id == intents[1].intent_id != intents[2].intent_id
    assert intents[2].sequence == 0


@pytest.mark.parametrize(("at", "again"), [(60 * MINUTE - 1, False), (60 * MINUTE, True)])
def test_cool_down_by_the_customers_time(at: int, again: bool) -> None:
    """The cool-down counts from the last detection and is over for a question at its end or later."""
    shop = Shop(rules=LONG)
    shop.view(0, "tea", 0.3)
    shop.clock(HORIZON + 1)
    shop.view(at, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "expired"] + ["detected"] * again


def test_the_watermark_does_not_end_a_cool_down(shop: Shop) -> None:
    """Of a customer far behind the watermark a view every minute is one intent in half an hour, not one a view."""
    shop.clock(10 * HORIZON)
    for minute in range(30):
        shop.view(minute * MINUTE, "tea", 0.3)
    shop.view(HORIZON, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "expired", "detected"]


def test_outcome_ends_the_cool_down() -> None:
    """After a fulfilled intent the same subject may be detected at once."""
    shop = Shop(rules=LONG)
    shop.view(0, "tea", 0.3)
    shop.do("cart_add", 1, "tea")
    shop.view(2, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "fulfilled", "detected"]


@pytest.mark.parametrize(("at", "again"), [(0, False), (1, True)])
def test_outcome_after_expiry_ends_the_cool_down(at: int, again: bool) -> None:
    """An outcome later than the detection ends the cool-down of an expired intent; an older one does not."""
    shop = Shop(rules=LONG)
    shop.view(0, "tea", 0.3)
    shop.clock(HORIZON + 1)
    shop.do("cart_add", at, "tea")
    shop.view(40 * MINUTE, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "expired"] + ["detected"] * again


def test_outcome_of_an_overdue_intent_ends_the_cool_down() -> None:
    """An outcome between an intent's end and its deadline's firing fulfils nothing, but no cool-down follows."""
    shop = Shop(rules=LONG)
    shop.view(0, "tea", 0.3)
    shop.do("cart_add", HORIZON + 1, "tea")
    shop.clock(HORIZON + 1)
    shop.view(40 * MINUTE, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "expired", "detected"]


def test_cool_down_shorter_than_the_intent() -> None:
    """A cool-down that is over while the intent is open does not open a second one."""
    shop = Shop(rules=Rules(cooldown_ms=MINUTE))
    shop.view(0, "tea", 0.3)
    shop.view(5 * MINUTE, "tea", 0.3)
    shop.clock(HORIZON + 1)
    shop.view(HORIZON + 2, "tea", 0.3)
    assert [said.status for said in shop.said()] == ["detected", "expired", "detected"]


def test_cooling_intents_hold_their_places() -> None:
    """The 16 places hold cooling intents too, until their cool-down is over."""
    shop = Shop(rules=LONG)
    for n in range(16):
        shop.view(n, f"c{n:02}", 0.3)
    shop.clock(50 * MINUTE)
    shop.view(51 * MINUTE, "tea", 0.3)
    assert "tea" not in {said.intent for said in shop.said()}
    shop.view(60 * MINUTE, "tea", 0.3)
    assert shop.lives()[-1] == ("detected", "tea", 60 * MINUTE)


# Forgotten


def test_forgotten(shop: Shop) -> None:
    """A forget event ends open intents, by subject, at its own time; expired ones had their end, and others' stay."""
    shop.view(0, "old", 0.3)
    shop.rules = LONG  # so that the expired one cools down
    for subject in ("tea", "rum"):
        shop.view(20 * MINUTE, subject, 0.3)
    shop.view(20 * MINUTE, "tea", 0.3, "ben")
    shop.clock(HORIZON + 1)
    event_id = shop.do("forget", 40 * MINUTE)
    said = [said for said in shop.said() if said.status == "forgotten"]
    assert [s.intent for s in said] == sorted(["tea", "rum"], key=subject_hash)
    assert {(s.customer, s.at, s.sequence, s.source) for s in said} == {("anna", 40 * MINUTE, 1, event_id)}
    assert ("expired", "old", HORIZON) in shop.lives()


def test_after_being_forgotten(shop: Shop) -> None:
    """What happened before is gone, cool-downs too; what arrives of it later is dropped; a new life begins."""
    shop.view(0, "tea", 0.3)
    shop.do("forget", MINUTE)
    shop.view(30_000, "rum", 0.9)  # older than the forget event
    shop._sums.clear()
    shop.view(2 * MINUTE, "tea", 0.4)
    shop.clock(HORIZON + 90_000)
    assert [(said.status, said.intent, said.at) for said in shop.said()] == [
        ("detected", "tea", 0),
        ("forgotten", "tea", MINUTE),
        ("detected", "tea", 2 * MINUTE),
    ]


@pytest.mark.parametrize("note", [b"\xc1", b"\x93\xa1\xff\xa1a\xc0", b"\x90"])
def test_a_damaged_note(shop: Shop, note: bytes) -> None:
    """A note that cannot be read is a damaged state, which stops the worker; it is no bug of the next event's."""
    shop.view(0, "tea", 0.4)
    drive = shop.drive()
    assert isinstance(drive.store, MemoryStore)
    held = drive.store._partitions[drive.partitions[0].key].states
    states = decode(["anna"], [held["anna"]])
    states.notes[0, 0] = note
    held["anna"] = encode(states, STEERED.hash)[0] or b""
    shop.view(MINUTE, "tea", 0.9)
    later = Drive(drive.setup, shop.model, [shop.records], store=drive.store, begin=1)
    with pytest.raises(UnreadableState, match="note of an open intent is damaged"):
        asyncio.run(later.run([[(0, 1)]]))
