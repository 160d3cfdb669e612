"""What published records add up to, and which of it still matters to a customer's state."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from features.kinds import CODE
from features.log import ENTRY
from features.state import SLOTS, States, decode, encode
from intents.adoption import Published
from intents.change import Note
from intents.intent import Evidence, Intent, JourneyStep, ModelName, Source, Status, intent_uuid
from intents.life import Rules
from intents.subjects import Names, SubjectCollision, subject_hash
from tests.intents.steered import STEERED, T

RULES = Rules()
MINUTE = 60_000


def intent(
    status: Status = "detected", sequence: int = 0, at: int = 0, subject: str = "tea", offset: int = 7
) -> Intent:
    """One change of an intent of anna's that was detected `at` ms after T."""
    return Intent(
        intent_id=str(intent_uuid("default", "main", "anna", subject, T + at, f"e{at}")),
        sequence=sequence,
        customer_id="anna",
        intent=subject,
        label=subject.title(),
        status=status,
        confidence=0.4,
        journey=JourneyStep("brew", 1, "cups", 0.2),
        evidence=[Evidence("views_1m", 1, "1 view in 1 min")],
        detected_at=T + at,
        updated_at=T + at,
        expires_at=T + at + RULES.horizon_ms,
        model=ModelName("logistic", "12-ab", "main"),
        source=Source("clickstream", 3, offset, f"e{offset}"),
        soon=0.7001,
    )


def published(*intents: Intent, mark: int = 0) -> Published:
    """What these add up to, each with the watermark `mark` ms after T."""
    found = Published("clickstream", 3)
    for each in intents:
        found.take(msgspec.json.encode(each), T + mark)
    return found


def anna(newest: int = 0) -> States:
    """Anna's state, of whom nothing is logged, but who was last seen `newest` ms after T."""
    states = decode(["anna"], [None])
    states.memory.newest[0] = T + newest
    return states


def test_an_open_intent_is_as_its_life_had_left_it() -> None:
    """Slot and note hold what the last change said, and survive being stored."""
    states, names = anna(), Names()
    last = intent("strengthened", 2, offset=9)
    told = published(last, intent(), intent("weakened", 1)).install(states, RULES, names)
    assert told == names == {subject_hash("tea"): "tea"}
    slot = states.slots[0, 0]
    assert (slot["subject"], slot["open"], slot["sequence"], slot["confidence"]) == (subject_hash("tea"), 1, 2, 4_000)
    assert (slot["detected_at"], slot["expires_at"], slot["offset"]) == (T, T + RULES.horizon_ms, 9)
    assert slot["cool_until"] == T + RULES.cooldown_ms
    assert slot["intent_id"].tobytes().hex() == last.intent_id.replace("-", "")
    again = decode(["anna"], encode(states, STEERED.hash))
    assert np.array_equal(again.slots, states.slots) and again.notes == states.notes
    assert msgspec.msgpack.decode(states.notes[0, 0]) == [
        *("e9", "12-ab", msgspec.to_builtins(last.journey), 7_001, False)
    ]


def test_whose_word_it_was() -> None:
    """Of an intent that the fallback spoke of last, that is taken over too."""
    states = anna()
    fallback = msgspec.structs.replace(intent(), model=ModelName("fallback", "12-ab", "main"))
    published(fallback).install(states, RULES, Names())
    assert msgspec.msgpack.decode(states.notes[0, 0], type=Note).fallback


def test_an_open_intent_of_a_model_without_a_day() -> None:
    """What was not known of the next day stays unknown, also of records from before there was such a word."""
    for value in (msgspec.structs.replace(intent(), soon=None), intent()):
        states, found, wire = anna(), Published("clickstream", 3), msgspec.to_builtins(value)
        if value.soon is not None:
            del wire["soon"]
        found.take(msgspec.json.encode(wire), T)
        found.install(states, RULES, Names())
        assert msgspec.msgpack.decode(states.notes[0, 0])[3] is None


