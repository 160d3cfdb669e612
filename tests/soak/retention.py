"""Records that Kafka deletes before anybody has read them, kept by the test to know what they were."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from confluent_kafka import Message
from kafka import TopicPartition
from redis import Redis

from features.store import PartitionKey
from tests.job import PARTITIONS, KafkaRun
from tests.soak.installation import Installation

MOST: Final = 3
"""Partitions of which something is deleted."""
_TOLD: Final = re.compile(r"/(\d+): records (\d+) to \d+ were deleted before they were read: (\d+) are missing")


class Row(NamedTuple):
    """A record of the clickstream as it stands in Kafka."""

    key: bytes
    value: bytes | None
    timestamp: int

    @staticmethod
    def of(message: Message) -> "Row":
        """A message's."""
        return Row(message.key() or b"", message.value(), message.timestamp()[1])


class Cut(NamedTuple):
    """What was deleted of a partition: all up to `end`, which were these `rows`, and from `first` on not read yet."""

    first: int
    end: int
    rows: list[Row]


def told(logs: Iterable[str]) -> Counter[tuple[int, int, int]]:
    """(partition, first, end) of what workers have said to be missing, with how often."""
    found: Counter[tuple[int, int, int]] = Counter()
    for log in logs:
        for partition, first, count in (map(int, words) for words in _TOLD.findall(log)):
            found[partition, first, first + count] += 1
    return found


@dataclass(frozen=True, slots=True)
class Unread:
    """Looks for what can be deleted while there are no workers."""

    job: KafkaRun
    installation: Installation

    def delete_some(self, dice: Random) -> dict[int, Cut]:
        """Delete a part of what is unread in some partitions; by partition, what that was.

        Only where nothing has to be rebuilt: all that was worked before is in Redis, and stays right.
        """
        topic = self.installation.settings.clickstream
        with self.installation.client(5.0) as client:
            standing = {number: at for number in range(PARTITIONS) if (at := self._at(client, number)) is not None}
        logs = self.job.messages(topic)
        unread = [number for number, at in standing.items() if len(logs[number]) > at + 1]
        cut = {}
        for number in dice.sample(unread, min(MOST, len(unread))):
            first = standing[number]
            end = dice.randint(first + 1, len(logs[number]) - 1)
            cut[number] = Cut(first, end, [Row.of(message) for message in logs[number][:end]])
        with self.installation.admin() as admin:
            admin.delete_records({TopicPartition(topic, number): end for number, (_, end, _) in cut.items()})
        return cut

    def _at(self, client: Redis, number: int) -> int | None:
        """Where a partition stands, None where something has to be rebuilt."""
        settings = self.installation.settings
        key = PartitionKey(settings.namespace, settings.clickstream, number)
        position, adopt_until = client.hmget(f"{key.prefix}meta", ["position", "adopt_until"])
        return None if position is None or int(adopt_until or -1) >= 0 else int(position)
