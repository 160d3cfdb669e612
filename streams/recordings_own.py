"""Our own recordings: JSON lines of events, in front of them perhaps a header."""

from datetime import datetime
from typing import Final

import orjson

from streams.recordings_rows import LATEST_MS, NO_TIME, Row, milliseconds

OWN: Final = "micro-intents JSON lines"
FIELDS: Final = frozenset({"event_id", "customer_id", "kind"})
"""By any of these a line is recognised."""


def json_object(line: bytes) -> dict[str, object]:
    """The line's JSON object, empty where it has none."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def header_of(line: bytes) -> dict[str, object] | None:
    """What a header line says of its recording; None for any other line."""
    header = json_object(line).get("recording")
    return header if isinstance(header, dict) else None


def read_own(line: bytes, number: int) -> Row | None:
    """The line as it is, keyed by its customer and timed by its event time as far as they can be read."""
    if number == 1 and header_of(line) is not None:
        return None
    found = json_object(line)
    customer = found.get("customer_id")
    return Row(customer.encode() if isinstance(customer, str) else b"", line, _time_ms(found.get("time")))


def _time_ms(time: object) -> int:
    """Event time in UTC ms from integer milliseconds or RFC 3339, NO_TIME for anything else."""
    if isinstance(time, int) and not isinstance(time, bool):
        return time if 0 <= time < LATEST_MS else NO_TIME
    if not isinstance(time, str):
        return NO_TIME
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return NO_TIME
    return NO_TIME if moment.tzinfo is None else milliseconds(moment)
