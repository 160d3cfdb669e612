"""How a trace is laid out: numbered sections of plain lines, and values written for people."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap
from typing import Final

from streams.words import plain

WIDTH: Final = 110
"""Columns of the text."""
_INDENT: Final = "   "
_JSON_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the way: what happens there, the files it happens in, and the event's values."""

    title: str
    files: str
    lines: list[str]

    def text(self, number: int) -> Iterator[str]:
        """A heading with the files at its right, then the lines, indented; none longer than WIDTH."""
        head = f"{number}  {self.title}"
        yield f"{head}  {self.files:>{WIDTH - len(head) - 2}}"
        for line in self.lines:
            yield from wrap(
                plain(line), WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT * 2, break_on_hyphens=False
            )


def json_lines(value: bytes) -> list[str]:
    """JSON as it is, broken between fields, at most a few lines of it."""
    text, room = plain(value[: WIDTH * _JSON_LINES * 4].decode(errors="replace")), WIDTH - len(_INDENT)
    lines = [""]
    for field in re.split(r'(?<=,)(?=\s?")', text):
        if lines[-1] and len(lines[-1]) + len(field) > room:
            lines.append("")
        lines[-1] += field
    lines = [line[at : at + room] for line in lines for at in range(0, len(line), room)]
    return lines if len(lines) <= _JSON_LINES else [*lines[:_JSON_LINES], f"… ({len(value):,} bytes altogether)"]


def cut(text: str, limit: int = 24) -> str:
    """`text`, its end left out where it is longer than `limit`."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def counted(count: int, what: str) -> str:
    """A number of things, with the plural's s."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def day_and_time(ms: int) -> str:
    """UTC milliseconds as a date and a time of the day."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(ms: int) -> str:
    """UTC milliseconds as a time of the day, – before the first."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S}" if ms >= 0 else "–"


def span(ms: int) -> str:
    """A length of time in its two largest units."""
    seconds = ms // 1000
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or f"{ms} ms"
