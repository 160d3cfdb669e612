"""The judge is judged: a clean outcome passes, and each thing that can go wrong is found and counted as what it is."""

from collections.abc import Callable
from copy import deepcopy

import orjson
import pytest

from features.state import decode as decode_states
from streams.partitioner import partitions_for
from tests.job import PARTITIONS
from tests.soak.clean import SETTINGS, Clean, wrong
from tests.soak.feed import is_bad
from tests.soak.judge import judge
from tests.soak.outcome import Letter, Outcome
from tests.soak.retention import Row


def intent_with(value: bytes, **changes: object) -> bytes:
    """An intent event with other fields."""
    return orjson.dumps(orjson.loads(value) | changes)


def first_of(outcome: Outcome, status: str) -> tuple[list[bytes], int]:
    """The partition's intents and the place in them of the first one of a status."""
    for values in outcome.intents.values():
        for place, value in enumerate(values):
            if orjson.loads(value)["status"] == status:
                return values, place
    raise AssertionError(f"none is {status}")


def test_a_clean_outcome_is_good(clean: Clean) -> None:
    """With plenty of everything in it, nothing is held against it; repeats of the same bytes are no fault."""
    outcome, snapshot = deepcopy(clean[0]), clean[1]
    verdict = judge(outcome, SETTINGS, snapshot)
    assert verdict.good and wrong(verdict) == {}, verdict.words
    assert verdict.events == 6_000 and verdict.intents > 200 and verdict.letters > 30
    assert verdict.forgotten > 25
    assert {entry.what for entry in outcome.examples} == {"asked", "outcome"} and verdict.examples > 3_000
    assert sum(is_bad(row.value) for rows in outcome.log.values() for row in rows) > 30
    for values in outcome.intents.values():
        values.extend(values[:5])
    outcome.letters += outcome.letters[:3]
    again = judge(outcome, SETTINGS, snapshot)
    assert again.good and again.plain_repeats == sum(min(5, len(v) // 2) for v in outcome.intents.values())


def forget_a_state(outcome: Outcome) -> dict[str, int]:
    """A customer's state is gone."""
    name, blob = next(iter(outcome.states.items()))
    count = int(decode_states([name], [blob]).logs.entries["count"].sum())
    del outcome.states[name]
    return {"lost": count, "states_wrong": 2}


def lose_an_event(outcome: Outcome) -> dict[str, int]:
    """A record never reached a state: the log has one more than what was counted."""
    row = Row(
        b"99",
        b'{"event_id":"x","customer_id":"99","kind":"view","time":1717519690223,"category":"c"}',
        1_790_000_000_000,
    )
    (place,) = partitions_for([b"99"], PARTITIONS).tolist()
    outcome.log[place].append(row)
    return {"lost": 1, "states_wrong": 2, "examples_missing": 1}


def count_an_event_twice(outcome: Outcome) -> dict[str, int]:
    """A state has an event that is not in the log: the last one of its customer, say, under another id."""
    number, rows = next((number, rows) for number, rows in outcome.log.items() if rows)
    place = next(n for n in reversed(range(len(rows))) if not is_bad(rows[n].value))
    rows[place] = Row(rows[place].key, b"bad-", rows[place].timestamp)
    outcome.letters.append(Letter(SETTINGS.clickstream, number, place, rows[place].key, b"bad-"))
    return {"counted_twice": 1, "examples_wrong": 1}


def invent_a_customer(outcome: Outcome) -> dict[str, int]:
    """There is a state of somebody who sent nothing."""
    name, blob = next(iter(outcome.states.items()))
    outcome.states["nobody"] = blob
    return {"counted_twice": int(decode_states([name], [blob]).logs.entries["count"].sum()), "states_wrong": 1}


def drop_an_intent(outcome: Outcome) -> dict[str, int]:
    """An intent's event was never published."""
    values, place = first_of(outcome, "expired")
    del values[place]
    return {"intents_missing": 1}


def change_an_intent(outcome: Outcome) -> dict[str, int]:
    """An intent's event says something else."""
    values, place = first_of(outcome, "detected")
    values[place] = intent_with(values[place], confidence=0.9999)
    return {"intents_wrong": 1}


def add_an_intent(outcome: Outcome) -> dict[str, int]:
    """An intent's event is published that nobody had."""
    values, place = first_of(outcome, "detected")
    values.append(intent_with(values[place], intent_id="another"))
    return {"intents_wrong": 1}


def exchange_intents(outcome: Outcome) -> dict[str, int]:
    """A customer's intents are published in another order."""
    values, place = first_of(outcome, "expired")
    mine = orjson.loads(values[place])["intent_id"]
    begin = next(n for n, value in enumerate(values) if orjson.loads(value)["intent_id"] == mine)
    values[begin], values[place] = values[place], values[begin]
    return {"intents_wrong": 1}


def contradict_an_intent(outcome: Outcome) -> dict[str, int]:
    """An intent's event is repeated with other bytes."""
    values, place = first_of(outcome, "detected")
    values.append(intent_with(values[place], confidence=0.9999))
    return {"intents_repeated": 1}


def lose_a_letter(outcome: Outcome) -> dict[str, int]:
    """A refused record has no dead letter."""
    outcome.letters.pop()
    return {"letters_missing": 1}


def refuse_a_good_one(outcome: Outcome) -> dict[str, int]:
    """A good record has a dead letter."""
    number, place = next(
        (number, place)
        for number, rows in outcome.log.items()
        for place, row in enumerate(rows)
        if not is_bad(row.value)
    )
    row = outcome.log[number][place]
    outcome.letters.append(Letter(SETTINGS.clickstream, number, place, row.key, row.value))
    return {"letters_wrong": 1}


def garble_a_letter(outcome: Outcome) -> dict[str, int]:
    """A dead letter has other bytes than the record."""
    outcome.letters[0] = outcome.letters[0]._replace(value=b"other")
    return {"letters_wrong": 1}


def learn_twice(outcome: Outcome) -> dict[str, int]:
    """The trainer learned something again."""
    outcome.labels = outcome.labels_due + 8
    return {"learned_twice": 8}


def learn_too_little(outcome: Outcome) -> dict[str, int]:
    """The trainer passed something over."""
    outcome.labels, outcome.labels_due = 92, 100
    return {"not_learned": 8}


def lose_a_question(outcome: Outcome) -> dict[str, int]:
    """Something that was asked never came to the trainer."""
    outcome.examples.remove(min(entry for entry in outcome.examples if entry.what == "asked"))
    return {"examples_missing": 1}


def lose_an_outcome(outcome: Outcome) -> dict[str, int]:
    """Something that was bought never came to the trainer."""
    outcome.examples.remove(max(entry for entry in outcome.examples if entry.what == "outcome"))
    return {"examples_missing": 1}


def ask_of_nothing(outcome: Outcome) -> dict[str, int]:
    """The trainer is asked about an event that asks nothing: here one that is an outcome."""
    outcome.examples.add(max(outcome.examples)._replace(what="asked"))
    return {"examples_wrong": 1}


def lag_behind(outcome: Outcome) -> dict[str, int]:
    """Something is not committed."""
    outcome.lags = {"group in clickstream/0": 3}
    return {"lag": 3}


@pytest.mark.parametrize(
    "breaking",
    [
        forget_a_state,
        lose_an_event,
        count_an_event_twice,
        invent_a_customer,
        drop_an_intent,
        change_an_intent,
        add_an_intent,
        exchange_intents,
        contradict_an_intent,
        lose_a_letter,
        refuse_a_good_one,
        garble_a_letter,
        learn_twice,
        learn_too_little,
        lose_a_question,
        lose_an_outcome,
        ask_of_nothing,
        lag_behind,
    ],
)
def test_what_is_broken_is_found(clean: Clean, breaking: Callable[[Outcome], dict[str, int]]) -> None:
    """Each way to break an outcome is counted where it belongs, and makes the verdict bad."""
    outcome, snapshot = deepcopy(clean[0]), clean[1]
    expected = breaking(outcome)
    verdict = judge(outcome, SETTINGS, snapshot)
    assert not verdict.good and verdict.words
    found = wrong(verdict)
    assert {name: found.get(name) for name in expected} == expected, (found, verdict.words)
    assert not found.keys() - expected.keys() - {"states_wrong", "intents_missing", "intents_wrong"}, found


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (drop_an_intent, {"intents_missing": 1}),
        (lambda outcome: drop(outcome, "detected"), {"intents_wrong": 1}),
        (lambda outcome: drop(outcome, "weakened"), {"intents_wrong": 1}),
        (lambda outcome: end_twice(outcome), {"intents_wrong": 1}),
        (exchange_intents, {"intents_wrong": 1}),
        (contradict_an_intent, {"intents_repeated": 1}),
    ],
)
def test_with_swapping_models_each_life_is_judged(
    clean: Clean, breaking: Callable[[Outcome], object], expected: dict[str, int]
) -> None:
    """Where no frozen model says what must be published, a life must still be whole: a beginning, no hole, one end."""
    outcome = deepcopy(clean[0])
    whole = {
        orjson.loads(v)["intent_id"]
        for vs in outcome.intents.values()
        for v in vs
        if b'"expired"' in v or b'"fulfilled"' in v
    }
    for number, values in outcome.intents.items():
        outcome.intents[number] = [value for value in values if orjson.loads(value)["intent_id"] in whole]
    assert wrong(judge(outcome, SETTINGS, None)) == {}
    breaking(outcome)
    assert wrong(judge(outcome, SETTINGS, None)) == expected


def drop(outcome: Outcome, status: str) -> None:
    """One event less."""
    values, place = first_of(outcome, status)
    del values[place]


def end_twice(outcome: Outcome) -> None:
    """One end more."""
    values, place = first_of(outcome, "expired")
    intent = orjson.loads(values[place])
    values.append(intent_with(values[place], sequence=intent["sequence"] + 1, status="fulfilled"))
