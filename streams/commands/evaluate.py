"""`micro-intents evaluate`: what a scores file is worth, beside a simple rule."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import RECORDING, Failure, customers_fold, option_of, with_settings

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from intents.assessment import Assessment, Certainty
    from intents.evidence import Evidence, Fold
    from intents.occurrences import Questions
    from intents.targets import Target
    from streams.commands.console import Update
    from streams.settings import Settings

RESAMPLES = 200
"""Resamples of customers, unless --bootstrap says how many."""
_TABLES = ("day", "group", "threshold")
_NOT_ALONE = ("by", "targets", "against", "plots")


class TargetType(click.ParamType):
    """What alarms shall be: precision=0.25, alarms=2 or f1."""

    name = "target"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "Target":
        """The target, its value in a range where it says something."""
        from intents.targets import KNOWN, Target

        try:
            return Target.parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is none of {KNOWN}, f1", param, ctx)


@click.command("evaluate", short_help="Judge what a model said, beside a simple rule.")
@click.argument("scores", type=RECORDING, metavar="[SCORES]")
@click.argument("recording", type=RECORDING, required=False, metavar="RECORDING")
@click.option("--limit", type=click.IntRange(min=1), help="Judge by the first N events of the recording only.")
@click.option("--by", type=click.Choice(_TABLES), multiple=True, help="Also a table by UTC day, group or threshold.")
@click.option(
    "--target",
    "targets",
    type=TargetType(),
    multiple=True,
    help="Also the threshold that meets precision=P, alarms=N (per active customer and day) or is best by f1, "
    "chosen each day by the days before.",
)
@click.option("--bootstrap", type=click.IntRange(min=2), metavar="N", help="Intervals, by N resamples of customers.")
@click.option(
    "--against",
    type=RECORDING,
    help=f"Another scores file: differences, and whether they exclude 0 ({RESAMPLES} resamples).",
)
@customers_fold("Judge the K-th of N folds of customers.")
@click.option(
    "--ablate",
    is_flag=True,
    help="Replay RECORDING alone, and tell what each group of features is worth "
    f"({RESAMPLES} resamples of customers, or as --bootstrap says).",
)
@click.option("--seed", type=click.IntRange(min=0), help="Other resamples than usual.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Write SVG plots into this directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything, instead of tables.")
@with_settings("catalogue")
def command(
    scores: Path,
    recording: Path | None,
    limit: int | None,
    by: tuple[str, ...],
    targets: "tuple[Target, ...]",
    bootstrap: int | None,
    against: Path | None,
    fold: "Fold | None",
    ablate: bool,
    seed: int | None,
    plots: Path | None,
    as_json: bool,
    settings: "Settings",
) -> None:
    """Judge the SCORES that a replay of RECORDING wrote, beside the rule "most recently touched first".

    \b
    micro-intents replay FILE --in-process --learn --scores scores.jsonl
    micro-intents evaluate scores.jsonl FILE
    micro-intents evaluate scores.jsonl FILE --by day --by group --bootstrap 200
    micro-intents evaluate scores.jsonl FILE --by threshold --target precision=0.25 --target alarms=2
    micro-intents evaluate new.jsonl FILE --against old.jsonl --customers-fold 1/2
    micro-intents evaluate scores.jsonl FILE --plots plots
    micro-intents evaluate FILE --ablate

    rank: where the subject stood that a customer then carted or bought. next: the same among subjects that the customer
    had never touched (the rule: what most customers touched). detect: after each view, whether a subject is carted or
    bought within the horizon; soon: within 24 hours. emission: what intents at the threshold would have been worth; in
    "f1 once" one intent stands for one cart or purchase.

    With --ablate there is no scores file: RECORDING is replayed in process, learning from cold, and beside the model
    learn others that lack a group of features, or have one group only. All are asked the questions of detect when they
    come, with what was learned until then; the choice, which orders the subjects before a cart or purchase, is asked of
    those touched before. A difference has its 95 % interval over the same resamples of customers.
    """
    if recording is None or ablate:
        _check_alone(recording, ablate)
        from streams.commands.ablation import ablate as show

        show(scores, settings, limit, fold, bootstrap or RESAMPLES, seed, as_json=as_json)
        return
    from intents.assessment import ascertain, assess
    from intents.bootstrap import SEED
    from intents.occurrences import Questions
    from streams.commands.console import progress
    from streams.occurrences import occurrences
    from streams.recordings import open_recording

    if plots is not None:
        _check_plots()
    with progress(f"reading {recording.name}", "events") as update:
        asked = Questions(occurrences(open_recording(recording), settings.load_catalogue(), limit, update))

    wanted = {f"{table}s" for table in (_TABLES if as_json or plots else by)}

    def assessed(path: Path) -> "Assessment":
        evidence = _evidence(path, recording, asked, fold, settings)
        with progress(f"trying thresholds on {path.name}", "thresholds") as update:
            return assess(evidence, settings.fixed_threshold, targets, wanted, update)

    found = assessed(scores)
    other = assessed(against) if against else None
    sure = None
    if bootstrap or against:
        with progress("resampling customers", "resamples") as update:
            sure = ascertain(found, bootstrap or RESAMPLES, SEED if seed is None else seed, other, update)
    if as_json:
        click.echo(json.dumps(found.to_dict(sure), indent=2))
    else:
        _print(found, sure, by, limit)
    if plots is not None:
        _plot(found, plots)


def _check_alone(recording: Path | None, ablate: bool) -> None:
    """Refuse what goes with the other way only, with a scores file or without."""
    context = click.get_current_context()
    if not ablate:
        raise click.UsageError(
            "two files are needed, SCORES and RECORDING (--ablate takes the recording alone)", context
        )
    if recording is not None:
        raise click.UsageError("--ablate replays the recording itself: give it alone, without scores", context)
    given = [name for name in _NOT_ALONE if context.params.get(name)]
    if given:
        raise click.UsageError(f"{option_of(given[0])} needs a scores file: not with --ablate", context)


def _evidence(path: Path, recording: Path, asked: "Questions", fold: "Fold | None", settings: "Settings") -> "Evidence":
    from intents.answers import BadScores
    from intents.evidence import Evidence
    from streams.commands.console import progress

    try:
        with progress(f"judging {path.name}", "lines") as update:
            return Evidence(_lines(path, update), asked, horizon_ms=settings.horizon_s * 1000, fold=fold)
    except BadScores as error:
        raise Failure(f"{path}: {error}. Is it the scores file of {recording}?") from error


def _lines(path: Path, update: "Update") -> Iterator[bytes]:
    size = max(1, path.stat().st_size)
    done = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            done += len(line)
            if number % 1000 == 0:
                update(done / size, number)
            yield line


def _print(found: "Assessment", sure: "Certainty | None", by: tuple[str, ...], limit: int | None) -> None:
    from streams import evaluation_tables as tables
    from streams.commands.console import results

    console = results()
    told = found.evaluation
    who = f", {told.customers:,} customers" + (f" of {len(found.evidence.judged):,}" if found.evidence.fold else "")
    console.print(f"{told.events:,} events{' (the first ones)' if limit else ''}{who}", style="bold")
    shown: list[Table | Text] = [tables.main(found, sure), *tables.notes(told)]
    for name, made in (("day", tables.days), ("group", tables.groups), ("threshold", tables.thresholds)):
        if name in by:
            shown += made(found, sure)
    if found.chosen:
        shown += tables.targets(found, sure)
    if sure and sure.differences:
        shown += tables.against(found, sure)
    for each in shown:
        console.print(each, width=tables.WIDTH)


def _check_plots() -> None:
    """Refuse to begin what could not be drawn in the end."""
    try:
        import matplotlib  # noqa: F401  # whether it is there
    except ImportError as error:
        raise Failure("plots need matplotlib: pip install 'micro-intents[plots]'") from error


def _plot(found: "Assessment", folder: Path) -> None:
    from streams.plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    for path in draw(found, folder):
        click.echo(f"wrote {path}", err=True)