@pytest.mark.parametrize("status", ["fulfilled", "forgotten"])
def test_an_end_leaves_nothing(status: Status) -> None:
    """What was fulfilled or forgotten is over, and what the store still had of it goes."""
    states = anna()
    published(intent()).install(states, RULES, Names())
    published(intent(), intent(status, 1)).install(states, RULES, Names())
    assert not states.slots["subject"].any() and not states.notes


@pytest.mark.parametrize(("newest", "cools"), [(0, True), (30 * MINUTE - 1, True), (30 * MINUTE, False)])
def test_a_cool_down_in_the_customers_time(newest: int, cools: bool) -> None:
    """An expired intent keeps its slot, closed, for as long as it may keep its subject quiet."""
    states = anna(newest)
    published(intent(), intent("expired", 1)).install(states, RULES, Names())
    assert bool(states.slots["subject"].any()) is cools and not states.slots["open"].any() and not states.notes


@pytest.mark.parametrize(("at", "cools"), [(0, True), (1, False), (40 * MINUTE, False)])
def test_an_outcome_ends_a_cool_down(at: int, cools: bool) -> None:
    """What was put into the cart after it was detected may be detected again."""
    states = anna(40 * MINUTE)
    entry = np.zeros(1, dtype=ENTRY)
    entry["time"], entry["subject"], entry["kind"], entry["count"] = T + at, subject_hash("tea"), CODE["cart_add"], 1
    states.logs.insert(entry, np.zeros(1, np.int64), np.full(1, -1))
    published(intent(), intent("expired", 1)).install(states, replace(RULES, cooldown_ms=60 * MINUTE), Names())
    assert bool(states.slots["cool_until"][0, 0] > T + 40 * MINUTE) is cools


def test_the_newest_of_a_subject() -> None:
    """In whatever order and how often records come, of one subject the newest intent counts."""
    records = [intent(), intent("expired", 1), intent(at=31 * MINUTE, offset=9)]
    for order in (records, records[::-1], [*records, records[0]]):
        states = anna(31 * MINUTE)
        published(*order).install(states, RULES, Names())
        assert states.slots["detected_at"][0].tolist() == [T + 31 * MINUTE] + [0] * (SLOTS - 1)


def test_no_more_than_fit() -> None:
    """The newest are kept."""
    states = anna(40)
    told = published(*(intent(at=n, subject=f"s{n}") for n in range(20))).install(states, RULES, Names())
    assert sorted(told.values()) == sorted(f"s{n}" for n in range(4, 20))


def test_an_intent_without_a_log() -> None:
    """Where retention has cut the log, a state lasts at least as long as its intent's."""
    states = decode(["anna"], [None])
    published(intent()).install(states, RULES, Names())
    assert states.memory.newest[0] == T


def test_last_answered_and_watermark() -> None:
    """The highest source offset and its subjects; a deadline's header is what the watermark was past."""
    found = published(intent(offset=9), intent(subject="cups", offset=9), intent(subject="old", offset=8), mark=5)
    assert (found.last, found.answered) == (9, {subject_hash("tea"), subject_hash("cups")})
    assert found.watermark == T + 5
    assert published(intent("expired", 1), mark=5).watermark == T + 6
    for position in (12, 30, -1, 11):
        found.take(msgspec.json.encode(intent("expired", 1)), T, position)
    assert (found.last, found.position) == (9, 30)


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b"[]", b"null"])
def test_what_is_no_intent_of_ours(value: bytes) -> None:
    """Somebody else's records, and intents of other partitions and topics, are left alone."""
    found = published(intent())
    found.take(value, T + 99)
    source = intent().source
    for other in (msgspec.structs.replace(source, partition=4), msgspec.structs.replace(source, topic="clicks")):
        found.take(msgspec.json.encode(msgspec.structs.replace(intent(offset=99), source=other)), T + 99)
    assert (found.last, found.watermark, found.customers) == (7, T, ["anna"])


def test_a_collision_stops() -> None:
    """Two names of one hash are never mixed up."""
    names = Names({subject_hash("tea"): "coffee"})
    with pytest.raises(SubjectCollision):
        published(intent()).install(anna(), RULES, names)
