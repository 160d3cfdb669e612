"""The whole job for tests: records into a real Kafka, real processes, what comes out.

And a replay in process beside it.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import orjson
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka import TopicPartition as Place
from kafka import KafkaAdminClient

from features.core_bundle import CORE
from features.redis_store import RedisStore
from features.store import PartitionKey
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.model import Model
from intents.snapshots import decode, encode
from intents.training import Trainer
from streams.children import wait_for
from streams.inprocess import InProcess
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch, open_recording
from streams.settings import PREFIX, Settings
from streams.wire import Decoder, Records
from tests.features.building import judged
from tests.features.naive_log import NaiveLog
from tests.intents.naive_detect import lines_of
from tests.services import kafka_admin

PARTITIONS = 8
ROOT = Path(__file__).parents[1]


def first_records(path: Path, limit: int) -> RecordingBatch:
    """The first `limit` records of a recording in one batch."""
    (batch,) = open_recording(path).batches(size=limit, limit=limit)
    return batch


def cut(batch: RecordingBatch, first: int, last: int) -> RecordingBatch:
    """Records [first, last) of a batch."""
    return RecordingBatch(batch.keys[first:last], batch.values[first:last], batch.times_ms[first:last], 0)


def disturbed(batch: RecordingBatch, seed: int = 3) -> RecordingBatch:
    """The same records with some twice, near and far apart, and some late, within the lateness and beyond it."""
    dice = random.Random(seed)
    places: list[tuple[float, int]] = []
    for row in range(len(batch.keys)):
        late = dice.random() < 0.03
        places.append((row + (dice.choice((3, 40, 400)) if late else 0), row))
        if dice.random() < 0.03:
            places.append((row + dice.choice((1, 30, 900)) + 0.5, row))
    order = [row for _, row in sorted(places)]
    return RecordingBatch([batch.keys[i] for i in order], [batch.values[i] for i in order], batch.times_ms[order], 0)


async def _learn(batch: RecordingBatch, catalogue: Catalogue) -> bytes:
    trainer = Trainer(CORE, 30 * 60_000)
    setup = Setup(CORE, catalogue, catalogue.names)
    replay = InProcess(setup, Model.untrained(CORE), trainer=trainer)
    async for _ in replay.run(batch):
        pass
    return encode(trainer.checkpoint())


def learned(batch: RecordingBatch, catalogue: Catalogue | None = None) -> bytes:
    """A snapshot learned from `batch` in process."""
    return asyncio.run(_learn(batch, catalogue or Catalogue()))


class InProcessRun:
    """What a replay in process makes of a batch with a frozen model: intents by partition, and states.

    Examples go `to` a trainer, if there is one.
    """

    def __init__(
        self, batch: RecordingBatch, snapshot: bytes, settings: Settings, size: int = 5_000, to: Trainer | None = None
    ) -> None:
        self.intents: dict[int, list[bytes]] = defaultdict(list)
        self.to = to
        asyncio.run(self._run(batch, decode(snapshot, CORE).model, settings, size))

    async def _run(self, batch: RecordingBatch, model: Model, settings: Settings, size: int) -> None:
        catalogue = settings.load_catalogue()
        setup = Setup(CORE, catalogue, catalogue.names, rules=settings.rules, namespace=settings.namespace)
        late_ms, topic = settings.lateness_s * 1000, settings.clickstream
        self.replay = InProcess(setup, model, topic=topic, partitions=PARTITIONS, lateness_ms=late_ms, trainer=self.to)
        for first in range(0, len(batch.keys), size):
            async for output in self.replay.run(cut(batch, first, first + size)):
                for intent, value in output.intents:
                    self.intents[intent.source.partition].append(value)

    def states(self, settings: Settings, customers: Iterable[bytes]) -> dict[str, bytes | None]:
        """The state of each customer."""
        return _states(self.replay.engine.store, settings, customers)


def _states(store: object, settings: Settings, customers: Iterable[bytes]) -> dict[str, bytes | None]:
    async def peek() -> dict[str, bytes | None]:
        keys = sorted(set(customers))
        found: dict[str, bytes | None] = {}
        for number in range(PARTITIONS):
            mine = [k.decode() for k, p in zip(keys, partitions_for(keys, PARTITIONS), strict=True) if p == number]
            place = PartitionKey(settings.namespace, settings.clickstream, number)
            found.update(zip(mine, await store.peek(place, mine), strict=True))  # type: ignore[attr-defined]  # a Store
        if isinstance(store, RedisStore):
            await store.close()
        return found

    return asyncio.run(peek())


class KafkaRun:
    """Topics, Redis and settings of one test's job, and the processes that work on it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._sent = np.zeros(PARTITIONS, dtype=np.int64)

    def send(self, batch: RecordingBatch) -> None:
        """Send records, each to its key's partition, and wait until Kafka has them."""
        options = {"enable.idempotence": True, "linger.ms": 5, "log_level": 0}  # retries keep the order
        producer = Producer({"bootstrap.servers": self.settings.broker, **options})
        for key, value, place in zip(
            batch.keys, batch.values, partitions_for(batch.keys, PARTITIONS).tolist(), strict=True
        ):
            while len(producer) > 50_000:
                producer.poll(0.05)
            producer.produce(self.settings.clickstream, value, key, partition=place)
            self._sent[place] += 1
        producer.flush()

    @contextmanager
    def process(self, kind: str = "worker", *options: str, die_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A worker or trainer process, to die at `POINT:N` if told so; SIGTERM at the end, if it still runs."""
        path = self.folder / "settings.json"
        path.write_bytes(orjson.dumps(asdict(self.settings)))
        with self._running(
            kind, "-m", "tests.worker_program", kind, str(path), "--die-at", die_at, *options
        ) as process:
            yield process

    @contextmanager
    def command(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command as people type it, with this job's settings; SIGTERM at the end, if it still runs."""
        with self._running(arguments[0], "-c", "from streams.cli import main; main()", *arguments) as process:
            yield process

    @contextmanager
    def _running(self, kind: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        variables = {PREFIX + name.upper(): str(value) for name, value in asdict(self.settings).items()}
        log = self.folder / f"{kind}.log"
        with log.open("wb") as output:
            command = [sys.executable, *arguments]
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=os.environ | variables)
        log.rename(self.folder / f"process-{process.pid}.log")
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)  # it may be paused
                process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()

    def position(self) -> int:
        """Records worked so far, over all partitions."""

        async def ask() -> int:
            store = RedisStore.from_url(self.settings.redis_url)
            keys = [PartitionKey(self.settings.namespace, self.settings.clickstream, n) for n in range(PARTITIONS)]
            positions = [(await store.cursor(key)).position for key in keys]
            await store.close()
            return sum(max(position, 0) for position in positions)

        return asyncio.run(ask())

    def wait_until(self, records: int, *alive: subprocess.Popen[bytes], timeout_s: float = 90.0) -> None:
        """Wait until at least `records` were worked; fails when one of the `alive` processes has ended."""

        def there() -> bool:
            for process in alive:
                assert process.poll() is None, self.logs()
            return self.position() >= records

        wait_for(there, f"{records} records worked", timeout_s)

    def admin(self) -> AbstractContextManager[KafkaAdminClient]:
        """Kafka, to change its topics."""
        return kafka_admin(self.settings.broker)

    def committed(self) -> list[int]:
        """What the group has committed of each partition, 0 for nothing."""
        with self.admin() as admin:
            found = admin.list_group_offsets({self.settings.group: None}).get(self.settings.group, {})
        offsets = {place.partition: entry.offset for place, entry in found.items()}
        return [offsets.get(number, 0) for number in range(PARTITIONS)]

    def finish(self, *alive: subprocess.Popen[bytes], timeout_s: float = 90.0) -> None:
        """Wait until everything that was sent has been worked, published and acknowledged."""
        self.wait_until(int(self._sent.sum()), *alive, timeout_s=timeout_s)

        def acknowledged() -> bool:
            return bool(sum(self.committed()) >= self._sent.sum())

        wait_for(acknowledged, "everything acknowledged", timeout_s)

    def has_logged(self, text: str, process: subprocess.Popen[bytes]) -> bool:
        """Whether a process has logged `text` so far."""
        return text in self.said(process)

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """What a process has logged so far."""
        return (self.folder / f"process-{process.pid}.log").read_text()

    def logs(self) -> str:
        """The ends of the processes' logs."""
        return "\n".join(f"{path.name}: {path.read_text()[-20_000:]}" for path in sorted(self.folder.glob("*.log")))

    def published(self, topic: str, partitions: int = PARTITIONS) -> dict[int, list[bytes]]:
        """Values of a topic by partition, all there are now."""
        return {
            number: [value for message in messages if (value := message.value()) is not None]
            for number, messages in self.messages(topic, partitions).items()
        }

    def messages(self, topic: str, partitions: int = PARTITIONS) -> dict[int, list[Message]]:
        """Messages of a topic by partition, all there are now."""
        consumer = Consumer(
            {"bootstrap.servers": self.settings.broker, "group.id": "test", "enable.auto.commit": False, "log_level": 0}
        )
        values: dict[int, list[Message]] = {number: [] for number in range(partitions)}
        bounds = {number: consumer.get_watermark_offsets(Place(topic, number), timeout=20) for number in values}
        at, ends = ({number: bound[side] for number, bound in bounds.items()} for side in (0, 1))
        consumer.assign([Place(topic, number, at[number]) for number in values if at[number] < ends[number]])
        while any(at[n] < ends[n] for n in values):
            for message in consumer.consume(1000, timeout=0.2):
                assert message.error() is None
                number, offset = message.partition(), message.offset()
                assert number is not None and offset is not None
                values[number].append(message)
                at[number] = offset + 1
        consumer.close()
        return values

    def examples(self) -> list[tuple[int, bytes, int]]:
        """What a trainer reads, all there is now: offset, bytes, and when Kafka took it (ms)."""
        messages = self.messages(self.settings.examples, 1)[0]
        return [(message.offset() or 0, message.value() or b"", message.timestamp()[1]) for message in messages]

    def count(self, topic: str, partitions: int) -> int:
        """Records of a topic."""
        return sum(len(messages) for messages in self.messages(topic, partitions).values())

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an endpoint of the process started last, 0 if nothing answers."""
        try:
            with urlopen(f"http://{self.settings.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def reasons(self) -> dict[str, str]:
        """What keeps the process from being ready."""
        status, body = self.get("/readyz")
        return {each["check"]: each["found"] for each in json.loads(body)["reasons"]} if status else {}

    def states(self, customers: Iterable[bytes]) -> dict[str, bytes | None]:
        """The state of each customer in Redis."""
        return _states(RedisStore.from_url(self.settings.redis_url), self.settings, customers)


def naive_logs(batch: RecordingBatch, left: Mapping[int, tuple[int, int]] | None = None) -> dict[str, NaiveLog]:
    """Every customer's activity log after all records of a batch, by the slow oracle.

    `left` says of partitions from which offset, and since which event time, anything is known of them.
    """
    places = partitions_for(batch.keys, PARTITIONS)
    logs: dict[str, NaiveLog] = {}
    for number in range(PARTITIONS):
        begin, since = (left or {}).get(number, (0, -1))
        rows = np.flatnonzero(places == number).tolist()[begin:]
        keys, values = [batch.keys[i] for i in rows], [batch.values[i] for i in rows]
        none = np.full(len(rows), -1, dtype=np.int64)
        records = Records("clickstream", number, 0, len(rows), keys, values, np.arange(len(rows)), none)
        chunk, refused = Decoder(Catalogue()).decode(records)
        assert not refused
        logs |= judged([line.event for line in lines_of(chunk)], since)[1].of
    return logs


def without_repeats(values: Sequence[bytes]) -> list[bytes]:
    """Intent events without repeats of the same intent_id and sequence, as a consumer keeps them."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for value in values:
        intent = orjson.loads(value)
        if (intent["intent_id"], intent["sequence"]) not in seen:
            seen.add((intent["intent_id"], intent["sequence"]))
            kept.append(value)
    return kept
