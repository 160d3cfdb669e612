"""Intents, examples and dead letters as records: CloudEvents 1.0 in binary mode, and the original bytes kept."""

from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from intents.examples import Examples, pack
from intents.intent import Intent
from sinks.records import Record

DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
TYPE: Final = "micro_intents.intent.{}"
CUT_BYTES: Final = 900_000
"""A dead letter keeps this much of a record; more is cut, with its length and SHA-256."""
CUT_KEY_BYTES: Final = 10_000
"""And this much of its key, so that what is left can be published."""


def intent_record(intent: Intent, value: bytes, topic: str, watermark_ms: int, position: int = -1) -> Record:
    """The record of an intent event: same partition as its source, key = customer_id, `value` its JSON.

    `position` is that of a deadline: the source offset before which it fired.
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{intent.intent_id}/{intent.sequence}".encode()),
        ("ce_source", f"/{intent.source.topic}/{intent.source.partition}".encode()),
        ("ce_type", TYPE.format(intent.status).encode()),
        ("ce_time", _rfc3339(intent.updated_at).encode()),
        ("content-type", b"application/json"),
        ("watermark", str(watermark_ms).encode()),
    ]
    if position >= 0:
        headers.append(("position", str(position).encode()))
    return Record(topic, intent.source.partition, intent.customer_id.encode(), value, headers)


def examples_record(examples: Examples, topic: str) -> Record:
    """The record of a commit's examples; one partition a model variant, so partition 0."""
    return Record(topic, 0, None, pack(examples))


def dead_letter(
    topic: str, source: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None
) -> Record:
    """The record of a refused record: where it was, why, and its bytes; over the limit cut, with length and hash."""
    body = value or b""
    headers = [
        ("topic", source.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(offset).encode()),
        ("reason", reason[:1000].encode("utf-8", "replace")),
    ]
    if len(body) > CUT_BYTES:
        headers += [("length", str(len(body)).encode()), ("sha256", sha256(body).hexdigest().encode())]
    if key is not None and len(key) > CUT_KEY_BYTES:
        headers += [("key_length", str(len(key)).encode()), ("key_sha256", sha256(key).hexdigest().encode())]
        key = key[:CUT_KEY_BYTES]
    return Record(topic, None, key, body[:CUT_BYTES], headers)


def intent_json(intent: Intent) -> bytes:
    """An intent event's value."""
    return msgspec.json.encode(intent)


@lru_cache(maxsize=64)
def _date(day: int) -> str:
    return f"{date.fromordinal(_EPOCH + day)}T"


def _rfc3339(ms: int) -> str:
    """`datetime` says it too, in three times the time."""
    day, ms = divmod(ms, DAY_MS)
    seconds, ms = divmod(ms, 1000)
    return f"{_date(day)}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}Z"
