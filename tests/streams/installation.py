"""An installation of its own for each test: settings whose topics nobody else has, and commands run with them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from click.testing import CliRunner, Result
from kafka import KafkaProducer, TopicPartition

from streams.broker import find_broker
from streams.cli import cli
from streams.settings import PREFIX, Settings


@dataclass(frozen=True)
class Installation:
    """Settings whose topics nobody else has, and commands run with them."""

    settings: Settings

    @property
    def environment(self) -> dict[str, str]:
        """The settings as variables."""
        return {PREFIX + name.upper(): str(value) for name, value in asdict(self.settings).items()}

    def run(self, *arguments: str | Path) -> Result:
        """Run a command."""
        return CliRunner().invoke(cli, list(map(str, arguments)), env=self.environment)

    def doctor(self, *arguments: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        """The doctor's exit code, and its findings by what was checked."""
        done = self.run("doctor", "--json", *arguments)
        told = json.loads(done.stdout)
        assert told["well"] == (done.exit_code == 0)
        found: dict[str, list[dict[str, str]]] = {}
        for each in told["findings"]:
            found.setdefault(each["check"], []).append(each)
        return done.exit_code, found

    def create_topic(self, name: str, partitions: int, **configs: str) -> None:
        """Create a topic as somebody else would."""
        told = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        with find_broker(self.settings.broker).admin() as admin:
            admin.create_topics({name: told}, wait_for_metadata=True)

    def send(self, topic: str, records: list[tuple[int, bytes, bytes]]) -> None:
        """Send (partition, key, value)."""
        producer = KafkaProducer(bootstrap_servers=self.settings.broker)
        for partition, key, value in records:
            producer.send(topic, key=key, value=value, partition=partition)
        producer.flush()
        producer.close()

    def read(self, topic: str, partitions: int = 4) -> dict[int, list[bytes]]:
        """All values of a topic, by partition."""
        places = [TopicPartition(topic, number) for number in range(partitions)]
        found: dict[int, list[bytes]] = {number: [] for number in range(partitions)}
        with find_broker(self.settings.broker).consumer() as consumer:
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            while any(consumer.position(place) < ends[place] for place in places):
                for place, records in consumer.poll(timeout_ms=500).items():
                    found[place.partition] += [record.value for record in records]
        return found
