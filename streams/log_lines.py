"""Lines of the log as JSON objects: with the place in the topic that is worked, bounded, and without secrets."""

import json
import logging
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from streams.plain_text import Hiding, cut

MAX_MESSAGE: Final = 2_000
MAX_ERROR: Final = 8_000
"""Characters of a message and of a traceback; of a longer one the middle is left out."""
FIELDS: Final = ("topic", "partition", "offset", "lag", "stalled_s")
"""Fields of a JSON line that are there where they are known."""


class _Place:
    """Where work stands; emptied when it goes on, so that tasks begun on the way do not keep it."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


_place: Final[ContextVar[_Place | None]] = ContextVar("place", default=None)


def stand_at(topic: str, partition: int, offset: int | None = None) -> None:
    """Say in each line that this task logs from now on where it stands."""
    stand_nowhere()
    known = {} if offset is None else {"offset": offset}
    _place.set(_Place(topic=topic, partition=partition, **known))


def stand_nowhere() -> None:
    """Say it no more."""
    if (before := _place.get()) is not None:
        before.fields = {}
        _place.set(None)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, error (a traceback), and FIELDS where they are known."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._hiding = Hiding(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name[:100],
            "message": cut(self._hiding.hide(record.getMessage()), MAX_MESSAGE),
        }
        place = _place.get()
        known = {**(place.fields if place is not None else {}), **vars(record)}
        line |= {name: known[name] for name in FIELDS if known.get(name) is not None}
        if record.exc_info:
            line["error"] = cut(self._hiding.hide(self.formatException(record.exc_info)), MAX_ERROR)
        return json.dumps(line, ensure_ascii=False, default=str)
