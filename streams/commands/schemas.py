"""`micro-intents schemas`: what the topics' values look like, for their other users."""

from pathlib import Path

import click


@click.command("schemas", short_help="Print the JSON Schemas of the topics.")
@click.argument("name", type=click.Choice(["clickstream", "intents"]), required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write NAME.json files into this folder.")
def command(name: str | None, out: Path | None) -> None:
    """Print the JSON Schemas of the clickstream's and the intents' values.

    \b
    micro-intents schemas intents > intents.schema.json
    micro-intents schemas --out schemas/

    Without NAME one JSON object with both. Schemas only ever gain optional fields.
    """
    from streams.schemas import shipped

    names = [name] if name else ["clickstream", "intents"]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for each in names:
            (out / f"{each}.json").write_text(shipped(each), encoding="utf-8")
            click.echo(f"{out / each}.json")
    elif name:
        click.echo(shipped(name), nl=False)
    else:
        both = ",\n".join(f'"{each}": {shipped(each).rstrip()}' for each in names)
        click.echo(f"{{\n{both}\n}}")
