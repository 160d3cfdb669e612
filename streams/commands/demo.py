"""`micro-intents demo`: the whole way on one machine."""

import click


@click.command("demo", short_help="See the whole way work, with nothing else installed.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the made-up customers.")
@click.option("--events", type=click.IntRange(min=1_000), default=20_000, show_default=True)
@click.option("--customers", type=click.IntRange(min=10), default=600, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True, help="What the replay is paced to."
)
def command(seed: int, events: int, customers: int, seconds: float) -> None:
    """See it work: made-up customers, an embedded broker and Redis, a real worker and a real trainer.

    \b
    micro-intents demo
    micro-intents demo --seed 11

    Needs no Docker and no Java; leaves nothing running and nothing behind. The broker is librdkafka's mock cluster,
    which is good for a first look only.
    """
    from streams.demo import run

    click.get_current_context().exit(run(seed=seed, events=events, customers=customers, replay_s=seconds))
