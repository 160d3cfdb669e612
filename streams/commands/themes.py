"""`micro-intents themes`: a catalogue proposed from the names of a recording's products."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import RECORDING, Failure, plain_failures

if TYPE_CHECKING:
    from intents.themes import Theme
    from streams.recordings import RecordingBatch


@click.command("themes", short_help="Propose a catalogue from products' names.")
@click.argument("file", type=RECORDING)
@click.option("--most", type=click.IntRange(min=1), default=60, show_default=True, help="Themes to propose.")
@click.option(
    "--products", type=click.IntRange(min=2), default=10, show_default=True, help="A theme has this many products."
)
@click.option(
    "--customers", type=click.IntRange(min=1), default=30, show_default=True, help="A theme has this many customers."
)
@click.option(
    "--hold-back",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Do not look at this last share of the time.",
)
def command(file: Path, most: int, products: int, customers: int, hold_back: float) -> None:
    """Propose a catalogue (TOML) for the recording FILE, whose products have names but no categories.

    \b
    micro-intents themes online_retail.csv.gz > themes.toml
    micro-intents journeys online_retail.csv.gz --catalog themes.toml

    A theme is a word that many products share, that does not tell versions of one product apart (colours, sizes), and
    whose products are bought together oftener than by chance. Read it before you use it: some words are only designs.
    """
    from intents.catalog import Catalogue
    from intents.themes import themes
    from streams.commands.console import progress
    from streams.recordings import open_recording
    from streams.touches import sales_of, touches

    with plain_failures():
        recording = open_recording(file)
        left_out: Counter[str] = Counter()
        with progress(f"reading {file.name}", "events") as update:

            def told(batch: "RecordingBatch", count: int) -> None:
                update(min(1.0, batch.read_bytes / max(1, recording.size_bytes)), count)

            sales = sales_of(touches(recording.batches(left_out=left_out), Catalogue(), told), hold_back)
    if not sales.names:
        raise Failure(f"{file}: no product has a name, so there are no themes; categories are subjects by themselves")
    found = themes(sales, most=most, min_products=products, min_customers=customers)
    if not found:
        raise Failure(f"{file}: no theme among {len(sales.names):,} products: try fewer --products or --customers")
    said = f"--most {most} --products {products} --customers {customers} --hold-back {hold_back:g}"
    click.echo(_toml(found, f"micro-intents themes {file.name} {said}", left_out), nl=False)


def _toml(found: "Iterable[Theme]", called: str, left_out: Counter[str]) -> str:
    lines = [f"# Proposed by: {called}"]
    lines += [f"# Rows left out: {count:,} ({reason})" for reason, count in left_out.items()]
    lines.append("# Read and change it: a name is a rule of words that a product's name has, all of them in any order.")
    for theme in found:
        rule = ", ".join(json.dumps(text, ensure_ascii=False) for text in theme.rule)
        label = theme.name.replace("_", " ").capitalize()
        lines += [
            "",
            f"# {theme.products:,} products, {theme.customers:,} customers; together {theme.together:.1f} × chance",
            f"[intent.{_key(theme.name)}]",
            f"label = {json.dumps(label, ensure_ascii=False)}",
            f"name = [{rule}]",
        ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """A TOML key, in quotes where it must be."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
