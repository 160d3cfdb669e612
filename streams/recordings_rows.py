"""What the readers of recordings share: a record made of a line, a CSV line's cells, and where columns stand."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Final, NamedTuple, Protocol

NO_TIME: Final = -1
"""In place of an event time: the line has none that can be read."""
LATEST_MS: Final = 2**62
"""Times are below it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LONGEST_NUMBER: Final = 24


class Row(NamedTuple):
    """One record: key, value and event time (UTC ms, or NO_TIME)."""

    key: bytes
    value: bytes
    time_ms: int


class LeftOut(NamedTuple):
    """A line that is nobody's event, and the reason: counted, but no record."""

    reason: str


class Reader(Protocol):
    """What a format does with a line (1-based `number`): a record, a reason to leave it out, or None for a header.

    A line that cannot be read becomes a record as it stands, without a time, to be refused with a reason later.
    """

    def __call__(self, line: bytes, number: int) -> Row | LeftOut | None:
        """Read one line."""


def unread(line: bytes, key: bytes = b"") -> Row:
    """A line as it stands."""
    return Row(key, line, NO_TIME)


def cells_of(line: bytes) -> list[bytes]:
    """The cells of a CSV line; none where its quotes make no sense."""
    if b'"' not in line:
        return line.split(b",")
    try:
        return [cell.encode() for cell in next(csv.reader([line.decode("utf-8", "replace")]))]
    except csv.Error:
        return []


def texts_of(line: bytes) -> list[str]:
    """The cells of a CSV line in UTF-8, stripped; none where it is no such line."""
    try:
        text = line.decode()
        cells = next(csv.reader([text])) if '"' in text else text.split(",")
    except (UnicodeDecodeError, csv.Error):
        return []
    return [cell.strip() for cell in cells]


def columns_of(header: bytes, *names: str | Sequence[str]) -> tuple[int, ...] | None:
    """Where columns of these names stand (each may have several spellings), in any case; None if one is missing."""
    found = [cell.decode("utf-8", "replace").strip().lower() for cell in cells_of(header)]
    places = []
    for spellings in names:
        each = [spellings] if isinstance(spellings, str) else spellings
        place = next((found.index(name) for name in each if name in found), None)
        if place is None:
            return None
        places.append(place)
    return tuple(places)


def milliseconds(moment: datetime) -> int:
    """UTC ms of a moment, NO_TIME before 1970; one without a zone is taken as UTC."""
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(NO_TIME, round((zoned - _EPOCH) / _MILLISECOND))


def number_of(text: str) -> float | None:
    """A finite number, None for anything else."""
    try:
        found = float(text) if len(text) <= _LONGEST_NUMBER else float("nan")
    except ValueError:
        return None
    return found if isfinite(found) else None
