"""A Kafka and a Redis of the run's own, the topics, and the settings of the job."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from redis import Redis

from streams.settings import Settings
from tests.job import PARTITIONS
from tests.services import Service, kafka_admin, start_kafka, start_redis
from tests.soak.learning import trained_up_to


@dataclass
class Installation:
    """Services and settings of one run."""

    kafka: Service
    redis: Service
    settings: Settings

    def client(self, timeout_s: float) -> Redis:
        """A client of the Redis."""
        return Redis.from_url(self.redis.url, socket_timeout=timeout_s)

    def admin(self) -> AbstractContextManager[KafkaAdminClient]:
        """The Kafka, to change its topics."""
        return kafka_admin(self.settings.broker)

    def configure(self, topic: str, changes: Mapping[str, object]) -> None:
        """Change some of a topic's settings."""
        with self.admin() as admin:
            changed = {name: str(value) for name, value in changes.items()}
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=changed)], incremental=True)

    def lags(self) -> dict[str, int]:
        """How many records of each partition its group has not committed, or no snapshot has read; zeros left out."""
        settings = self.settings
        sources = {
            settings.group: [Place(settings.clickstream, number) for number in range(PARTITIONS)],
            f"{settings.group}.train": [Place(settings.examples, 0)],
        }
        found = {}
        for group, places in sources.items():
            consumer = Consumer({"bootstrap.servers": settings.broker, "group.id": group, "log_level": 0})
            for place in consumer.committed(places, timeout=20):
                end = consumer.get_watermark_offsets(place, timeout=20)[1]
                found[f"{group} in {place.topic}/{place.partition}"] = end - max(place.offset, 0)
            consumer.close()
            if group.endswith(".train"):
                found["the newest snapshot"] = end - trained_up_to(settings)
        return {place: lag for place, lag in found.items() if lag}


def install(stack: ExitStack, folder: Path, *, frozen: bool) -> Installation:
    """Start everything; `stack` ends it."""
    kafka = stack.enter_context(start_kafka(own=True))
    kept = stack.enter_context(start_redis(own=True, appendonly=True))
    settings = Settings(
        broker=kafka.bootstrap,
        redis_url=kept.url,
        model=str(folder / "frozen.snapshot") if frozen else "",
        model_store=str(folder / "models"),
        snapshot_s=2.0,
        idle_s=0,  # idle time depends on the clock, and what is compared must not
        dead_letters_per_minute=100_000,
    )
    counts = {settings.clickstream: PARTITIONS, settings.intents: PARTITIONS, settings.dead_letter: 1}
    topics: dict[str, dict[str, object]] = {
        name: {"num_partitions": count, "replication_factor": 1, "configs": {"max.message.bytes": "2000000"}}
        for name, count in (counts | {settings.examples: 1}).items()
    }
    made = Installation(kafka, kept, settings)
    with made.admin() as admin:
        admin.create_topics(topics, wait_for_metadata=True)
    return made
