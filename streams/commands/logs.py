"""The log of the commands that run for long."""

import logging
import sys
from collections.abc import Callable
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


def log_to_stderr(level: str, form: Format) -> None:
    """Log to stderr, from `level` on."""
    from streams.log_lines import JsonLines

    people = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_TEXT) if people else JsonLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
