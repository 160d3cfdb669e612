"""The tests' own services: they answer, survive what they are put through, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from streams.children import ServiceFailed, wait_for
from tests.conftest import TopicFactory, missing
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


def test_kafka_keeps_records_over_a_kill(own_kafka: Service) -> None:
    """A broker that was killed comes back at the same address with the records it had."""
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    _write(own_kafka.bootstrap, "kept", [b"a", b"b"])
    own_kafka.kill()
    assert not own_kafka.answers()
    own_kafka.start()
    assert [value for value, _ in _read(own_kafka.bootstrap, "kept")] == [b"a", b"b"]


@pytest.mark.parametrize("time", ["first", "second"])
def test_redis_is_empty_and_evicts_nothing(redis_url: str, time: str) -> None:
    """Each test gets a Redis without keys that refuses writes rather than forget customers."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("mi:left behind", time)


def test_redis_with_append_only_file_survives_a_kill(own_redis: Service) -> None:
    """What Redis acknowledged before SIGKILL, or before a restart, is there after a start at the same address."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("k", "v")
    own_redis.kill()
    assert not own_redis.answers()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("k") == b"v"
    own_redis.restart()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("k") == b"v"


def test_a_paused_service_answers_again_when_resumed(own_redis: Service) -> None:
    """A frozen Redis answers nobody, and goes on as if nothing had been."""
    own_redis.pause()
    assert not own_redis.answers()
    own_redis.resume()
    wait_for(own_redis.answers, "a resumed Redis")


def test_addresses_in_the_environment_come_first(redis_server: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis named by the environment is used as it is, except by a test that needs one of its own."""
    monkeypatch.setenv("MICRO_INTENTS_TEST_REDIS", redis_server.url)
    with start_redis() as named:
        assert (named.url, named.origin, named.control) == (redis_server.url, "env", None)
    assert redis_server.answers()
    with start_redis(own=True) as own:
        assert own.url != redis_server.url and own.control is not None


def test_no_kafka_is_a_reason_and_in_ci_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no Kafka can be had, the reason is said: tests skip with it, and fail with it where CI is set."""
    for variable in ("MICRO_INTENTS_TEST_KAFKA", "JAVA_HOME", "CI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.services.docker_answers", lambda: False)
    with pytest.raises(ServiceFailed, match="no Java 17") as failed:
        start_kafka()
    with pytest.raises(pytest.skip.Exception, match="no Java 17"):
        missing(str(failed.value))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Java 17"):
        missing(str(failed.value))


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
