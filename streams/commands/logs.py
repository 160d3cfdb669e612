"""The log of the commands that run for long."""

import logging
import sys
from typing import Final

import click

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log_level = click.option(
    "--log-level", "level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True
)


def log_to_stderr(level: str) -> None:
    """Log to stderr, from `level` on."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=_FORMAT, force=True)
