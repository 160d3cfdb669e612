"""`micro-intents simulate`: a made-up recording with the truth about what its customers wanted."""

from pathlib import Path

import click

from streams.commands.options import OUTPUT, plain_failures


@click.command("simulate", short_help="Write a made-up recording, and its truth.")
@click.argument("out", type=OUTPUT)
@click.option("--customers", type=click.IntRange(min=1), default=600, show_default=True, help="Customers of the shop.")
@click.option("--events", type=click.IntRange(min=1), default=20_000, show_default=True, help="Events to write.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=2.5, show_default=True, help="Their span.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed writes the same bytes.")
@click.option("--catalog", type=OUTPUT, help="Write the shop's catalogue (TOML) there, too.")
def command(out: Path, customers: int, events: int, days: float, seed: int, catalog: Path | None) -> None:
    """Write a made-up recording to OUT (gzip if it ends in .gz), and its truth beside it.

    \b
    micro-intents simulate demo.jsonl.gz --catalog shop.toml
    micro-intents replay demo.jsonl.gz --in-process --learn --catalog shop.toml --intents intents.jsonl
    """
    from streams.shop import DEMO_CATALOGUE
    from streams.simulate import simulate, truth_path

    with plain_failures():
        made = simulate(out, customers=customers, events=events, days=days, seed=seed)
        if catalog is not None:
            catalog.write_text(DEMO_CATALOGUE, encoding="utf-8")
    click.echo(f"{out}: {made.events:,} made-up events of {made.customers:,} customers")
    click.echo(f"{truth_path(out)}: {made.spans:,} true intents")
    if catalog is not None:
        click.echo(f"{catalog}: the shop's catalogue")
