"""`micro-intents tail`: intents as they come, in words."""

import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import click

from streams.commands.options import with_settings

if TYPE_CHECKING:
    from intents.intent import Intent
    from streams.settings import Settings
    from streams.words import Words

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLOURS = {
    "detected": "green",
    "strengthened": "green",
    "weakened": "yellow",
    "fulfilled": "cyan",
    "expired": "bright_black",
}


@click.command("tail", short_help="Show intents as they come, in words.")
@click.option("--from-beginning", is_flag=True, help="All there are, not only new ones.")
@click.option("--no-follow", is_flag=True, help="Stop at what is the end now.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N of them.")
@click.option("--customer", metavar="ID", help="Of this customer only.")
@click.option("--json", "as_json", is_flag=True, help="The JSON values as they are, one a line.")
@with_settings("broker", "catalogue")
def command(
    from_beginning: bool,
    no_follow: bool,
    limit: int | None,
    customer: str | None,
    as_json: bool,
    settings: "Settings",
) -> None:
    """Show intents as they are published, in words; Ctrl-C ends it.

    \b
    micro-intents tail
    micro-intents tail --from-beginning --customer 4711
    micro-intents tail --from-beginning --no-follow --json > intents.jsonl

    Times are those of the events (UTC). A change that was published twice is shown once.
    """
    from streams.broker import find_broker
    from streams.intents_reader import read_intents
    from streams.words import Words

    words = Words(settings.load_catalogue().labels)
    intents = read_intents(
        find_broker(settings.broker), settings.intents, from_beginning=from_beginning, follow=not no_follow
    )
    wanted = ((intent, value) for intent, value in intents if customer in (None, intent.customer_id))
    if not as_json and not no_follow and sys.stderr.isatty():
        click.echo(f"Waiting for intents on {settings.intents}; Ctrl-C ends it.", err=True)
    try:
        for intent, value in islice(wanted, limit):
            click.echo(value.decode() if as_json else _line(intent, words))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _line(intent: "Intent", words: "Words") -> str:
    moment = _EPOCH + timedelta(milliseconds=intent.updated_at)
    when = click.style(f"{moment:%Y-%m-%d %H:%M:%S}", dim=True)
    return f"{when}  {click.style(words.say(intent), fg=_COLOURS.get(intent.status))}"
