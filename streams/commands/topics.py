"""`micro-intents topics`: the topics, created as they must be."""

from typing import TYPE_CHECKING

import click

from streams.commands.options import Failure, with_settings

if TYPE_CHECKING:
    from streams.settings import Settings

KEEP_DAYS = 14
"""How long new topics keep records, unless they must for longer."""


@click.group("topics", short_help="Create the topics as they must be.")
def command() -> None:
    """Create the topics, and see that they are as they must be."""


@command.command("create")
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    help="Of clickstream and intents; 8 for new ones. They never change.",
)
@click.option(
    "--replication-factor", type=click.IntRange(1, 16), help="Copies of each partition; the broker's default."
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 3650),
    help="How long new topics keep records; 14 days, or the rebuild window if that is longer.",
)
@with_settings("broker")
def create_command(
    partitions: int | None, replication_factor: int | None, keep_days: int | None, settings: "Settings"
) -> None:
    """Create clickstream, intents, examples and the dead letters, as far as they are missing.

    \b
    micro-intents topics create --partitions 16 --replication-factor 3

    Records get the broker's time, because retention would delete a recording's old timestamps at once; nothing is
    compacted. May be run again at any time: existing topics are never changed, but what differs is said (exit code 1).
    """
    from streams.broker import find_broker
    from streams.commands.console import cells, results, table
    from streams.topics import create, differences, found_topics, wanted_topics

    if keep_days is not None and keep_days < settings.rebuild_days:
        raise click.UsageError(
            f"--keep-days {keep_days} is less than the rebuild window, {settings.rebuild_days} days "
            "(MICRO_INTENTS_REBUILD_DAYS)"
        )
    keep_days = keep_days or max(KEEP_DAYS, settings.rebuild_days)
    broker = find_broker(settings.broker)
    if not broker.creates_topics:
        raise Failure(f"{broker.bootstrap} creates no topics by request (the embedded broker makes them on first use)")
    shown = table("topic", "partitions", "copies", "state ")
    advice = []
    with broker.admin() as admin:
        names = [topic.name for topic in wanted_topics(settings, 0)]
        before = found_topics(admin, names)
        source = before.get(settings.clickstream)
        count = partitions or (source.partitions if source else 8)
        for wanted in wanted_topics(settings, count):
            if wanted.name not in before:
                create(admin, wanted, count, replication_factor or -1, keep_days)
        after = found_topics(admin, names)
        for wanted in wanted_topics(settings, count):
            found = after[wanted.name]
            wrong = list(differences(wanted, found, broker.bootstrap))
            state = "; ".join(each.found for each in wrong) or (
                "as it should be" if wanted.name in before else "created"
            )
            shown.add_row(*cells(wanted.name, found.partitions, found.copies, state))
            advice += [f"{wanted.name}: {each.found}: {each.advice}" for each in wrong]
    results().print(shown)
    if advice:
        raise Failure("existing topics differ; change them, or name others in the settings:\n  " + "\n  ".join(advice))
