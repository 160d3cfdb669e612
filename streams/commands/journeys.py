"""`micro-intents journeys`: which subject customers want after which, learned and judged on a recording."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import RECORDING, Failure, with_settings

if TYPE_CHECKING:
    from rich.console import Console

    from intents.catalog import Catalogue
    from intents.next_lists import Judged, Measured
    from streams.journey_report import Report
    from streams.recordings import RecordingBatch
    from streams.settings import Settings


@click.command("journeys", short_help="Learn what customers want after what, and judge it.")
@click.argument("file", type=RECORDING)
@click.option(
    "--hold-back",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Judge on this last share of the time; 0: do not judge.",
)
@click.option(
    "--min-customers",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Tell a transition if so many made it.",
)
@click.option("--most", type=click.IntRange(min=0), default=20, show_default=True, help="Transitions to tell.")
@click.option("--chains", type=click.IntRange(min=0), default=10, show_default=True, help="Journeys to tell.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@with_settings("catalogue")
def command(
    file: Path, hold_back: float, min_customers: int, most: int, chains: int, as_json: bool, settings: "Settings"
) -> None:
    """Learn journeys from the recording FILE: which subjects come after which.

    \b
    micro-intents journeys taobao_user_behavior.csv.gz --min-customers 5
    micro-intents themes online_retail.csv.gz > themes.toml
    micro-intents journeys online_retail.csv.gz --catalog themes.toml

    A recording of purchases alone is read basket by basket (invoice), a clickstream visit by visit. The lists of what
    comes next are learned on the first part of the time and judged on the rest, beside the most popular subjects.
    """
    from intents.stages import stages_of
    from streams.commands.console import progress
    from streams.journey_report import report
    from streams.recordings import open_recording
    from streams.replay import Seen
    from streams.touches import touches

    recording = open_recording(file)
    catalogue = settings.load_catalogue()
    seen = Seen()
    left_out: Counter[str] = Counter()
    with progress(f"reading {file.name}", "events") as update:

        def told(batch: "RecordingBatch", count: int) -> None:
            update(min(1.0, batch.read_bytes / max(1, recording.size_bytes)), count)

        batches = recording.batches(left_out=left_out)
        stages = stages_of(touches(seen.watching(batches) if settings.catalogue else batches, catalogue, told))
    for idle in seen.idle_rules(Path(settings.catalogue), catalogue) if settings.catalogue else []:
        click.echo(idle, err=True)
    if not len(stages):
        raise Failure(
            f"{file}: no event has a subject: nothing has a category. "
            "If products have names, let micro-intents themes propose a catalogue, and give it with --catalog"
        )
    found = report(stages, catalogue, hold_back, min_customers, most, chains)
    if as_json:
        click.echo(json.dumps(found.to_dict() | {"left_out": left_out}, indent=2))
    else:
        _print(file, recording.format, found, catalogue)
        for reason, count in left_out.items():
            click.echo(f"rows left out: {count:,} ({reason})")


def _print(file: Path, format_name: str, found: "Report", catalogue: "Catalogue") -> None:
    from streams.commands.console import results

    console = results()
    what = "baskets" if found.baskets else "visits"
    console.print(
        f"{file.name}: {format_name}, {found.stages:,} {what} to {found.subjects:,} subjects of "
        f"{found.customers:,} customers",
        style="bold",
        markup=False,
    )
    _print_transitions(console, found, catalogue)
    _print_declared(console, found, catalogue)
    for number, words in enumerate(found.chains_in_words(catalogue.label), 1):
        if number == 1:
            console.print("Journeys, each step by the most customers beyond chance:", style="bold")
        console.print(f"{number:2}. {words}", markup=False, soft_wrap=True)
    for judged in found.judged:
        _print_judged(console, judged)


def _print_transitions(console: "Console", found: "Report", catalogue: "Catalogue") -> None:
    from streams.commands.console import cells, table

    for title, transitions in (("what comes next", found.next), ("what is carted or bought next", found.outcome)):
        if transitions:
            shown = table(f"{title}: after", "comes ", "customers", "times", "confidence", "lift", "95 %")
            for each in transitions:
                shown.add_row(
                    *cells(
                        catalogue.label(each.origin),
                        catalogue.label(each.target),
                        f"{each.customers:,}",
                        f"{each.moves:,}",
                        f"{each.confidence:.3f}",
                        f"{each.lift:.2f}",
                        f"{each.lift_low:.2f}–{each.lift_high:.2f}",
                    )
                )
            console.print(shown)


def _print_declared(console: "Console", found: "Report", catalogue: "Catalogue") -> None:
    from streams.commands.console import cells, table

    if not found.declared:
        return
    shown = table("declared journey", "after ", "comes ", "customers", "times", "confidence", "lift", "95 %", "rank")
    for step in found.declared:
        learned = step.transition
        numbers = ["0", "0", "–", "–", "–", "–"]
        if learned is not None:
            numbers = [f"{learned.customers:,}", f"{learned.moves:,}", f"{learned.confidence:.3f}"]
            numbers += [f"{learned.lift:.2f}", f"{learned.lift_low:.2f}–{learned.lift_high:.2f}"]
            numbers += [f"{step.rank} of {step.nexts}"]
        shown.add_row(*cells(step.journey, catalogue.label(step.origin), catalogue.label(step.target), *numbers))
    console.print(shown)


def _print_judged(console: "Console", judged: "Judged") -> None:
    from streams.commands.console import cells, table

    console.print(f"{judged.what}: {judged.came:,} of {judged.customers:,} customers", style="bold", markup=False)
    shown = table("", *judged.numbers["mrr"], "gain on popular")
    for metric, numbers in judged.numbers.items():
        first, *others = numbers.values()
        gain = judged.gain[metric]
        shown.add_row(*cells(metric, _interval(first), *(_number(n.value) for n in others), _interval(gain)))
    console.print(shown)


def _interval(measured: "Measured") -> str:
    low, high = _number(measured.low), _number(measured.high)
    return "–" if math.isnan(measured.value) else f"{_number(measured.value)} [{low}, {high}]"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
