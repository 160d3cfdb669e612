"""What commands print: results to stdout, progress to stderr, and all of it readable when neither is a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH: Final = 140
"""Columns of a table that does not go to a terminal."""
PLAIN_EVERY_S: Final = 10.0
"""Between two lines of progress that do not go to a terminal."""


class Update(Protocol):
    """Told how far the work has come: a share in [0, 1], and how many units."""

    def __call__(self, share: float, count: int) -> None:
        """Show it."""


def results() -> Console:
    """The console for what was asked for."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def table(*columns: str) -> Table:
    """A table whose columns after the first are numbers, or text where they end in a space."""
    made = Table()
    for number, column in enumerate(columns):
        made.add_column(column.strip(), justify="left" if not number or column.endswith(" ") else "right")
    return made


def cells(*values: object) -> list[Text]:
    """Cells as they are, whatever markup they happen to contain."""
    return [value if isinstance(value, Text) else Text(str(value)) for value in values]


@contextmanager
def progress(what: str, unit: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Update]:
    """A bar on stderr; a line now and then where that is no terminal. `clock` in seconds."""
    console = Console(stderr=True, highlight=False)
    began = clock()
    if console.is_terminal:
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task(what, total=1.0, said="")

            def move(share: float, count: int) -> None:
                shown.update(task, completed=share, said=_said(count, unit, clock() - began))

            yield move
        return
    told = began

    def tell(share: float, count: int) -> None:
        nonlocal told
        if clock() - told >= PLAIN_EVERY_S:
            told = clock()
            print(f"{what}: {share:.0%}, {_said(count, unit, told - began)}", file=sys.stderr, flush=True)

    yield tell


def _said(count: int, unit: str, seconds: float) -> str:
    rate = f", {count / seconds:,.0f}/s" if seconds > 0.5 else ""
    return f"{count:,} {unit}{rate}"
