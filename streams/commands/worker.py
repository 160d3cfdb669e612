"""`micro-intents worker`: reads the clickstream and publishes intents."""

from typing import TYPE_CHECKING

import click

from streams.commands.logs import Format, log_options, log_to_stderr
from streams.commands.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command("worker", short_help="Read the clickstream and publish intents.")
@click.option("--profile", is_flag=True, help="Say at the end what each stage cost, in µs of CPU an event.")
@log_options
@with_settings("broker", "redis_url", "namespace", "model", "model_store", "catalogue")
def command(profile: bool, level: str, form: Format, settings: "Settings") -> None:
    """Read the clickstream, keep every customer's features in Redis, and publish intents, until stopped.

    \b
    micro-intents worker                          run one more of them to share the partitions
    micro-intents worker --model frozen.snapshot  with a model that stays as it is
    micro-intents worker --profile                and where its time went, when it ends

    Ctrl-C or SIGTERM ends it cleanly.
    """
    from streams.worker_app import run

    log_to_stderr(level, form, settings.secrets)
    click.get_current_context().exit(run(settings, profile=profile))
