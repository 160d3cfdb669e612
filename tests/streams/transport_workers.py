"""Worker processes of `transport_program`, what feeds them, and how they are judged: by what they wrote down."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from streams.children import wait_for
from streams.transport import ChunkApp
from tests.services import Service

ROOT = Path(__file__).parents[2]


class Worker:
    """A worker process of `transport_program`, in a directory of its own, and what it wrote down."""

    def __init__(self, directory: Path, **options: Any) -> None:
        directory.mkdir()
        self.out, self.log = directory / "out.jsonl", directory / "log"
        self.out.touch()
        self.home = directory / "home"
        self.home.mkdir()
        given = json.dumps({**options, "out": str(self.out)})
        command = [sys.executable, "-m", "tests.streams.transport_program", given]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Lines that have `kind` in them: end (finished chunks), began, assigned, revoked."""
        lines = [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if kind in line]

    def values(self) -> list[int]:
        """Values in the order in which they were finished."""
        return [int(value) for chunk in self.lines("end") for value in chunk["values"]]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for `condition`, or fail with the log when the process ends."""

        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return condition()

        wait_for(holds, what, 40.0)

    def wait_for_end(self, end: int) -> None:
        """Wait until the last chunk finished ends there."""
        self.wait(lambda: [chunk["end"] for chunk in self.lines("end")][-1:] == [end], f"a chunk that ends at {end}")

    def code(self) -> int:
        """Exit code of a process that is ending."""
        return self.process.wait(20.0)

    def stop(self) -> None:
        """End it as a supervisor does; it must be clean, and quick."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.code() == 0, self.log.read_text()[-3000:]
        assert time.monotonic() - began < 5.0

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


class Setting:
    """One topic, one group, the workers on them, and a feed of records whose values count up from 0."""

    def __init__(self, bootstrap: str, topic: str, directory: Path, partitions: int) -> None:
        self.bootstrap, self.topic, self.directory, self.partitions = bootstrap, topic, directory, partitions
        self.fed = 0
        self.workers: list[Worker] = []

    def feed(self, count: int, pad: int = 0) -> None:
        """Write `count` more records, to the partitions in turn, keyed k0 to k9; `pad` adds leading zeros."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 1})
        for value in range(self.fed, self.fed + count):
            while len(producer) > 50_000:
                producer.poll(0.05)
            producer.produce(self.topic, b"%0*d" % (pad, value), b"k%d" % (value % 10), value % self.partitions)
        assert producer.flush(30) == 0
        self.fed += count

    def worker(self, **options: Any) -> Worker:
        """Start a worker of the group."""
        directory = self.directory / f"worker{len(self.workers)}"
        given = {"broker": self.bootstrap, "topic": self.topic, "group": self.topic}
        self.workers.append(Worker(directory, **given | options))
        return self.workers[-1]

    def all_values(self) -> list[int]:
        """What all workers finished."""
        return [value for worker in self.workers for value in worker.values()]

    def committed(self) -> list[int]:
        """The group's committed offset of each partition, -1 where there is none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.topic})
        partitions = [TopicPartition(self.topic, number) for number in range(self.partitions)]
        offsets = [max(partition.offset, -1) for partition in consumer.committed(partitions, 10.0)]
        consumer.close()
        return offsets


Make = Callable[..., Setting]


def read_all(bootstrap: str, topic: str, partition: int, count: int) -> list[Message]:
    """The first `count` messages of a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    while len(found) < count:
        messages = consumer.consume(count - len(found), 10.0)
        assert messages, f"only {len(found)} of {count}"
        found.extend(messages)
    consumer.close()
    return found


def pauses(kafka: Service) -> None:
    """Skip the test where Kafka is not a process of ours."""
    if kafka.control is None or not kafka.control.pid:
        pytest.skip("a Kafka that is not ours is neither paused nor killed")


def assert_contiguous(chunks: list[dict[str, Any]], largest: int) -> None:
    """Within a generation, each chunk of a partition starts where the last one ended, and is not too large."""
    ends: dict[tuple[int, int], int] = {}
    for chunk in chunks:
        partition = (chunk["partition"], chunk["generation"])
        assert chunk["start"] == ends.get(partition, chunk["start"])
        assert chunk["start"] <= chunk["offsets"][0]
        assert chunk["offsets"] == sorted(set(chunk["offsets"]))
        assert chunk["end"] == chunk["offsets"][-1] + 1
        assert 0 < len(chunk["values"]) <= largest
        ends[partition] = chunk["end"]


async def crash(app: ChunkApp, before_stop: Callable[[], None] = lambda: None) -> BaseException | None:
    """Run the app in this process until it crashes; returns why."""
    starting = asyncio.create_task(app.start())
    try:
        await asyncio.wait_for(app.wait_until_stopped(), 30.0)
    finally:
        before_stop()
        await app.stop()
    starting.cancel()
    return app.crash_reason
