"""What a worker costs through a real Kafka and a real Redis.

CPU of all its threads, wall time, Redis' CPU, bytes a customer.

`python -m benchmarks.through_kafka RECORDING [--limit N] [--times K] [--profile OUT]` fills a topic of 8 partitions
first, then lets one worker process work it off, with a model frozen after learning on the recording's first quarter.
With `--times K` the recording is sent K times under other customers' names, so that there are K times as many
customers.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import orjson
import psutil
import redis
from kafka import KafkaAdminClient

from features.redis_store import RedisStore
from features.store import PartitionKey
from streams.children import wait_for
from streams.recordings import RecordingBatch, open_recording
from streams.settings import Settings
from tests.job import PARTITIONS, ROOT, KafkaRun, cut, learned
from tests.services import start_kafka, start_redis


def _many(batch: RecordingBatch, times: int) -> RecordingBatch:
    """The records once for each of `times` crowds of customers, interleaved."""
    keys, values = [], []
    for key, value in zip(batch.keys, batch.values, strict=True):
        for crowd in range(times):
            mine = key + b"-%d" % crowd
            event = orjson.loads(value) | {"customer_id": mine.decode()}
            event["event_id"] += f"-{crowd}"
            keys.append(mine)
            values.append(orjson.dumps(event))
    return RecordingBatch(keys, values, np.repeat(batch.times_ms, times), 0)


def _topics(bootstrap: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    wanted = {"clickstream": PARTITIONS, "intents": PARTITIONS, "examples": 1, "clickstream.dead-letter": 1}
    for topic, partitions in wanted.items():
        configs = {"max.message.bytes": "2000000"}
        admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})
    admin.close()


async def _bytes(settings: Settings) -> tuple[int, int]:
    store = RedisStore.from_url(settings.redis_url)
    keys = [PartitionKey(settings.namespace, settings.clickstream, number) for number in range(PARTITIONS)]
    usages = [await store.memory_usage(key) for key in keys]
    await store.close()
    return sum(usage.bytes for usage in usages), sum(usage.customers for usage in usages)


def _redis_cpu(client: "redis.Redis") -> float:
    return float(sum(client.info()[name] for name in ("used_cpu_user", "used_cpu_sys")))


def _measure(job: KafkaRun, client: "redis.Redis", records: int, profile: str) -> dict[str, float]:
    path = job.folder / "settings.json"
    path.write_bytes(orjson.dumps(asdict(job.settings)))
    profiler = ["-m", "cProfile", "-o", profile] if profile else []
    command = [sys.executable, *profiler, "-m", "tests.worker_program", "worker", str(path)]
    with (job.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        watched = psutil.Process(process.pid)
        wait_for(lambda: job.position() > 0, "the first commit")
        done, cpu, at = job.position(), sum(watched.cpu_times()[:2]), time.monotonic()
        used = _redis_cpu(client)
        wait_for(lambda: job.position() >= records, "the last commit", 600)
        events = records - done
        return {
            "events": events,
            "worker_cpu_us_per_event": (sum(watched.cpu_times()[:2]) - cpu) / events * 1e6,
            "wall_us_per_event": (time.monotonic() - at) / events * 1e6,
            "redis_cpu_us_per_event": (_redis_cpu(client) - used) / events * 1e6,
            "worker_rss_mb": watched.memory_info().rss / 1e6,
        }
    finally:
        process.terminate()
        process.wait(20)


@click.command(help=__doc__)
@click.argument("recording", type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=int, default=None, help="Events of the recording to use; all by default.")
@click.option("--times", type=int, default=1, help="How many crowds of customers; 1 by default.")
@click.option("--profile", default="", help="Profile the worker into this file (cProfile; costs CPU of its own).")
def main(recording: Path, limit: int | None, times: int, profile: str) -> None:
    """Measure once and print one JSON line."""
    import asyncio

    (batch,) = open_recording(recording).batches(size=10_000_000, limit=limit)
    with tempfile.TemporaryDirectory() as name, start_kafka() as kafka, start_redis() as server:
        folder = Path(name)
        (folder / "model").write_bytes(learned(cut(batch, 0, min(len(batch.keys) // 4, 15_000))))
        settings = Settings(broker=kafka.bootstrap, redis_url=server.url, model=str(folder / "model"), idle_s=0)
        _topics(kafka.bootstrap)
        job = KafkaRun(settings, folder)
        batch = _many(batch, times) if times > 1 else batch
        job.send(batch)
        with redis.Redis.from_url(server.url) as client:
            found = _measure(job, client, len(batch.keys), profile and str(Path(profile).absolute()))
            keys = (PartitionKey(settings.namespace, settings.clickstream, n).prefix for n in range(PARTITIONS))
            found["outboxes_bytes"] = sum(client.memory_usage(key + "outbox") or 0 for key in keys)
        total, found["customers"] = asyncio.run(_bytes(settings))
        found["bytes_per_customer"] = total / found["customers"]
        found["bytes_per_customer_without_outboxes"] = (total - found["outboxes_bytes"]) / found["customers"]
    click.echo(json.dumps({key: round(value, 2) for key, value in found.items()}))


if __name__ == "__main__":
    main()
