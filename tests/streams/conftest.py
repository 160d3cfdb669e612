"""Fixtures for what runs in worker processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TopicFactory
from tests.services import Service
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
