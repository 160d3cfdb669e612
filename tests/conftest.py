"""Fixtures that give tests real services: asking for one marks the test `kafka` or `redis`."""

import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest
import redis
from hypothesis import settings as hypothesis_settings
from kafka import KafkaAdminClient

from streams.children import ServiceFailed
from streams.embedded import EmbeddedBroker
from streams.settings import Settings
from tests.secure_kafka import SecureKafka, start_secure_kafka
from tests.services import Service, start_kafka, start_redis

hypothesis_settings.register_profile("steady", deadline=None)  # a busy machine is no failure
hypothesis_settings.load_profile("steady")

_SERVICES = {
    "kafka": "kafka",
    "own_kafka": "kafka",
    "secure_kafka": "kafka",
    "redis_server": "redis",
    "own_redis": "redis",
}


# A shell ignores Ctrl-C for what it runs in the background, and children would inherit that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class TopicFactory(Protocol):
    """Makes topics whose names no other test has."""

    def __call__(self, name: str = "topic", partitions: int = 8, settings: Mapping[str, str] | None = None) -> str:
        """Name of a new topic beginning with `name`, ready for use."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the services that it asks for, so that `-m 'not kafka'` leaves those out.

    Files of tests of the whole job come first, then those with a Kafka: they take longest, and files are run side by
    side.
    """
    for item in items:
        for fixture, marker in _SERVICES.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    with_kafka = {item.path for item in items if item.get_closest_marker("kafka")}
    whole = Path(__file__).parent
    items.sort(key=lambda item: (item.path.parent != whole, item.path not in with_kafka))


def missing(reason: str) -> NoReturn:
    """Skip with the reason; where CI is set, fail instead."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def own_settings(broker: str, folder: Path, **others: Any) -> Settings:
    """Settings of a job whose group and topics no other test has, its models in `folder`; with `others` over them."""
    mark = uuid.uuid4().hex[:8]
    usual: dict[str, Any] = {
        "broker": broker,
        "group": f"group-{mark}",
        "clickstream": f"clickstream-{mark}",
        "intents": f"intents-{mark}",
        "examples": f"examples-{mark}",
        "dead_letter": f"dead-letter-{mark}",
        "model_store": str(folder / "models"),
        "idle_s": 0,
    }
    return Settings(**usual | others)


def with_topics(settings: Settings, **clickstream: str) -> Settings:
    """The same settings, with their topics created; `clickstream` are settings of that topic."""

    def topic(partitions: int, configs: Mapping[str, str]) -> dict[str, Any]:
        return {"num_partitions": partitions, "replication_factor": 1, "configs": dict(configs)}

    wanted = {
        settings.clickstream: topic(8, clickstream),
        settings.intents: topic(8, {}),
        settings.examples: topic(1, {"max.message.bytes": "2000000"}),
        settings.dead_letter: topic(1, {}),
    }
    admin = KafkaAdminClient(bootstrap_servers=settings.broker)
    try:
        admin.create_topics(wanted, wait_for_metadata=True)
    finally:
        admin.close()
    return settings


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Directory of the recordings of real customers, beside the project; skips where it is absent."""
    found = Path(__file__).parents[2] / "shared" / "data"
    if not found.is_dir():
        missing(f"no recordings in {found}")
    return found


@pytest.fixture(scope="session")
def kafka() -> Iterator[Service]:
    """A real Apache Kafka; skips where none can be had. LogAppendTime, no automatic topics, 8 partitions by default."""
    try:
        service = start_kafka()
    except ServiceFailed as failed:
        missing(str(failed))
    with service:
        yield service


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Service]:
    """A real Apache Kafka of this module's own, to be killed, paused and restarted; skips where none can be had."""
    try:
        service = start_kafka(own=True)
    except ServiceFailed as failed:
        missing(str(failed))
    with service:
        yield service


@pytest.fixture(scope="module")
def secure_kafka() -> Iterator[SecureKafka]:
    """A real Apache Kafka with TLS, users and an authorizer; skips where none can be had."""
    try:
        secure = start_secure_kafka()
    except ServiceFailed as failed:
        missing(str(failed))
    with secure:
        yield secure


@pytest.fixture
def own_redis() -> Iterator[Service]:
    """A real Redis of this test's own with an append-only file, to be killed, paused and restarted."""
    try:
        service = start_redis(own=True, appendonly=True)
    except ServiceFailed as failed:
        missing(str(failed))
    with service:
        yield service


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """Address of librdkafka's mock cluster, for fast tests that need no more than its limits allow."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


@pytest.fixture
def topic_factory(kafka: Service) -> Iterator[TopicFactory]:
    """Creates topics in the real Kafka, of a number of partitions and with the settings given."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)

    def create(name: str = "topic", partitions: int = 8, settings: Mapping[str, str] | None = None) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:8]}"
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(settings or {})}
        admin.create_topics({topic: wanted}, wait_for_metadata=True)
        return topic

    yield create
    admin.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Service]:
    """A real Redis without persistence that evicts nothing; skips where none can be had."""
    try:
        service = start_redis()
    except ServiceFailed as failed:
        missing(str(failed))
    with service:
        yield service


@pytest.fixture
def redis_url(redis_server: Service) -> str:
    """URL of an empty Redis database; refuses to empty one that holds keys which are not ours."""
    with redis.Redis.from_url(redis_server.url) as client:
        if redis_server.control is None:
            for key in client.scan_iter(count=1000):
                if not key.startswith(b"mi:"):
                    pytest.fail(f"{redis_server.url} holds keys of somebody else: {key!r}")
        client.flushdb()
    return redis_server.url
