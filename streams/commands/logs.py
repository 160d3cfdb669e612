"""How the long-running commands log: to stderr, lines for people or JSON objects, from the level asked for."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import click

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Format = Literal["auto", "text", "json"]


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `level` and `form`, for `log_to_stderr`."""
    form = click.option(
        "--log-format",
        "form",
        type=click.Choice(["auto", "text", "json"]),
        default="auto",
        show_default=True,
        help="Lines for people, or JSON objects; auto: people at a terminal, JSON elsewhere.",
    )
    level = click.option(
        "--log-level", "level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True
    )
    return level(form(function))


def log_to_stderr(level: str, form: Format = "auto", secrets: Iterable[str] = ()) -> None:
    """Log to stderr, from `level` on, one line a record, without the secrets."""
    from streams.log_lines import JsonLines
    from streams.plain_text import PlainLines

    people = form == "text" or (form == "auto" and sys.stderr.isatty())
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(PlainLines(_TEXT, secrets) if people else JsonLines(secrets))
    logging.basicConfig(handlers=[lines], level=level.upper(), force=True)
