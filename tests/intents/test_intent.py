"""An intent's id is made of what makes the intent itself; its JSON is plain."""

import json
from typing import Any
from uuid import UUID

import msgspec

from intents.intent import Evidence, Intent, JourneyStep, ModelName, Source, intent_uuid
from sinks.events import intent_json

PARTS = ("default", "main", "anna", "00000000000000aa", 1_700_000_000_000, "e1")


def intent() -> Intent:
    """An intent event with all of its fields."""
    return Intent(
        intent_id=str(intent_uuid(*PARTS)),
        sequence=2,
        customer_id="anna",
        intent="party_supplies",
        label="Party supplies",
        status="strengthened",
        confidence=0.64,
        journey=JourneyStep("birthday", 1, "ice_cream", 0.31),
        evidence=[Evidence("views_5m", 5, "5 views in 5 min")],
        detected_at=1_700_000_000_000,
        updated_at=1_700_000_060_000,
        expires_at=1_700_001_800_000,
        model=ModelName("logistic", "12-ab", "main"),
        source=Source("clickstream", 3, 42, "e1"),
        soon=0.81,
    )


def test_id_is_repeatable() -> None:
    """The same intent has the same id wherever and whenever it is found: a uuid5, pinned here."""
    found = intent_uuid(*PARTS)
    assert found == intent_uuid(*PARTS)
    assert found.version == 5
    assert found == UUID("6bce4165-3a67-5514-91b4-2d5c55cf01c4")


def test_id_tells_intents_apart() -> None:
    """Another namespace, variant, customer, subject, time or source event is another intent."""
    others = ("staging", "other", "ben", "00000000000000ab", 1_700_000_000_001, "e2")
    changed: list[Any] = [(*PARTS[:n], other, *PARTS[n + 1 :]) for n, other in enumerate(others)]
    ids = {intent_uuid(*parts) for parts in changed}
    assert len(ids | {intent_uuid(*PARTS)}) == 7


def test_parts_of_the_id_do_not_run_together() -> None:
    """Customer `ab` with subject `c` is not customer `a` with subject `bc`."""
    assert intent_uuid("n", "v", "ab", "c", 1, "e") != intent_uuid("n", "v", "a", "bc", 1, "e")


def test_json() -> None:
    """The value is plain JSON with every field of the contract, and reads back as the same event."""
    body = intent_json(intent())
    found = json.loads(body)
    assert list(found) == [
        "intent_id",
        "sequence",
        "customer_id",
        "intent",
        "label",
        "status",
        "confidence",
        "journey",
        "evidence",
        "detected_at",
        "updated_at",
        "expires_at",
        "model",
        "source",
        "soon",
    ]
    assert (found["confidence"], found["soon"]) == (0.64, 0.81)
    assert found["journey"] == {"name": "birthday", "stage": 1, "next": "ice_cream", "next_share": 0.31}
    assert found["source"] == {"topic": "clickstream", "partition": 3, "offset": 42, "event_id": "e1"}
    assert msgspec.json.decode(body, type=Intent) == intent()
