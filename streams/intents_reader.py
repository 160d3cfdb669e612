"""Reading the intents topic from outside, as any consumer may: no group, and each change of an intent once."""

from collections.abc import Iterator
from typing import Final

import msgspec
from kafka import TopicPartition

from intents.intent import Intent
from streams.broker import Broker, BrokerFailed

REMEMBERED: Final = 100_000
"""Intents whose highest sequence is remembered, the latest ones."""
_POLL_MS: Final = 500


class Latest:
    """Lets each change of an intent pass once, and none that is older than one that has passed."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def take(self, intent: Intent) -> bool:
        """Whether this is news."""
        if intent.sequence <= self._highest.get(intent.intent_id, -1):
            return False
        self._highest.pop(intent.intent_id, None)
        self._highest[intent.intent_id] = intent.sequence
        if len(self._highest) > REMEMBERED:
            del self._highest[next(iter(self._highest))]
        return True


def read_intents(
    broker: Broker, topic: str, *, from_beginning: bool = False, follow: bool = True
) -> Iterator[tuple[Intent, bytes]]:
    """Intents and their JSON as they come; without `follow`, those up to what is the end now.

    What is no intent (somebody else wrote it) is passed over. Raises BrokerFailed if there is no such topic.
    """
    decoder = msgspec.json.Decoder(Intent)
    latest = Latest()
    with broker.consumer() as consumer:
        if topic not in consumer.topics():
            raise BrokerFailed(f"there is no topic {topic!r} at {broker.bootstrap}: micro-intents topics create")
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        if from_beginning:
            consumer.seek_to_beginning(*partitions)
        else:
            for partition, end in ends.items():
                consumer.seek(partition, end)
        while follow or any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                for record in records:
                    try:
                        intent = decoder.decode(record.value or b"")
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    if latest.take(intent):
                        yield intent, record.value
