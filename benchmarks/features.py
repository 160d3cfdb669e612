"""What features and scores cost: CPU time an event of each stage of a question, in process, on one core.

`python -m benchmarks.features RECORDING [--limit N] [--chunk N] [--times N]` works the recording in chunks with a
model frozen after learning on its first 15,000 events. Only what `intents/detect.py` does for its questions is timed:
views and pairs of the logs, candidates, vectors (aggregates are computed where they are first asked for), the model's
columns, and both heads. Of several runs the fastest is told: others share the machine.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from features.bundle import Bundle
from features.core_bundle import CORE
from intents import detect
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.head import Head
from intents.model import Model
from intents.snapshots import decode
from streams.commands.console import cells, progress, results, table
from streams.inprocess import InProcess
from streams.recordings import open_recording
from tests.job import learned

LEARNED: Final = 15_000
"""Events that the model has learned from."""
STAGES: Final[dict[str, tuple[Any, str]]] = {
    "views and pairs of the logs": (detect, "Pairs"),
    "candidates": (detect, "choose"),
    "vectors": (Bundle, "vectors"),
    "the model's columns": (Model, "columns"),
    "heads": (Head, "probability"),
}


class Timers:
    """CPU seconds and candidates by stage, while it is entered."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.candidates = 0
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Timers":
        for stage, (owner, name) in STAGES.items():
            self._before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, self._timed(stage, getattr(owner, name)))
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, before in self._before:
            setattr(owner, name, before)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.process_time()
            found = function(*arguments)
            self.seconds[stage] += time.process_time() - began
            if stage == "vectors":
                self.candidates += found.shape[1]
            return found

        return timed


async def _work(path: Path, model: Model, limit: int | None, chunk: int) -> tuple[int, Timers]:
    catalogue = Catalogue()
    engine = InProcess(Setup(CORE, catalogue, catalogue.names), model)
    events = 0
    with Timers() as timers:
        for batch in open_recording(path).batches(size=chunk, limit=limit):
            async for output in engine.run(batch):
                events += output.events
    return events, timers


@click.command(help=__doc__)
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N events only.")
@click.option("--chunk", default=2_000, show_default=True, help="Events that are worked together.")
@click.option("--times", default=3, show_default=True, help="Runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(recording: Path, limit: int | None, chunk: int, times: int, as_json: bool) -> None:
    """Learn, work, print."""
    first = next(open_recording(recording).batches(size=LEARNED))
    model = decode(learned(first), CORE).model
    runs = []
    with progress("working", "runs") as update:
        for n in range(times):
            runs.append(asyncio.run(_work(recording, model, limit, chunk)))
            update((n + 1) / times, n + 1)
    events, best = min(runs, key=lambda run: run[1].seconds.total())
    told = {stage: best.seconds[stage] / events * 1e6 for stage in STAGES}
    if as_json:
        click.echo(json.dumps({"events": events, "candidates": best.candidates / events, "us_per_event": told}))
        return
    shown = table("", "µs an event")
    for stage, cost in told.items():
        shown.add_row(*cells(stage, f"{cost:.1f}"))
    shown.add_row(*cells("all of them", f"{sum(told.values()):.1f}"))
    results().print(shown)
    click.echo(f"{events:,} events in chunks of {chunk:,}, {best.candidates / events:.1f} candidates an event")


if __name__ == "__main__":
    main()
