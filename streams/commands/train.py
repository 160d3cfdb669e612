"""`micro-intents train`: learns from the examples that workers publish, or from a recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from streams.commands.in_process import Part, model_line, part_options, summary_table, work
from streams.commands.logs import Format, log_options, log_to_stderr
from streams.commands.options import OUTPUT, RECORDING, WARM_START, option_of, with_settings

if TYPE_CHECKING:
    from intents.evidence import Fold
    from streams.settings import Settings

_ONLY_FROM: Final = ("save_model", "limit", "sort", "fold", "catalogue")
_ONLY_KAFKA: Final = ("broker", "model_store", "scores")


@click.command("train", short_help="Learn from what workers publish, or from a recording, and save models.")
@click.option("--from", "file", type=RECORDING, metavar="RECORDING", help="Learn from this recording, without Kafka.")
@part_options
@click.option("--save-model", type=OUTPUT, help="With --from: the snapshot to write (model.snapshot by default).")
@WARM_START
@log_options
@click.option("--scores", type=OUTPUT, help="On Kafka: append what the model said before it learned, JSON lines.")
@with_settings("broker", "model_store", "catalogue")
def command(
    file: Path | None,
    limit: int | None,
    sort: bool,
    fold: "Fold | None",
    save_model: Path | None,
    warm_start: Path | None,
    scores: Path | None,
    level: str,
    form: Format,
    settings: "Settings",
) -> None:
    """Learn from what workers asked and what came of it, and write model snapshots, until stopped.

    \b
    micro-intents train --model-store s3://bucket/models
    micro-intents train --from FILE --save-model shop.snapshot
    micro-intents train --warm-start shop.snapshot
    micro-intents train --scores said.jsonl

    One trainer is enough; a second one waits until the first is gone. Workers pick new snapshots up by themselves.

    With --from it learns from a recording instead, of any format that `replay` reads, and ends. Name the catalogue that
    workers have, because a model knows subjects by their names.

    With --warm-start a trainer whose store has no snapshot to go on from begins with this one, and workers have it at
    once. It must not be learned from examples that are still in Kafka, or they are learned twice.
    """
    _check()
    if file is not None:
        from streams.recordings import open_recording

        part = Part(open_recording(file), limit, sort, fold)
        _learn(part, save_model or Path("model.snapshot"), warm_start, settings)
        return
    from streams.train import run

    log_to_stderr(level, form, settings.secrets)
    click.get_current_context().exit(run(settings, warm_start=str(warm_start or ""), scores=scores))


def _check() -> None:
    """Refuse options that do not go together."""
    context = click.get_current_context()
    offline = context.params["file"] is not None
    for name in _ONLY_KAFKA if offline else _ONLY_FROM:
        if context.params.get(name):
            why = "is for a trainer on Kafka: --from works on files" if offline else "is for --from"
            raise click.UsageError(f"{option_of(name)} {why}", context)


def _learn(part: Part, path: Path, warm_start: Path | None, settings: "Settings") -> None:
    from features.core_bundle import CORE
    from streams.commands.console import cells, results
    from streams.models import starting_point
    from streams.replay import Outputs

    if path.resolve() == part.recording.path.resolve():
        raise click.UsageError("the snapshot would replace the recording: name another file with --save-model")
    start = starting_point(str(warm_start), CORE) if warm_start else None
    outputs = Outputs(model=path)
    summary = work(part, settings, outputs, doing="learning from", learn=True, start=start)
    assert summary.progress is not None  # it learned
    shown = summary_table(part, summary)
    area, precision = summary.progress.discrimination()
    shown.add_row(*cells("pairs judged, the last days above all", f"{summary.progress.pairs:,.0f}"))
    for name, number in (
        ("  AUC of what was said before", area),
        ("  average precision", precision),
        ("  log loss", summary.progress.loss),
        ("  log loss of the fallback", summary.progress.fallback_loss),
    ):
        shown.add_row(*cells(name, f"{number:.4f}"))
    shown.add_row(*cells("events a second", f"{summary.events / max(summary.seconds, 1e-9):,.0f}"))
    console = results()
    console.print(shown)
    console.print(model_line(summary))
    click.echo(f"wrote {path} ({path.stat().st_size / 1000:,.0f} kB)")
    click.echo(f"begin with it: micro-intents train --warm-start {path}, or micro-intents worker --model {path}")
