"""`micro-intents replay`: a recording once more, into Kafka or in process."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.in_process import Part, model_line, part_options, summary_table, work
from streams.commands.options import OUTPUT, RECORDING, WARM_START, option_of, with_settings

if TYPE_CHECKING:
    from intents.evidence import Fold
    from streams.commands.console import Update
    from streams.recordings import RecordingBatch
    from streams.settings import Settings

_ONLY_IN_PROCESS = ("learn", "warm_start", "save_model", "intents", "scores", "dead", "model", "catalogue")


class Speed(click.ParamType):
    """A factor of event time, or max."""

    name = "speed"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """A positive number, or the word max."""
        if value == "max":
            return "max"
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is neither a positive number (1: as it happened) nor max", param, ctx)
        return speed


@click.command("replay", short_help="Replay a recording into Kafka, or in process.")
@click.argument("file", type=RECORDING)
@click.option("--in-process", is_flag=True, help="Without Kafka and Redis: work it here, with the same code.")
@click.option("--speed", type=Speed(), help="Into Kafka: 60 is a minute a second; max (default) as fast as it goes.")
@part_options
@click.option("--learn", is_flag=True, help="In process: learn on the way, every 5 minutes of event time.")
@WARM_START
@click.option("--save-model", type=OUTPUT, help="In process, with --learn: write the last snapshot there.")
@click.option("--intents", type=OUTPUT, help="In process: write the intents there, JSON lines in file order.")
@click.option("--scores", type=OUTPUT, help="In process: write what the model said there, for `evaluate`.")
@click.option("--dead", type=OUTPUT, help="In process: write the refused records there, JSON lines.")
@click.option("--partitions", type=click.IntRange(1, 10_000), help="In process: of the imagined topic (8 by default).")
@with_settings("model", "catalogue", "broker", "partitioner")
def command(
    file: Path,
    in_process: bool,
    speed: float | str | None,
    limit: int | None,
    sort: bool,
    fold: "Fold | None",
    learn: bool,
    warm_start: Path | None,
    partitions: int | None,
    settings: "Settings",
    **outputs: Path | None,
) -> None:
    """Replay the recording FILE into Kafka, or in process.

    FILE is JSON lines of our events, or the CSV of Taobao's UserBehavior, REES46 or UCI Online Retail; plain or gzip.
    What has no customer there is left out, and counted.

    \b
    micro-intents replay FILE --speed 60           into Kafka, a minute of event time a second
    micro-intents replay FILE                      into Kafka, as fast as it goes: a trainer may lag meanwhile
    micro-intents replay FILE --in-process --learn --scores scores.jsonl --save-model last.snapshot
    micro-intents replay FILE --in-process --learn --warm-start other.snapshot --scores scores.jsonl
    micro-intents replay FILE --in-process --model last.snapshot --intents intents.jsonl

    With --model the model stays as it is; with --learn it learns, from nothing or from that of --warm-start on.
    """
    _check(in_process, speed, learn, warm_start, partitions, settings, outputs)
    from streams.recordings import open_recording

    part = Part(open_recording(file), limit, sort, fold)
    if in_process:
        _in_process(part, learn, warm_start, partitions, settings, outputs)
    else:
        _into_kafka(part, None if speed in (None, "max") else float(str(speed)), settings)


def _check(
    in_process: bool,
    speed: object,
    learn: bool,
    warm_start: Path | None,
    partitions: int | None,
    settings: "Settings",
    outputs: dict[str, Path | None],
) -> None:
    """Refuse options that do not go together."""
    context = click.get_current_context()
    if in_process and speed is not None:
        raise click.UsageError(
            "--speed paces a replay into Kafka; in process it always goes as fast as it can", context
        )
    paths = [path.resolve() for path in (context.params["file"], *outputs.values()) if path]
    if len(set(paths)) < len(paths):
        raise click.UsageError("two of the files are the same one", context)
    if not in_process:
        given = [name for name in _ONLY_IN_PROCESS if context.params.get(name)]
        given += ["partitions"] if partitions else []
        if given:
            raise click.UsageError(
                f"{option_of(given[0])} is for --in-process: in Kafka, workers read their own settings", context
            )
    if outputs["save_model"] and not learn:
        raise click.UsageError("--save-model keeps what was learned: add --learn", context)
    if warm_start and not learn:
        raise click.UsageError("--warm-start is where learning begins: add --learn, or say --model", context)
    if in_process and learn and settings.model:
        raise click.UsageError(
            "--model (or MICRO_INTENTS_MODEL) is a model that stays as it is: with --learn say --warm-start", context
        )


def _in_process(
    part: Part,
    learn: bool,
    warm_start: Path | None,
    partitions: int | None,
    settings: "Settings",
    paths: dict[str, Path | None],
) -> None:
    from features.core_bundle import CORE
    from streams.commands.console import cells, results
    from streams.models import starting_point
    from streams.replay import Outputs

    outputs = Outputs(paths["intents"], paths["scores"], paths["dead"], paths["save_model"])
    first = str(warm_start or settings.model)
    start = starting_point(first, CORE) if first else None
    summary = work(part, settings, outputs, doing="replaying", learn=learn, start=start, partitions=partitions)
    shown = summary_table(part, summary)
    shown.add_row(*cells("intent events", f"{summary.intents.total():,}"))
    for status, count in summary.intents.most_common():
        shown.add_row(*cells(f"  {status}", f"{count:,}"))
    shown.add_row(*cells("events a second", f"{summary.events / max(summary.seconds, 1e-9):,.0f}"))
    console = results()
    console.print(shown)
    console.print(model_line(summary))
    if summary.model and not summary.model.ready and not summary.intents:
        console.print("A model that is not ready emits nothing: add --learn (and events), or --model SNAPSHOT.")
    for path in (outputs.intents, outputs.scores, outputs.dead, outputs.model):
        if path is not None:
            click.echo(f"wrote {path}")
    if outputs.scores is not None:
        again = f" --catalog {settings.catalogue}" if settings.catalogue else ""
        again += f" --customers-fold {part.fold.number}/{part.fold.parts}" if part.fold else ""
        click.echo(f"how good that is: micro-intents evaluate {outputs.scores} {part.recording.path}{again}")


def _into_kafka(part: Part, speed: float | None, settings: "Settings") -> None:
    from streams.commands.console import cells, progress, results, table
    from streams.feed import Pace, feed, open_feed

    async def send(update: "Update") -> tuple[int, int, int, float]:
        async with open_feed(settings.broker, settings.clickstream, settings.partitioner) as opened:
            pace = Pace(speed)
            began = pace.clock()

            def told(batch: "RecordingBatch", sent: int) -> None:
                update(part.share(batch, sent), sent)

            await feed(opened, part.batches(), pace, told)
            return opened.sent, opened.too_long, opened.partitions, pace.clock() - began

    with progress(f"replaying {part.recording.path.name} into {settings.clickstream}", "events") as update:
        sent, too_long, partitions, seconds = asyncio.run(send(update))
    shown = table("", "count")
    shown.add_row(*cells("records sent and acknowledged", f"{sent:,}"))
    for reason, count in part.left_out.items():
        shown.add_row(*cells(f"rows left out: {reason}", f"{count:,}"))
    shown.add_row(*cells("left out: longer than workers accept", f"{too_long:,}"))
    shown.add_row(*cells(f"partitions of {settings.clickstream} (by {settings.partitioner})", f"{partitions:,}"))
    shown.add_row(*cells("records a second", f"{sent / max(seconds, 1e-9):,.0f}"))
    results().print(shown)
    click.echo("What workers make of it: micro-intents tail")
