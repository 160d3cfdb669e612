"""The log of the commands that run for long."""

import logging
import sys
from collections.abc import Iterable
from typing import Final

import click

from streams.plain_text import PlainLines

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log_level = click.option(
    "--log-level", "level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True
)


def log_to_stderr(level: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr, from `level` on, one line a record, without the secrets."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(PlainLines(_FORMAT, secrets))
    logging.basicConfig(handlers=[lines], level=level.upper(), force=True)
