"""`micro-intents trace`: one event of a recording on its way from record to intent, with what each file made of it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import RECORDING, Failure, with_settings

if TYPE_CHECKING:
    from intents.catalog import Catalogue
    from streams.recordings import Recording, RecordingBatch
    from streams.settings import Settings


@click.command("trace", short_help="Follow one event through the program, file by file.")
@click.argument("recording", type=RECORDING)
@click.option("--customer", metavar="ID", help="The customer's first event that led to an intent.")
@click.option("--event", metavar="EVENT_ID", help="This event, whatever it led to.")
@with_settings("catalogue")
def command(recording: Path, customer: str | None, event: str | None, settings: "Settings") -> None:
    """Follow one event of RECORDING through the program: what it was at each file that it passes.

    \b
    micro-intents simulate shop.jsonl
    micro-intents trace shop.jsonl
    micro-intents trace shop.jsonl --event sim7-004242

    The recording is replayed in process up to that event, learning on the way. Without --customer and --event it is the
    first event of the last third that led to an intent, if possible on a declared journey. A simulated recording brings
    its catalogue along.
    """
    if customer is not None and event is not None:
        raise click.UsageError("--customer and --event choose different events: give one of them")
    from streams.commands.console import progress
    from streams.recordings import open_recording
    from streams.trace import trace
    from streams.trace_effects import opening, sections
    from streams.trace_search import NothingToTrace, Wanted

    opened = open_recording(recording)
    with progress(f"replaying {recording.name}", "events") as update:

        def told(batch: "RecordingBatch", count: int) -> None:
            update(min(1.0, batch.read_bytes / max(1, opened.size_bytes)), count)

        wanted = Wanted(event, customer)
        try:
            traced = asyncio.run(trace(opened, settings, _catalogue(opened, settings), wanted, told))
        except NothingToTrace as nothing:
            raise Failure(str(nothing)) from nothing
    click.echo(opening(traced))
    for number, section in enumerate(sections(traced), 1):
        head, *lines = section.text(number)
        click.echo("")
        click.secho(head, bold=True)  # click leaves colours and weights out where there is no terminal
        for line in lines:
            click.echo(line)


def _catalogue(recording: "Recording", settings: "Settings") -> "Catalogue":
    """The catalogue of the settings; of a simulated recording, the made-up shop's."""
    from intents.catalog import Catalogue
    from streams.shop import DEMO_CATALOGUE

    if not settings.catalogue and (recording.header or {}).get("made_up"):
        return Catalogue.parse(DEMO_CATALOGUE)
    return settings.load_catalogue()
