"""Lines of the log as JSON objects: with the place in the topic that is worked, bounded, and without secrets."""

import json
import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

MAX_MESSAGE: Final = 2_000
MAX_ERROR: Final = 8_000
"""Characters of a message and of a traceback; of a longer one the middle is left out."""
FIELDS: Final = ("topic", "partition", "offset", "lag", "stalled_s")
"""Fields of a JSON line that are there where they are known."""

_USER: Final = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#'\"]*@")
_PASSWORD: Final = re.compile(r"((?:password|passwd|secret|token)['\"]?\s*[=:]\s*['\"]?)[^\s,&;)'\"]+", re.IGNORECASE)


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


def without_secrets(text: str) -> str:
    """`text` without what stands before the @ of a URL, and without what is called a password."""
    return _PASSWORD.sub(r"\1…", _USER.sub(r"\1…@", text))


def cut(text: str, most: int) -> str:
    """`text`, of at most `most` characters: its middle left out."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[len(text) - most // 2 + 3 :]}"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, error (a traceback), and FIELDS where they are known.

    `hide` takes the secrets out of a text.
    """

    def __init__(self, hide: Callable[[str], str] = without_secrets) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name[:100],
            "message": cut(self._hide(record.getMessage()), MAX_MESSAGE),
        }
        place = _place.get()
        known = {**(place.fields if place is not None else {}), **vars(record)}
        line |= {name: known[name] for name in FIELDS if known.get(name) is not None}
        if record.exc_info:
            line["error"] = cut(self._hide(self.formatException(record.exc_info)), MAX_ERROR)
        return json.dumps(line, ensure_ascii=False, default=str)
