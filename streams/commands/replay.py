"""`micro-intents replay`: a recording once more, into Kafka or in process."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import OUTPUT, RECORDING, Failure, with_settings

if TYPE_CHECKING:
    from streams.commands.console import Update
    from streams.recordings import Recording, RecordingBatch
    from streams.replay import Outputs, Summary
    from streams.settings import Settings

_ONLY_IN_PROCESS = ("learn", "save_model", "intents", "scores", "dead", "model", "catalogue")


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
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N events only.")
@click.option("--sort", is_flag=True, help="Sort by event time first (reads the whole file into memory).")
@click.option("--learn", is_flag=True, help="In process: learn on the way, every 5 minutes of event time.")
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
    learn: bool,
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
    micro-intents replay FILE --in-process --model last.snapshot --intents intents.jsonl

    With --model alone the model stays as it is; with --learn too it is where learning begins.
    """
    _check(in_process, speed, learn, partitions, outputs)
    from streams.recordings import open_recording

    recording = open_recording(file)
    if in_process:
        _in_process(recording, limit, sort, learn, partitions or 8, settings, outputs)
    else:
        _into_kafka(recording, limit, sort, None if speed in (None, "max") else float(str(speed)), settings)


def _check(
    in_process: bool, speed: object, learn: bool, partitions: int | None, outputs: dict[str, Path | None]
) -> None:
    """Refuse options that do not go together."""
    context = click.get_current_context()
    if in_process and speed is not None:
        raise click.UsageError(
            "--speed paces a replay into Kafka; in process it always goes as fast as it can", context
        )
    if outputs["save_model"] and not learn:
        raise click.UsageError("--save-model keeps what was learned: add --learn", context)
    paths = [path.resolve() for path in (context.params["file"], *outputs.values()) if path]
    if len(set(paths)) < len(paths):
        raise click.UsageError("two of the files are the same one", context)
    if not in_process:
        given = [name for name in _ONLY_IN_PROCESS if context.params.get(name)]
        given += ["partitions"] if partitions else []
        if given:
            option = "--" + given[0].replace("_", "-").replace("catalogue", "catalog")
            raise click.UsageError(f"{option} is for --in-process: in Kafka, workers read their own settings", context)


def _share(recording: "Recording", batch: "RecordingBatch", count: int, limit: int | None) -> float:
    """How much of the replay is done, by the file or by the limit."""
    by_file = batch.read_bytes / max(1, recording.size_bytes)
    return min(1.0, max(by_file if not limit else 0.0, count / limit if limit else 0.0))


def _in_process(
    recording: "Recording",
    limit: int | None,
    sort: bool,
    learn: bool,
    partitions: int,
    settings: "Settings",
    paths: dict[str, Path | None],
) -> None:
    from intents.snapshots import UnusableSnapshot
    from streams.commands.console import progress
    from streams.replay import Outputs, Seen, Summary, replay_in_process

    catalogue = settings.load_catalogue()
    outputs = Outputs(paths["intents"], paths["scores"], paths["dead"], paths["save_model"])
    seen = Seen()
    left_out: Counter[str] = Counter()
    with progress(f"replaying {recording.path.name}", "events") as update:

        def told(batch: "RecordingBatch", summary: Summary) -> None:
            update(_share(recording, batch, summary.records, limit), summary.events)

        batches = recording.batches(limit=limit, sort_by_time=sort, left_out=left_out)
        if settings.catalogue:
            batches = seen.watching(batches)
        work = replay_in_process(batches, settings, catalogue, outputs, learn=learn, partitions=partitions, told=told)
        try:
            summary = asyncio.run(work)
        except UnusableSnapshot as error:
            raise Failure(str(error)) from error
    _print(recording, summary, left_out, outputs, settings)
    for idle in seen.idle_rules(Path(settings.catalogue), catalogue) if settings.catalogue and not limit else []:
        click.echo(idle, err=True)


def _print(
    recording: "Recording", summary: "Summary", left_out: Counter[str], outputs: "Outputs", settings: "Settings"
) -> None:
    from streams.commands.console import cells, results, table

    console = results()
    made_up = " (made up)" if (recording.header or {}).get("made_up") else ""
    console.print(cells(f"{recording.path.name}: {recording.format}{made_up}")[0], style="bold")
    shown = table("", "count")
    shown.add_row(*cells("records read", f"{summary.records:,}"))
    for reason, count in left_out.items():
        shown.add_row(*cells(f"rows left out: {reason}", f"{count:,}"))
    shown.add_row(*cells("events worked", f"{summary.events:,}"))
    shown.add_row(*cells("records refused", f"{summary.refused.total():,}"))
    for reason, count in summary.refused.most_common(8):
        shown.add_row(*cells(f"  {reason}", f"{count:,}"))
    shown.add_row(*cells("intent events", f"{summary.intents.total():,}"))
    for status, count in summary.intents.most_common():
        shown.add_row(*cells(f"  {status}", f"{count:,}"))
    shown.add_row(*cells("events a second", f"{summary.events / max(summary.seconds, 1e-9):,.0f}"))
    console.print(shown)
    if summary.model is not None:
        labels = f"{summary.model.now.positives:,} positive and {summary.model.now.negatives:,} negative labels"
        state = "loses to its fallback, which is served" if summary.model.losing else "ready"
        console.print(f"model: {state if summary.model.ready else 'not ready'}, {labels}")
        if not summary.model.ready and not summary.intents:
            console.print("A model that is not ready emits nothing: add --learn (and events), or --model SNAPSHOT.")
    for path in (outputs.intents, outputs.scores, outputs.dead, outputs.model):
        if path is not None:
            click.echo(f"wrote {path}")
    if outputs.scores is not None:
        again = f" --catalog {settings.catalogue}" if settings.catalogue else ""
        click.echo(f"how good that is: micro-intents evaluate {outputs.scores} {recording.path}{again}")


def _into_kafka(
    recording: "Recording", limit: int | None, sort: bool, speed: float | None, settings: "Settings"
) -> None:
    from streams.commands.console import cells, progress, results, table
    from streams.feed import Pace, feed, open_feed

    left_out: Counter[str] = Counter()

    async def send(update: "Update") -> tuple[int, int, int, float]:
        async with open_feed(settings.broker, settings.clickstream, settings.partitioner) as opened:
            pace = Pace(speed)
            began = pace.clock()

            def told(batch: "RecordingBatch", sent: int) -> None:
                update(_share(recording, batch, sent, limit), sent)

            batches = recording.batches(limit=limit, sort_by_time=sort, left_out=left_out)
            await feed(opened, batches, pace, told)
            return opened.sent, opened.too_long, opened.partitions, pace.clock() - began

    with progress(f"replaying {recording.path.name} into {settings.clickstream}", "events") as update:
        sent, too_long, partitions, seconds = asyncio.run(send(update))
    shown = table("", "count")
    shown.add_row(*cells("records sent and acknowledged", f"{sent:,}"))
    for reason, count in left_out.items():
        shown.add_row(*cells(f"rows left out: {reason}", f"{count:,}"))
    shown.add_row(*cells("left out: longer than workers accept", f"{too_long:,}"))
    shown.add_row(*cells(f"partitions of {settings.clickstream} (by {settings.partitioner})", f"{partitions:,}"))
    shown.add_row(*cells("records a second", f"{sent / max(seconds, 1e-9):,.0f}"))
    results().print(shown)
    click.echo("What workers make of it: micro-intents tail")
