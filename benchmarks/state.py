"""What a customer takes in Redis, how soon a worker works, and how fast a lost Redis is rebuilt.

`python -m benchmarks.state [RECORDING]` lets a worker work off 30 events of each of some thousand customers, weighs all
keys (deadlines, open intents, names and outboxes too), empties Redis, and lets a new worker rebuild it: from the log of
events, and from what is published of their intents. The worker has core 0 for itself, the services have the last one.
"""

import tempfile
from pathlib import Path

import click
import redis

from benchmarks.part import Part, Spread
from benchmarks.rig import Rig, crowds, measure_worker, recording_or_made_up, rig
from streams.commands.console import progress
from tests.job import first_records


def _once(services: Rig, events: int) -> dict[str, float]:
    job = services.job("clickstream")
    worked = measure_worker(services, job, events)
    found = services.state_bytes(job)
    with redis.Redis.from_url(services.store.url) as client:
        client.flushall()
    again = measure_worker(services, job, events)
    return {
        "bytes a customer": found["bytes_per_customer_without_outboxes"],
        "bytes a customer, outboxes too": found["bytes_per_customer"],
        "start to the first commit, s": worked["start_s"],
        "rebuilt events a CPU second": 1e6 / again["worker_cpu_us_per_event"],
        "rebuilt events a second": 1e6 / again["wall_us_per_event"],
    }


@click.command(help=__doc__)
@click.argument("recording", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", default=18_000, show_default=True, help="Events of the recording to use.")
@click.option("--times", default=6, show_default=True, help="How many crowds of customers.")
@click.option("--rounds", default=1, show_default=True, help="How often.")
def main(recording: Path | None, limit: int, times: int, rounds: int) -> None:
    """Measure, and print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        path = recording_or_made_up(recording, Path(folder))
        with rig(path) as services, progress("working", "runs") as update:
            batch = crowds(first_records(path, limit), times)
            services.fill("clickstream", batch)
            runs = []
            for n in range(rounds):
                runs.append(_once(services, len(batch.keys)))
                update((n + 1) / rounds, n + 1)
    events, customers = len(batch.keys), len(set(batch.keys))
    notes = (f"{events:,} events of {customers:,} customers, {events / customers:.0f} each",)
    spreads = {name: Spread.of([run[name] for run in runs]) for name in runs[0]}
    click.echo(Part("state", "python -m benchmarks.state", "", spreads, notes).line())


if __name__ == "__main__":
    main()
