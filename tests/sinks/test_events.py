"""Intents go out as CloudEvents in binary mode; dead letters keep where they come from, why, and their bytes."""

import re
from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest

from intents.examples import unpack
from intents.intent import Status
from sinks.events import CUT_BYTES, CUT_KEY_BYTES, dead_letter, examples_record, intent_json, intent_record
from sinks.records import Record
from tests.intents.test_examples import examples, same
from tests.intents.test_intent import intent


def headers_of(record: Record) -> dict[str, bytes]:
    """A record's headers, none of them twice."""
    found = dict(record.headers)
    assert len(found) == len(record.headers)
    return found


def test_cloudevents_headers() -> None:
    """CloudEvents 1.0, binary mode: required attributes, the time of the change, and the partition's watermark."""
    found = intent()
    record = intent_record(found, intent_json(found), "intents", 1_699_999_880_000)
    assert headers_of(record) == {
        "ce_specversion": b"1.0",
        "ce_id": f"{found.intent_id}/2".encode(),
        "ce_source": b"/clickstream/3",
        "ce_type": b"micro_intents.intent.strengthened",
        "ce_time": b"2023-11-14T22:14:20.000Z",
        "content-type": b"application/json",
        "watermark": b"1699999880000",
    }
    assert headers_of(intent_record(found, b"", "intents", 0, 17))["position"] == b"17"


def test_intent_record() -> None:
    """Same partition number as its source, key = customer_id, the JSON as value."""
    found = msgspec.structs.replace(intent(), customer_id="Zoë 🎈")
    record = intent_record(found, intent_json(found), "wants", 0)
    assert (record.topic, record.partition, record.key) == ("wants", 3, "Zoë 🎈".encode())
    assert msgspec.json.decode(record.value, type=type(found)) == found


@pytest.mark.parametrize("status", ["detected", "weakened", "fulfilled", "expired", "forgotten"])
def test_types_by_status(status: Status) -> None:
    """Consumers may filter by the type."""
    found = msgspec.structs.replace(intent(), status=status)
    assert headers_of(intent_record(found, b"", "intents", 0))["ce_type"] == f"micro_intents.intent.{status}".encode()


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_000_000_000_007, "2001-09-09T01:46:40.007Z")]
)
def test_time_is_rfc_3339(ms: int, text: str) -> None:
    """Times are UTC with milliseconds, also when those are 0."""
    found = msgspec.structs.replace(intent(), updated_at=ms)
    told = headers_of(intent_record(found, b"", "intents", 0))["ce_time"].decode()
    assert told == text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told)


def test_examples_record() -> None:
    """Examples go to the one partition of their model, without a key; they read back."""
    record = examples_record(replace(examples(), partition=5), "examples")
    assert (record.topic, record.partition, record.key, record.headers) == ("examples", 0, None, [])
    same(unpack(record.value), replace(examples(), partition=5))


# Dead letters


def test_dead_letter() -> None:
    """Topic, partition, offset and reason in headers; key and bytes as they were."""
    record = dead_letter("dead", "clickstream", 3, 42, "not JSON: whatever", b"anna", b"{half")
    assert (record.topic, record.partition, record.key, record.value) == ("dead", None, b"anna", b"{half")
    assert headers_of(record) == {
        "topic": b"clickstream",
        "partition": b"3",
        "offset": b"42",
        "reason": b"not JSON: whatever",
    }


def test_dead_letter_of_nothing() -> None:
    """A record without value or key has a dead letter too."""
    record = dead_letter("dead", "clickstream", 0, 0, "no value", None, None)
    assert (record.key, record.value) == (None, b"")


@pytest.mark.parametrize("length", [CUT_BYTES, CUT_BYTES + 1, 3 * CUT_BYTES])
def test_a_long_record_is_cut(length: int) -> None:
    """Over the limit the bytes are cut, and their length and SHA-256 told, so that it can be found again."""
    body = bytes(range(256)) * (length // 256 + 1)
    body = body[:length]
    record = dead_letter("dead", "clickstream", 0, 1, "too long", b"anna", body)
    found = headers_of(record)
    assert record.value == body[:CUT_BYTES]
    if length > CUT_BYTES:
        assert (found["length"], found["sha256"]) == (str(length).encode(), sha256(body).hexdigest().encode())
    else:
        assert "length" not in found and "sha256" not in found


def test_a_long_key_is_cut() -> None:
    """A key may be a megabyte as well; the dead letter still fits into a record."""
    key = b"k" * 1_000_000
    record = dead_letter("dead", "clickstream", 0, 1, "key", key, b"x" * 2_000_000)
    found = headers_of(record)
    assert record.key == key[:CUT_KEY_BYTES]
    assert (found["key_length"], found["key_sha256"]) == (b"1000000", sha256(key).hexdigest().encode())
    assert len(record.value) + len(record.key or b"") < 1_000_000


def test_a_long_reason_is_cut() -> None:
    """A reason may quote what was sent; it stays short, and its letters are whatever they were."""
    record = dead_letter("dead", "clickstream", 0, 1, "ż" * 5_000, None, b"")
    assert headers_of(record)["reason"].decode() == "ż" * 1_000
    odd = dead_letter("dead", "clickstream", 0, 1, "\udc80", None, b"")
    assert headers_of(odd)["reason"] == b"?"
