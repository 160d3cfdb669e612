"""What the parts share: Kafka and Redis on one core, a topic filled beforehand, one process measured on the other.

Linux only, with two cores or more: this process and the services stay on the last one, what is measured has core 0 for
itself, so that it waits for nobody's CPU but its own.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import psutil
import redis
from kafka import KafkaAdminClient

from features.redis_store import RedisStore
from features.store import PartitionKey
from streams.recordings import RecordingBatch
from streams.settings import Settings
from streams.simulate import simulate
from tests.job import KafkaRun, cut, first_records, learned
from tests.services import Service, start_kafka, start_redis

PARTITIONS: Final = 8
LEARNED: Final = 15_000
"""Events that the frozen model has learned from, at most; a quarter of the recording, if that is less."""
MADE_UP: Final = 40_000
MOST_S: Final = 240
"""How long one run may take."""
STAGES_AT_END: Final = "µs of CPU an event by stage"


def recording_or_made_up(recording: Path | None, folder: Path) -> Path:
    """The recording, else a made-up one of 600 customers, written into `folder`."""
    if recording is not None:
        return recording
    path = folder / "made-up.jsonl"
    simulate(path, events=MADE_UP)
    return path


def crowds(batch: RecordingBatch, times: int) -> RecordingBatch:
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


def later(recording: Path, limit: int, times: int) -> RecordingBatch:
    """Crowds of the `limit` records that follow those that the model has learned from."""
    return crowds(cut(first_records(recording, LEARNED + limit), LEARNED, LEARNED + limit), times)


@dataclass
class Rig:
    """Services that run, a folder, and the settings of what is measured."""

    kafka: Service
    store: Service
    folder: Path
    settings: Settings
    runs: int = 0

    def topics(self, partitions: dict[str, int]) -> None:
        """Create topics."""
        admin = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        for topic, number in partitions.items():
            configs = {"max.message.bytes": "2000000"}
            admin.create_topics({topic: {"num_partitions": number, "replication_factor": 1, "configs": configs}})
        admin.close()

    def fill(self, topic: str, batch: RecordingBatch) -> None:
        """A new topic with these records."""
        self.topics({topic: PARTITIONS})
        KafkaRun(replace(self.settings, clickstream=topic), self.folder).send(batch)

    def group(self) -> str:
        """A name that no run had before: a consumer group that was there goes on where it ended."""
        self.runs += 1
        return f"run-{self.runs}"

    def job(self, clickstream: str) -> KafkaRun:
        """A worker's next run over a topic: a group, a namespace and topics of its own, and an empty Redis."""
        own = self.group()
        settings = replace(
            self.settings,
            clickstream=clickstream,
            group=own,
            namespace=own,
            intents=f"{own}-intents",
            examples=f"{own}-examples",
            dead_letter=f"{own}-dead",
        )
        self.topics({settings.intents: PARTITIONS, settings.examples: 1, settings.dead_letter: 1})
        with redis.Redis.from_url(self.store.url) as client:
            client.flushall()
        return KafkaRun(settings, self.folder)

    def redis_cpu_s(self) -> float:
        """CPU seconds that Redis has used."""
        with redis.Redis.from_url(self.store.url) as client:
            told = client.info("cpu")
        return float(told["used_cpu_user"] + told["used_cpu_sys"])

    def state_bytes(self, job: KafkaRun) -> dict[str, float]:
        """Customers, and bytes a customer of all keys, with the outboxes and without."""
        at = job.settings
        keys = [PartitionKey(at.namespace, at.clickstream, number) for number in range(PARTITIONS)]

        async def usages() -> tuple[int, int]:
            store = RedisStore.from_url(at.redis_url)
            found = [await store.memory_usage(key) for key in keys]
            await store.close()
            return sum(usage.bytes for usage in found), sum(usage.customers for usage in found)

        total, customers = asyncio.run(usages())
        with redis.Redis.from_url(self.store.url) as client:
            outboxes = sum(client.memory_usage(key.prefix + "outbox") or 0 for key in keys)
        return {
            "customers": customers,
            "bytes_per_customer": total / customers,
            "bytes_per_customer_without_outboxes": (total - outboxes) / customers,
        }


@contextmanager
def rig(recording: Path, learn: int | None = None, *, pinned: bool = True) -> Iterator[Rig]:
    """Services, on the last core if `pinned`, and a model frozen after `learn` events of the recording."""
    everywhere = os.sched_getaffinity(0)
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, everywhere)
        if pinned:
            os.sched_setaffinity(0, {max(everywhere)})  # children inherit it
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka, store = stack.enter_context(start_kafka()), stack.enter_context(start_redis())
        batch = first_records(recording, learn or LEARNED)
        (folder / "model").write_bytes(learned(batch))
        settings = Settings(broker=kafka.bootstrap, redis_url=store.url, model=str(folder / "model"), idle_s=0)
        yield Rig(kafka, store, folder, settings)


def on_core_0(*command: str) -> list[str]:
    """The command, to run on core 0 alone."""
    return ["taskset", "--cpu-list", "0", *command]


def measure_worker(rig: Rig, job: KafkaRun, records: int, profile: bool = False) -> dict[str, float]:
    """Let a worker on core 0 work off `records`; µs an event from its first commit to its last.

    With `profile` it says at its end, on stderr, what each stage cost.
    """
    options = ["--profile"] if profile else []
    began = time.monotonic()
    with redis.Redis.from_url(rig.store.url) as client, job.command("worker", *options) as process:
        os.sched_setaffinity(process.pid, {0})
        watched = psutil.Process(process.pid)
        done = _position(client, job, process, 1)
        cpu, at, used = sum(watched.cpu_times()[:2]), time.monotonic(), rig.redis_cpu_s()
        events = _position(client, job, process, records) - done
        found = {
            "events": events,
            "worker_cpu_us_per_event": (sum(watched.cpu_times()[:2]) - cpu) / events * 1e6,
            "wall_us_per_event": (time.monotonic() - at) / events * 1e6,
            "redis_cpu_us_per_event": (rig.redis_cpu_s() - used) / events * 1e6,
            "worker_rss_mb": watched.memory_info().rss / 1e6,
            "start_s": at - began,
        }
    if profile:
        sys.stderr.write(STAGES_AT_END + job.said(process).partition(STAGES_AT_END)[2])
    return found


def _position(client: "redis.Redis", job: KafkaRun, worker: "subprocess.Popen[bytes]", least: int) -> int:
    """How many records were worked, as soon as it is `least`; asks ten times a second, to be in nobody's way."""
    at = job.settings
    keys = [PartitionKey(at.namespace, at.clickstream, number).prefix + "meta" for number in range(PARTITIONS)]
    deadline = time.monotonic() + MOST_S
    while True:
        found = sum(max(int(client.hget(key, "position") or 0), 0) for key in keys)
        if found >= least:
            return found
        if time.monotonic() > deadline or worker.poll() is not None:
            said = f"{found} of {least} records after {MOST_S} s, or the worker has ended"
            raise TimeoutError(f"{said}:\n{job.said(worker)[-2_000:]}")
        time.sleep(0.1)  # noqa: TID251
