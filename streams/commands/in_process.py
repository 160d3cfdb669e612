"""What `replay` and `train --from` share: a part of a recording, worked in process with a bar, and what was read."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import Function, customers_fold

if TYPE_CHECKING:
    from rich.table import Table

    from intents.checkpoint import Checkpoint
    from intents.evidence import Fold
    from streams.recordings import Recording, RecordingBatch
    from streams.replay import Outputs, Summary
    from streams.settings import Settings


@dataclass(slots=True)
class Part:
    """A recording's first `limit` records, of them those of the customers of `fold`; `left_out` counts the others."""

    recording: "Recording"
    limit: int | None
    sort: bool
    fold: "Fold | None"
    left_out: Counter[str] = field(default_factory=Counter)

    def batches(self) -> "Iterator[RecordingBatch]":
        """Its records."""
        return self.recording.batches(limit=self.limit, sort_by_time=self.sort, fold=self.fold, left_out=self.left_out)

    def share(self, batch: "RecordingBatch", count: int) -> float:
        """How much of it is done after `count` records of it, by the limit or by the file."""
        from streams.recordings import OTHER_FOLDS

        return self.recording.share(batch, count + self.left_out[OTHER_FOLDS], self.limit)


def part_options(function: Function) -> Function:
    """Give a command `limit`, `sort` and `fold` of a Part."""
    limit = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N events only.")
    sort = click.option("--sort", is_flag=True, help="Sort by event time first (reads the whole file into memory).")
    fold = customers_fold("Only the K-th of N folds of customers, the same as of `evaluate`.")
    decorated: Function = limit(sort(fold(function)))
    return decorated


def work(
    part: Part,
    settings: "Settings",
    outputs: "Outputs",
    *,
    doing: str,
    learn: bool,
    start: "Checkpoint | None",
    partitions: int | None = None,
) -> "Summary":
    """Work the records, with a bar that says what it is `doing`; rules that caught none of them are told on stderr."""
    from streams.commands.console import progress
    from streams.inprocess import PARTITIONS
    from streams.replay import Seen, replay_in_process

    catalogue, seen, batches = settings.load_catalogue(), Seen(), part.batches()
    with progress(f"{doing} {part.recording.path.name}", "events") as update:

        def told(batch: "RecordingBatch", summary: "Summary") -> None:
            update(part.share(batch, summary.records), summary.events)

        if settings.catalogue:
            batches = seen.watching(batches)
        summary = asyncio.run(
            replay_in_process(
                batches,
                settings,
                catalogue,
                outputs,
                learn=learn,
                partitions=partitions or PARTITIONS,
                told=told,
                start=start,
            )
        )
    if settings.catalogue and part.limit is None and part.fold is None:
        for idle in seen.idle_rules(Path(settings.catalogue), catalogue):
            click.echo(idle, err=True)
    return summary


def summary_table(part: Part, summary: "Summary") -> "Table":
    """A table of what was read and worked, with room for more; the recording's name above it is printed."""
    from streams.commands.console import cells, results, table

    made_up = " (made up)" if (part.recording.header or {}).get("made_up") else ""
    results().print(cells(f"{part.recording.path.name}: {part.recording.format}{made_up}")[0], style="bold")
    shown = table("", "count")
    shown.add_row(*cells("records read", f"{summary.records:,}"))
    for reason, count in part.left_out.items():
        shown.add_row(*cells(f"rows left out: {reason}", f"{count:,}"))
    shown.add_row(*cells("events worked", f"{summary.events:,}"))
    shown.add_row(*cells("records refused", f"{summary.refused.total():,}"))
    for reason, count in summary.refused.most_common(8):
        shown.add_row(*cells(f"  {reason}", f"{count:,}"))
    return shown


def model_line(summary: "Summary") -> str:
    """One line about the model that it ended with."""
    from intents.progress import LOSES

    assert summary.model is not None  # a replay ends with one
    labels = f"{summary.model.now.positives:,} positive and {summary.model.now.negatives:,} negative labels"
    ready = LOSES if summary.model.losing else "ready"
    return f"model: {ready if summary.model.ready else 'not ready'}, {labels}"
