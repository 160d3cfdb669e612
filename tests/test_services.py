"""The tests' own services: they answer, survive what they are put through, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from streams.children import ServiceFailed, wait_for
from tests.conftest import TopicFactory
from tests.services import Service, start_kafka, start_redis


def _write(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for value in values:
        producer.send(topic, value, partition=0, timestamp_ms=1_000)
    producer.flush()
    producer.close()


def _read(bootstrap: str, topic: str) -> list[tuple[bytes, int]]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    records: list[tuple[bytes, int]] = []
    while consumer.position(partition) < end:
        for batch in consumer.poll(timeout_ms=500).values():
            records.extend((record.value, record.timestamp_type) for record in batch)
    consumer.close()
    return records


def test_kafka_stamps_records_itself(kafka: Service, topic_factory: TopicFactory) -> None:
    """A record with a timestamp of 1970 comes back stamped by the broker: retention cannot take it."""
    topic = topic_factory("stamped", partitions=3)
    _write(kafka.bootstrap, topic, [b"a"])
    assert _read(kafka.bootstrap, topic) == [(b"a", 1)]
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    assert len(admin.describe_topics([topic])[0]["partitions"]) == 3
    admin.close()


@pytest.mark.kafka
def test_kafka_keeps_records_over_a_kill() -> None:
    """A broker that was killed comes back at the same address with the records it had."""
    try:
        service = start_kafka()
    except ServiceFailed as failed:
        pytest.skip(str(failed))
    with service:
        if service.control is None:
            pytest.skip("a Kafka that is not ours is not killed")
        admin = KafkaAdminClient(bootstrap_servers=service.bootstrap)
        admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        admin.close()
        _write(service.bootstrap, "kept", [b"a", b"b"])
        service.kill()
        assert not service.answers()
        service.start()
        assert [value for value, _ in _read(service.bootstrap, "kept")] == [b"a", b"b"]


def test_redis_is_empty_and_evicts_nothing(redis_url: str) -> None:
    """Each test gets a Redis without keys that refuses writes rather than forget customers."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("mi:left", "behind")


@pytest.mark.redis
def test_redis_with_append_only_file_survives_a_kill() -> None:
    """What Redis acknowledged before SIGKILL is there after a start at the same address."""
    with start_redis(appendonly=True) as service:
        if service.control is None:
            pytest.skip("a Redis that is not ours is not killed")
        with redis.Redis.from_url(service.url) as client:
            client.set("k", "v")
        service.kill()
        assert not service.answers()
        service.start()
        with redis.Redis.from_url(service.url) as client:
            assert client.get("k") == b"v"
        service.restart()
        with redis.Redis.from_url(service.url) as client:
            assert client.get("k") == b"v"


def test_a_service_of_somebody_else_is_left_alone() -> None:
    """A service given by address cannot be killed or paused by a test, and stopping it does nothing."""
    service = Service("127.0.0.1:9", "env", lambda: True)
    with pytest.raises(LookupError, match="env"):
        service.kill()
    with pytest.raises(LookupError, match="env"):
        service.pause()
    service.stop()


@pytest.mark.redis
def test_services_end_with_killed_tests(tmp_path: Path) -> None:
    """When the tests' process is killed, what it started ends and its directory goes."""
    script = (
        "from tests.services import start_redis\n"
        "s = start_redis()\n"
        "print(s.pid if s.control else 0, getattr(s.control, 'directory', ''), flush=True)\n"
        "input()\n"
    )
    root = Path(__file__).parent.parent
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdin is not None
    pid, directory = parent.stdout.readline().split(maxsplit=1)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() and not Path(directory.strip()).exists(), "the end of Redis")
