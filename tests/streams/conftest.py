"""Fixtures for what runs in worker processes, and for commands against a real Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TopicFactory, own_settings
from tests.services import Service
from tests.streams.installation import Installation
from tests.streams.transport_workers import Make, Setting


@pytest.fixture
def setting(kafka: Service, topic_factory: TopicFactory, tmp_path: Path) -> Iterator[Make]:
    """Makes settings on the real Kafka; their workers end with the test."""
    made: list[Setting] = []

    def make(partitions: int = 1) -> Setting:
        topic = topic_factory("chunks", partitions)
        made.append(Setting(kafka.bootstrap, topic, tmp_path, partitions))
        return made[-1]

    yield make
    for each in made:
        for worker in each.workers:
            worker.kill()


@pytest.fixture
def installation(kafka: Service, tmp_path: Path) -> Installation:
    """An installation without topics, and without a Redis."""
    return Installation(
        own_settings(
            kafka.bootstrap, tmp_path, redis_url="redis://127.0.0.1:1/0", hash_key="a key of our own", idle_s=30
        )
    )


@pytest.fixture
def ready(installation: Installation) -> Installation:
    """An installation with its topics, of four partitions."""
    assert installation.run("topics", "create", "--partitions", "4").exit_code == 0
    return installation
