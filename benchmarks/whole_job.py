"""The whole job beside what people would write instead: CPU and wall time an event on one core, all in one run.

`python -m benchmarks.whole_job [RECORDING]` fills a topic with events of a recording, sent again and again under
other customers' names (a made-up recording, if none is given), starts Kafka and Redis on one core, and lets each job
in turn work the topic off on another; then all of them again. What each peer does is in `benchmarks/peers`; it runs in
an environment of its own (`make peers`), Faust's in ours.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import redis

from benchmarks.part import Part, Spread
from benchmarks.rig import PARTITIONS, Rig, later, measure_worker, on_core_0, recording_or_made_up, rig
from streams.commands.console import progress

PEERS: Final = Path(__file__).parent / "peers"
OURS: Final = "micro-intents, the whole job"
MOST_S: Final = 300

Job = Callable[[Rig, int], dict[str, float]]


def _ours(services: Rig, events: int) -> dict[str, float]:
    """The worker."""
    found = measure_worker(services, services.job("clickstream"), events)
    return {"cpu": found["worker_cpu_us_per_event"], "wall": found["wall_us_per_event"]} | {
        "redis": found["redis_cpu_us_per_event"]
    }


def _peer(services: Rig, *command: str, **variables: str) -> dict[str, float]:
    """A peer that prints what its stopwatch says; Redis' CPU beside it."""
    used = services.redis_cpu_s()
    told = subprocess.run(
        on_core_0(*command), cwd=PEERS, env=os.environ | variables, capture_output=True, timeout=MOST_S, check=False
    )
    lines = [line for line in told.stdout.splitlines() if line.startswith(b"{")]
    if not lines:
        raise click.ClickException(f"{' '.join(command)} measured nothing:\n{told.stderr.decode()[-2000:]}")
    found = json.loads(lines[-1])
    each = 1e6 / found["events"]
    redis_cpu = services.redis_cpu_s() - used
    return {"cpu": found["cpu_s"] * each, "wall": found["wall_s"] * each, "redis": redis_cpu * each}


def _faust(services: Rig, events: int) -> dict[str, float]:
    at = services.kafka.bootstrap
    return _peer(services, sys.executable, "faust_count.py", at, "clickstream", str(events), services.group())


def _quix(services: Rig, events: int) -> dict[str, float]:
    state, at = tempfile.mkdtemp(dir=services.folder), services.kafka.bootstrap
    told = (at, "clickstream", str(events), services.group(), state)
    return _peer(services, _python("quix"), "quix_count.py", *told)


def _bytewax(services: Rig, events: int) -> dict[str, float]:
    variables = {"BROKER": services.kafka.bootstrap, "TOPIC": "clickstream", "EVENTS": str(events)}
    return _peer(services, _python("bytewax"), "-m", "bytewax.run", "bytewax_count", **variables)


def _by_hand(services: Rig, events: int) -> dict[str, float]:
    few = events // 10
    with redis.Redis.from_url(services.store.url) as client:
        client.flushall()
    at = services.kafka.bootstrap
    told = (at, "clickstream", str(few), services.group(), services.store.url)
    return _peer(services, sys.executable, "by_hand.py", *told)


def _python(peer: str) -> str:
    """The interpreter of a peer's environment."""
    path = PEERS.parents[1] / "build" / "peers" / peer / "bin" / "python"
    if not path.exists():
        raise click.ClickException(f"{peer}'s environment is missing: make peers")
    return str(path)


JOBS: Final[dict[str, Job]] = {
    OURS: _ours,
    "plain Faust, a count in memory": _faust,
    "Quix, the count in its state": _quix,
    "Bytewax, the count in memory": _bytewax,
    "the job by hand: Faust, River, Redis": _by_hand,
}


@click.command(help=__doc__)
@click.argument("recording", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", default=2_000, show_default=True, help="Events of the recording to use.")
@click.option("--times", default=95, show_default=True, help="How many crowds of customers.")
@click.option("--rounds", default=3, show_default=True, help="How often each job is run.")
@click.option("--only", multiple=True, help="Jobs whose names hold this; all by default.")
def main(recording: Path | None, limit: int, times: int, rounds: int, only: tuple[str, ...]) -> None:
    """Measure, and print one JSON line a measure."""
    jobs = {name: job for name, job in JOBS.items() if not only or any(word in name for word in only)}
    measured: dict[str, dict[str, list[float]]] = {what: {} for what in ("cpu", "wall", "redis")}
    with tempfile.TemporaryDirectory() as folder:
        path = recording_or_made_up(recording, Path(folder))
        with rig(path) as services, progress("measuring", "jobs") as update:
            batch = later(path, limit, times)
            events, customers = len(batch.keys), len(set(batch.keys))
            services.fill("clickstream", batch)
            services.topics({"by-hand-intents": PARTITIONS})
            for n in range(rounds * len(jobs)):
                name = list(jobs)[n % len(jobs)]
                for what, value in jobs[name](services, events).items():
                    measured[what].setdefault(name, []).append(value)
                update((n + 1) / (rounds * len(jobs)), n + 1)
    size = sum(map(len, batch.values)) / events
    notes = (f"{events:,} events of {customers:,} customers, {size:.0f} bytes each, {PARTITIONS} partitions",)
    for what, values in measured.items():
        spreads = {name: Spread.of(several) for name, several in values.items()}
        click.echo(Part(f"whole job, {what}", "python -m benchmarks.whole_job", "µs an event", spreads, notes).line())


if __name__ == "__main__":
    main()
