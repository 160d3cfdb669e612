"""The app and its running: settings, exits, a broker that goes and comes back."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final, cast
from uuid import UUID

import pytest
from aiokafka.conn import AIOKafkaConnection
from confluent_kafka import Producer
from faust.types import TP, StreamT
from kafka import KafkaAdminClient

from streams.children import free_port
from streams.record_chunk import RecordChunk
from streams.transport import chunk_app
from tests.conftest import TopicFactory
from tests.services import Service
from tests.streams.transport_workers import Make, Setting, crash, pauses, read_all

ROOT = Path(__file__).parents[2]
_METADATA: Final = 3
"""Kafka's number of this kind of request."""


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust would take a hundred settings from the environment, over its arguments: an app of ours takes none."""
    for name, value in {"BROKER_URL": "kafka://elsewhere", "PRODUCER_ACKS": "0", "STREAM_WAIT_EMPTY": "1"}.items():
        monkeypatch.setenv(name, value)
    conf = chunk_app("app", broker="one:1, two:2").conf
    assert [str(url) for url in conf.broker] == ["kafka://one:1", "kafka://two:2"]
    assert (conf.producer_acks, conf.stream_wait_empty) == (-1, False)


def test_an_exception_in_the_agent_stops_the_worker(setting: Make) -> None:
    """An exception that leaves the agent ends the worker with code 1, and commits nothing of the chunk or after it."""
    at = setting(partitions=1)
    at.feed(20)
    producer = Producer({"bootstrap.servers": at.bootstrap})
    producer.produce(at.topic, b"poison", partition=0)
    producer.flush()
    at.feed(20)
    worker = at.worker(max_records=10)
    assert worker.code() == 1
    assert worker.values() == list(range(20))
    assert "ArithmeticError: poison" in worker.log.read_text()
    assert at.committed() == [20]


def test_what_kafka_is_asked(setting: Make) -> None:
    """Whether this worker still has a partition, how many a topic has, and whether one was read to its end."""
    at = setting(partitions=1)
    at.feed(10)
    found: list[object] = []
    app = chunk_app(at.topic, broker=at.bootstrap)

    @app.agent(app.topic(at.topic), name="test.read")
    async def read(stream: StreamT[RecordChunk]) -> None:
        async for _ in stream:
            found.append([await app.is_member(at.topic, partition) for partition in (0, 7)])
            found.append(await app.partition_counts([at.topic, "no-such-topic"]))
            found.append([await app.topic_id(topic) for topic in (at.topic, "no-such-topic")])
            found.append([await app.read_to_end(at.topic, 0, position) for position in (3, 10)])
            found.append(app.assigned)
            raise EOFError

    assert isinstance(asyncio.run(crash(app)), EOFError)
    with closing(KafkaAdminClient(bootstrap_servers=at.bootstrap)) as admin:
        (described,) = admin.describe_topics([at.topic])
    ids = [str(described["topic_id"]), ""]
    counts = {at.topic: 1, "no-such-topic": 0}
    assert found == [[True, False], counts, ids, [False, True], {TP(at.topic, 0)}]


def ids_told(broker: str, topics: list[str]) -> list[str]:
    """What a worker is told of each topic's id, and then of a topic that there is not."""
    producer = Producer({"bootstrap.servers": broker})
    for topic in topics:
        producer.produce(topic, b"0", partition=0)
    assert producer.flush(10) == 0
    found: list[str] = []
    app = chunk_app(topics[0], broker=broker)

    @app.agent(app.topic(topics[0]), name="test.read")
    async def read(stream: StreamT[RecordChunk]) -> None:
        async for _ in stream:
            found.extend([await app.topic_id(topic) for topic in (*topics, "no-such-topic")])
            raise EOFError

    assert isinstance(asyncio.run(crash(app)), EOFError)
    return found


def test_the_embedded_broker_is_asked_for_ids(embedded_broker: str) -> None:
    """It makes up an id for each topic, which stays the topic's as long as the broker runs."""
    one, other, none = ids_told(embedded_broker, ["identified", "identified-too"])
    assert {UUID(one).version, UUID(other).version} == {4} and one != other and not none
    assert ids_told(embedded_broker, ["identified-too", "identified"]) == [other, one, ""]


def test_an_older_broker_tells_no_ids(embedded_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Kafka 2.8, Metadata ends at version 9: the work goes on without ids."""
    look_up = AIOKafkaConnection._do_version_lookup

    async def of_an_older_one(connection: AIOKafkaConnection) -> None:
        await look_up(connection)
        connection._versions[_METADATA] = 0, 9

    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaConnection, "_do_version_lookup", of_an_older_one)
        assert ids_told(embedded_broker, ["unidentified"]) == ["", ""]
    assert ids_told(embedded_broker, ["unidentified"])[0]


def test_a_worker_outlives_its_broker(setting: Make, kafka: Service, topic_factory: TopicFactory) -> None:
    """When the broker is killed and comes back, the same worker goes on reading, publishing and committing."""
    pauses(kafka)
    at = setting(partitions=2)
    at.feed(1_000)
    copies = topic_factory("copies", 2)
    worker = at.worker(copy_to=copies, max_records=10, chunk_takes_s=0.01)
    worker.wait(lambda: len(worker.values()) > 200, "some records")
    kafka.kill()
    kafka.start()
    at.feed(1_000)
    worker.wait(lambda: set(worker.values()) == set(range(2_000)), "all records")
    worker.stop()
    assert at.committed() == [1_000, 1_000]


def test_an_absent_broker_is_worth_a_retry() -> None:
    """A worker that finds no broker ends with the code that asks for another start."""
    imports = "import sys; from streams.running import run_worker; from streams.transport import chunk_app"
    command = f"{imports}; sys.exit(run_worker(chunk_app('x', broker=sys.argv[1])))"
    arguments = [sys.executable, "-c", command, f"127.0.0.1:{free_port()}"]
    ended = subprocess.run(arguments, cwd=ROOT, timeout=30, check=False)
    assert ended.returncode == os.EX_TEMPFAIL


def test_a_stop_does_not_wait_for_a_hanging_broker(setting: Make, kafka: Service) -> None:
    """With a broker that does not answer, SIGTERM ends the worker within five seconds, and not as a clean stop."""
    pauses(kafka)
    at = setting(partitions=1)
    at.feed(10)
    worker = at.worker()
    worker.wait(lambda: len(worker.values()) == 10, "all records")
    kafka.pause()
    try:
        worker.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert worker.code() == 1
        assert time.monotonic() - began < 5.0
    finally:
        kafka.resume()


def test_the_embedded_broker_will_do(embedded_broker: str, tmp_path: Path) -> None:
    """Against librdkafka's mock cluster a worker reads, publishes idempotently and commits all the same."""
    at = Setting(embedded_broker, "mocked", tmp_path, 1)
    at.feed(3_000)
    worker = at.worker(copy_to="copies")
    try:
        worker.wait(lambda: len(worker.values()) == 3_000, "all records")
        worker.stop()
    finally:
        worker.kill()
    assert worker.values() == list(range(3_000))
    assert at.committed() == [3_000]
    copies = read_all(embedded_broker, "copies", 0, 3_000)
    assert [int(cast(bytes, message.value())) for message in copies] == list(range(3_000))
