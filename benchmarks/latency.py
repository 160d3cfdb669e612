"""From an event that is due to be sent to its intent read by a consumer: open loop, with a trainer learning beside it.

`python -m benchmarks.latency [RECORDING]` sends events at a fixed rate, whatever comes back (each counts from when it
was due, not from when it was sent: coordinated omission). Kafka, Redis, the worker, the trainer, who sends and who
reads share all cores. The trainer writes a snapshot every five seconds, which the worker takes up.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.part import Part, Spread
from benchmarks.rig import PARTITIONS, Rig, later, recording_or_made_up, rig
from streams.children import wait_for
from streams.commands.console import progress
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from tests.job import KafkaRun

WARM_S = 20
"""Kafka was started just before: its JVM compiles meanwhile, on the same cores."""
SNAPSHOT_S = 5.0
PATIENCE_S = 10
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "most": 1.0}

Update = Callable[[float, int], None]


class Reader(threading.Thread):
    """Reads intents from the beginning on, and notes when those came that an event led to."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.came: list[tuple[int, int, float]] = []
        self.versions: set[str] = set()
        self.stop = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "latency", "fetch.wait.max.ms": 100})
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def run(self) -> None:
        """Read until told to stop."""
        while not self.stop.is_set():
            first = self._consumer.consume(1, timeout=0.1)  # with more it would wait for those, or turn without end
            for message in first and first + self._consumer.consume(500, timeout=0):
                at, value = time.monotonic(), message.value()
                if message.error() is not None or value is None:
                    continue
                told = orjson.loads(value)
                self.versions.add(told["model"]["version"])
                if told["status"] != "expired":
                    self.came.append((told["source"]["partition"], told["source"]["offset"], at))
        self._consumer.close()


def _send(bootstrap: str, topic: str, batch: RecordingBatch, rate: int, update: Update) -> list[list[float]]:
    """Send at `rate` events a second; returns when each event was due, by partition and offset (monotonic s)."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "enable.idempotence": True})
    places = partitions_for(batch.keys, PARTITIONS).tolist()
    due: list[list[float]] = [[] for _ in range(PARTITIONS)]
    began, sent = time.monotonic(), 0
    while sent < len(batch.keys):
        wanted = min(len(batch.keys), int((time.monotonic() - began) * rate))
        for n in range(sent, wanted):
            due[places[n]].append(began + n / rate)
            producer.produce(topic, batch.values[n], batch.keys[n], partition=places[n])
        producer.poll(0)
        if wanted - sent and wanted // rate != sent // rate:
            update(wanted / len(batch.keys), wanted)
        sent = wanted
        time.sleep(0.001)  # noqa: TID251  # the pace of the open loop
    producer.flush()
    return due


def measure(services: Rig, batch: RecordingBatch, rate: int, update: Update) -> tuple[dict[str, float], int, int]:
    """Latencies by quantile (ms), how many intents they are of, and how many models spoke."""
    store = services.folder / "models"
    services.topics({"latency": PARTITIONS})
    job: KafkaRun = services.job("latency")
    job.settings = replace(job.settings, model="", model_store=str(store), snapshot_s=SNAPSHOT_S)
    reader = Reader(services.kafka.bootstrap, job.settings.intents)
    warm = ("--warm-start", services.settings.model)
    with job.command("worker") as worker, job.command("train", *warm):
        wait_for(lambda: job.said(worker).count("claimed") >= PARTITIONS, "all claims")
        wait_for(lambda: any(store.glob("*")), "the trainer's first snapshot")
        reader.start()
        due = _send(services.kafka.bootstrap, "latency", batch, rate, update)
        patience = time.monotonic() + PATIENCE_S
        while time.monotonic() < patience and time.monotonic() - (reader.came[-1][2] if reader.came else 0) < 2:
            time.sleep(0.1)  # noqa: TID251  # until nothing comes any more
        reader.stop.set()
        reader.join()
    begins = min(times[0] for times in due) + WARM_S
    waits = [at - due[place][offset] for place, offset, at in reader.came if due[place][offset] >= begins]
    if not waits:
        raise click.ClickException(f"no intents came:\n{job.said(worker)[-2000:]}")
    ms = {name: float(np.quantile(waits, q)) * 1000 for name, q in QUANTILES.items()}
    return ms, len(waits), len(reader.versions)


@click.command(help=__doc__)
@click.argument("recording", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rate", default=2_000, show_default=True, help="Events a second.")
@click.option("--seconds", default=60, show_default=True, help=f"How long to send; the first {WARM_S} do not count.")
@click.option("--rounds", default=2, show_default=True, help="How often.")
def main(recording: Path | None, rate: int, seconds: int, rounds: int) -> None:
    """Measure, and print one JSON line."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        path = recording_or_made_up(recording, Path(folder))
        batch = later(path, -(-rate * seconds // 95), 95)
        for _ in range(rounds):
            with rig(path, pinned=False) as services, progress("sending", "events") as update:
                runs.append(measure(services, batch, rate, update))
    spreads = {name: Spread.of([ms[name] for ms, _, _ in runs]) for name in QUANTILES}
    _, intents, models = runs[-1]
    notes = (f"{rate:,} events a second for {seconds} s, {intents:,} intents after {WARM_S} s, {models} models spoke",)
    click.echo(Part(f"latency at {rate:,}/s", "python -m benchmarks.latency", "ms", spreads, notes).line())


if __name__ == "__main__":
    main()
