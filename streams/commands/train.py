"""`micro-intents train`: learns from the examples that workers publish."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.logs import Format, log_options, log_to_stderr
from streams.commands.options import OUTPUT, with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command("train", short_help="Learn from what workers publish, and save models.")
@log_options
@click.option("--scores", type=OUTPUT, help="Append what the model said before it learned there, JSON lines.")
@with_settings("broker", "model_store")
def command(level: str, form: Format, scores: Path | None, settings: "Settings") -> None:
    """Learn from what workers asked and what came of it, and write model snapshots, until stopped.

    \b
    micro-intents train --model-store s3://bucket/models
    micro-intents train --scores said.jsonl

    One trainer is enough; a second one waits until the first is gone. Workers pick new snapshots up by themselves.
    """
    from streams.train import run

    log_to_stderr(level, form, settings.secrets)
    click.get_current_context().exit(run(settings, scores))
