"""`micro-intents evaluate`: what a scores file is worth, beside a simple rule."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import RECORDING, Failure, with_settings

if TYPE_CHECKING:
    from intents.evaluation import Evaluation
    from streams.commands.console import Update
    from streams.settings import Settings


@click.command("evaluate", short_help="Judge what a model said, beside a simple rule.")
@click.argument("scores", type=RECORDING)
@click.argument("recording", type=RECORDING)
@click.option("--limit", type=click.IntRange(min=1), help="Judge by the first N events of the recording only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@with_settings("catalogue")
def command(scores: Path, recording: Path, limit: int | None, as_json: bool, settings: "Settings") -> None:
    """Judge the SCORES that a replay of RECORDING wrote, beside the rule "most recently touched first".

    \b
    micro-intents replay FILE --in-process --learn --scores scores.jsonl
    micro-intents evaluate scores.jsonl FILE

    rank: where the subject stood that a customer then carted or bought. detect: after each view, whether a subject is
    carted or bought within the horizon. emission: what intents at the threshold would have been worth.
    """
    from intents.evaluation import BadScores, evaluate
    from streams.commands.console import progress
    from streams.occurrences import occurrences
    from streams.recordings import open_recording

    events = occurrences(open_recording(recording), settings.load_catalogue(), limit)
    try:
        with progress(f"judging {scores.name}", "lines") as update:
            lines = _lines(scores, update)
            found = evaluate(lines, events, horizon_ms=settings.horizon_s * 1000, threshold=settings.threshold)
    except BadScores as error:
        raise Failure(f"{scores}: {error}. Is it the scores file of {recording}?") from error
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _print(found, limit)


def _lines(path: Path, update: "Update") -> Iterator[bytes]:
    size = max(1, path.stat().st_size)
    done = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            done += len(line)
            if number % 1000 == 0:
                update(done / size, number)
            yield line


def _print(found: "Evaluation", limit: int | None) -> None:
    from streams.commands.console import cells, results, table

    shown = table("", "model", "rule: latest touched")
    task = ""
    for what, model, rule in found.rows():
        if task and what.split(":")[0] != task:
            shown.add_section()
        task = what.split(":")[0]
        shown.add_row(*cells(what.replace("_", " "), _number(model), _number(rule)))
    console = results()
    console.print(f"{found.events:,} events{' (the first ones)' if limit else ''}", style="bold")
    console.print(shown)
    for count, said in (
        (found.missing_rank_lines, "carts and purchases have no line in the scores (counted as misses)"),
        (found.missing_detect_lines, "views have no line in the scores (counted as p = 0)"),
        (found.unknown_lines, "lines of the scores are about events that are not there"),
        (found.disordered_lines, "lines are not in descending order of p"),
        (found.not_ready_lines, "lines were written before the model was ready"),
    ):
        if count:
            console.print(f"{count:,} {said}")


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.4f}"
