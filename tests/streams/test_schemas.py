"""The shipped JSON Schemas: equal to the types, and of one mind with the decoder."""

import json
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from intents.catalog import Catalogue
from sinks.events import intent_json
from streams.schemas import TYPES, generated, shipped
from streams.wire import Decoder, Records
from tests.streams.test_words import intent

GOOD: dict[str, Any] = {"event_id": "e1", "customer_id": "4711", "kind": "view", "time": 1_717_400_000_000}


def _accepts(name: str, value: object) -> bool:
    return bool(Draft202012Validator(json.loads(shipped(name))).is_valid(value))


def _decodes(value: object) -> bool:
    record = json.dumps(value).encode()
    numbers = np.zeros(1, dtype=np.int64)
    _, refused = Decoder(Catalogue()).decode(Records("t", 0, 0, 1, [b"4711"], [record], numbers, numbers - 1))
    return not refused


@pytest.mark.parametrize("name", TYPES)
def test_shipped_is_generated(name: str) -> None:
    """What is shipped is what the types say now; else write it anew: python -m streams.schemas."""
    assert shipped(name) == generated(name)


@pytest.mark.parametrize("name", TYPES)
def test_they_are_schemas(name: str) -> None:
    """Both are valid schemas of the dialect that they name."""
    Draft202012Validator.check_schema(json.loads(shipped(name)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"time": "2024-06-03T08:00:00Z"},
        {"category": "party_supplies", "price": 3.5, "quantity": 2, "currency": "EUR", "product_id": None},
        {"items": [{"product_id": "p1", "quantity": 1}]},
        {"a_field_of_yours": {"a": 1}},
    ],
)
def test_events_that_are_accepted(changes: dict[str, Any]) -> None:
    """What the schema accepts, the decoder takes; unknown fields too."""
    assert _accepts("clickstream", GOOD | changes)
    assert _decodes(GOOD | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": ""},
        {"customer_id": 4711},
        {"kind": "stare"},
        {"time": -1},
        {"time": 1.5},
        {"product_id": "p" * 257},
        {"query": "q" * 1025},
        {"price": "3.50"},
        {"items": [{"quantity": "two"}]},
    ],
)
def test_events_that_are_refused(changes: dict[str, Any]) -> None:
    """What the schema refuses, the decoder refuses."""
    assert not _accepts("clickstream", GOOD | changes)
    assert not _decodes(GOOD | changes)


@pytest.mark.parametrize("missing", GOOD)
def test_events_that_lack_something(missing: str) -> None:
    """Each of the four required fields is required by both."""
    event = {name: value for name, value in GOOD.items() if name != missing}
    assert not _accepts("clickstream", event)
    assert not _decodes(event)


def test_intents() -> None:
    """An intent as it is published is accepted; one with a status of somebody's own is not."""
    value = json.loads(intent_json(intent()))
    assert _accepts("intents", value)
    assert not _accepts("intents", value | {"status": "wished"})
