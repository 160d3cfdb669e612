"""What a worker costs through a real Kafka and a real Redis.

CPU of all its threads, wall time, Redis' CPU, bytes a customer.

`python -m benchmarks.through_kafka RECORDING [--limit N] [--times K] [--profile]` fills a topic of 8 partitions
first, then lets one worker process on a core of its own work it off, with a model frozen after learning on the
recording's first quarter. With `--times K` the recording is sent K times under other customers' names, so that there
are K times as many customers.
"""

import json
from pathlib import Path

import click

from benchmarks.rig import crowds, measure_worker, rig
from tests.job import first_records


@click.command(help=__doc__)
@click.argument("recording", type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=int, default=10_000_000, help="Events of the recording to use; all by default.")
@click.option("--times", type=int, default=1, help="How many crowds of customers; 1 by default.")
@click.option("--profile", is_flag=True, help="Say also what each stage cost.")
def main(recording: Path, limit: int, times: int, profile: bool) -> None:
    """Measure once and print one JSON line."""
    batch = first_records(recording, limit)
    with rig(recording, min(len(batch.keys) // 4, 15_000)) as services:
        batch = crowds(batch, times) if times > 1 else batch
        services.fill("clickstream", batch)
        job = services.job("clickstream")
        found = measure_worker(services, job, len(batch.keys), profile)
        found |= services.state_bytes(job)
    click.echo(json.dumps({key: round(value, 2) for key, value in found.items()}))


if __name__ == "__main__":
    main()
