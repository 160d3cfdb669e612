"""Text that is safe to show: one line, bounded, without control characters and without secrets.

Events, headers and other services' messages come from outside: what they hold must neither forge a second line of the
log, nor move a terminal's cursor, nor fill a disk.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Final
from urllib.parse import quote, quote_plus, unquote

LONGEST: Final = 2_000
"""Characters of a message in the log."""
LONGEST_TRACE: Final = 20_000
"""Characters of a message with its traceback; of a longer one the middle is left out."""
HIDDEN: Final = "…"
SHORTEST_SECRET: Final = 4
"""Shorter ones are not looked for: they would be found everywhere."""

_NOTE: Final = 30
"""Characters that are enough to say how much was left out."""
_USER: Final = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#'\"]*@")
_PASSWORD: Final = re.compile(r"((?:password|passwd|secret|token)['\"]?\s*[=:]\s*['\"]?)[^\s,&;)'\"]+", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(r"(?i)(?:^|_|-)(?:password|passwd|secret|token|sas|sig)$")


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` with control characters written as escapes, and the middle left out where it is too long."""
    text = cut(text, longest)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return cut(text, longest)


def _escaped(character: str) -> str:
    """As JSON writes it, so that a line of JSON stays one."""
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def cut(text: str, longest: int) -> str:
    """`text`, of at most `longest` characters (no fewer than 30): its middle left out, and how much of it that is."""
    if len(text) <= longest:
        return text
    half = (longest - _NOTE) // 2
    return f"{text[:half]}…({len(text) - 2 * half} left out)…{text[len(text) - half :]}"


def without_credentials(address: str) -> str:
    """An address (a URL, or host:port) without user, password and what options may hold that is secret."""
    scheme, found, head, at, tail = _parts(address)
    if at and (found or ":" in head):  # else a path with an @
        head = HIDDEN
    place, question, query = tail.partition("?")
    shown = [f"{name}={HIDDEN if _SECRET_NAME.search(name) else value}" for name, _, value in _options(query)]
    return f"{scheme}{found}{head}{at}{place}{question}{'&'.join(shown)}"


def secrets_in(address: str) -> list[str]:
    """The passwords that an address holds."""
    _, _, head, _, tail = _parts(address)
    options = _options(tail.partition("?")[2])
    hidden = [value for name, _, value in options if _SECRET_NAME.search(name)]
    return [secret for secret in (head.partition(":")[2], *hidden) if secret]


def _parts(address: str) -> tuple[str, str, str, str, str]:
    scheme, found, rest = address.partition("://")
    head, at, tail = (rest if found else address).rpartition("@")  # the last one, whatever a password may hold
    return scheme if found else "", found, head, at, tail


def _options(query: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in query.split("&")] if query else []


class Hiding:
    """Replaces secrets in text.

    Those that are known, in every spelling in which a URL may hold them; and whatever else stands before the @ of a URL
    or is called a password.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted((text for text in found if len(text) >= SHORTEST_SECRET), key=lambda text: -len(text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """`text` without the secrets."""
        text = self._pattern.sub(HIDDEN, text) if self._pattern else text
        return _PASSWORD.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def _spellings(secret: str) -> Iterable[str]:
    plain = unquote(secret)
    quoted = {quote(plain), quote(plain, safe=""), quote_plus(plain)}
    return {secret, plain, *quoted, repr(plain)[1:-1], repr(plain.encode())[2:-1], json.dumps(plain)[1:-1]}


def hide_in_tracebacks(secrets: Iterable[str]) -> None:
    """From now on, what ends this program unexpectedly is shown without the secrets."""
    hiding = Hiding(secrets)

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(hiding.hide("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show


class PlainLines(logging.Formatter):
    """Formats each record as one line without secrets, its traceback included; no line can be forged."""

    def __init__(self, layout: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(layout)
        self._hiding = Hiding(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        traced = bool(record.exc_info or record.exc_text or record.stack_info)
        return one_line(self._hiding.hide(super().format(record)), LONGEST_TRACE if traced else LONGEST)
