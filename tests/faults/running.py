"""Real worker processes on real services, what is done to them, and how it is judged: by a clean run in process."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from features.redis_store import RedisStore
from features.store import Cursor, PartitionKey
from streams.children import free_port, wait_for
from streams.recordings import RecordingBatch
from streams.settings import Settings
from tests.job import PARTITIONS, ROOT, InProcessRun, KafkaRun, without_repeats

SESSION_S = 3.0
"""After which the group takes the partitions of a worker that it does not hear of."""


class FaultRun(KafkaRun):
    """A job whose workers meet faults."""

    def __init__(self, settings: Settings, folder: Path, snapshot: bytes) -> None:
        super().__init__(settings, folder)
        self.snapshot = snapshot
        self.started = 0

    def create(self, topic: str, partitions: int = PARTITIONS, settings: Mapping[str, str] | None = None) -> None:
        """Make a topic."""
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(settings or {})}
        with self.admin() as admin:
            admin.create_topics({topic: wanted}, wait_for_metadata=True)

    @contextmanager
    def worker(self, **faults: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process of `program`, with its faults; SIGTERM at the end, if it still runs."""
        self.started += 1
        path = self.folder / f"faults-{self.started}.json"
        path.write_bytes(orjson.dumps(faults | {"settings": asdict(self.settings)}))
        log = self.folder / f"started-{self.started}.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "tests.faults.program", str(path)]
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        log.rename(self.log_of(process))
        try:
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()

    @contextmanager
    def watched_worker(self, **faults: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A worker with endpoints, ready, that waits for services as long as it does in production."""
        self.settings = replace(self.settings, http=f"127.0.0.1:{free_port()}")
        with self.worker(session_s=10.0, **faults) as process:
            self.becomes_ready(process)
            yield process

    def becomes_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until /readyz says that a process is ready."""

        def ready() -> bool:
            assert process.poll() is None, self.logs()
            return self.get("/readyz")[0] == 200

        wait_for(ready, "a ready worker", 60)

    def stays_unready(self, process: subprocess.Popen[bytes], check: str, seconds: float = 60.0) -> None:
        """Let an outage last: the process lives, and soon and until the end /readyz says what is away."""
        over = time.monotonic() + seconds
        wait_for(lambda: check in self.reasons(), f"{check} in what /readyz says", seconds / 2)
        while time.monotonic() < over:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            assert check in self.reasons(), self.logs()

    def configure(self, topic: str, name: str, value: object) -> None:
        """Set a topic's setting."""
        with self.admin() as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: str(value)})])

    def ends_of(self, topic: str) -> list[int]:
        """Where each partition of a topic ends."""
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        with self.admin() as admin:
            found = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        return [found[place].offset for place in places]

    def positions(self) -> list[int]:
        """Redis' position of each partition."""
        return [cursor.position for cursor in self.cursors()]

    def cursors(self) -> list[Cursor]:
        """Where Redis has each partition."""

        async def ask() -> list[Cursor]:
            store = RedisStore.from_url(self.settings.redis_url)
            keys = [PartitionKey(self.settings.namespace, self.settings.clickstream, n) for n in range(PARTITIONS)]
            found = [await store.cursor(key) for key in keys]
            await store.close()
            return found

        return asyncio.run(ask())

    def log_of(self, process: subprocess.Popen[bytes]) -> Path:
        """A process's log."""
        return self.folder / f"process-{process.pid}.log"

    def wait_for_words(self, process: subprocess.Popen[bytes], *words: str, timeout_s: float = 40.0) -> None:
        """Wait until a process has said all these words."""
        try:
            wait_for(lambda: all(it in self.said(process) for it in words), f"{words} in a log", timeout_s)
        except Exception as error:
            raise AssertionError(self.logs()) from error

    def says_again(self, process: subprocess.Popen[bytes], words: str, times: int, timeout_s: float = 40.0) -> None:
        """Wait until a process has said words so many times more than until now."""
        before = self.said(process).count(words)
        wait_for(lambda: self.said(process).count(words) >= before + times, f"{words!r} in a log again", timeout_s)

    def ends(self, process: subprocess.Popen[bytes], code: int, *words: str, timeout_s: float = 40.0) -> str:
        """Wait for a process to end by itself with this code, having said these words; returns its log."""
        assert process.wait(timeout_s) == code, self.logs()
        said = self.said(process)
        assert all(it in said for it in words), said[-4000:]
        return said

    def claimed(self, process: subprocess.Popen[bytes], after: int = 0) -> set[int]:
        """Partitions that a process has claimed, from this place of its log on."""
        return {int(it) for it in re.findall(r"claimed [^ /]+/(\d+),", self.said(process)[after:])}

    def assert_clean(self, batch: RecordingBatch, *, dead: int = 0) -> None:
        """States are those of a clean run in process, byte for byte; so are intents, repeats dropped."""
        alone = InProcessRun(batch, self.snapshot, self.settings)
        published = self.published(self.settings.intents)
        assert any(published.values())
        for number, values in published.items():
            assert without_repeats(values) == alone.intents[number], f"partition {number}"
        assert self.states(batch.keys) == alone.states(self.settings, batch.keys)
        assert self.count(self.settings.dead_letter, 1) == dead


def timed(condition: Callable[[], bool], what: str, bound_s: float) -> float:
    """Wait for something; returns how long it took (s), which must be at most `bound_s`."""
    began = time.monotonic()
    wait_for(condition, what, bound_s)
    return time.monotonic() - began
