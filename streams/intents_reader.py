"""Reading the intents topic from outside, as any consumer may: no group, and each change of an intent once."""

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from kafka import KafkaConsumer, TopicPartition

from intents.intent import Intent
from streams.broker import Broker, BrokerFailed

REMEMBERED: Final = 100_000
"""Intents whose highest sequence is remembered, the latest ones."""
_POLL_MS: Final = 500
_FIRST_USE_S: Final = 10.0


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
    broker: Broker,
    topic: str,
    *,
    from_beginning: bool = False,
    follow: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[Intent, bytes]]:
    """Intents and their JSON as they come; without `follow`, those up to what is the end now.

    What is no intent (somebody else wrote it) is passed over. Raises BrokerFailed if there is no such topic.
    """
    decoder = msgspec.json.Decoder(Intent)
    latest = Latest()
    with broker.consumer() as consumer:
        partitions = _partitions(broker, consumer, topic, follow, clock)
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


def _partitions(
    broker: Broker, consumer: KafkaConsumer, topic: str, follow: bool, clock: Callable[[], float]
) -> list[TopicPartition]:
    """The topic's partitions; at the embedded broker, a follower waits a little for the first use."""
    deadline = clock() + (_FIRST_USE_S if follow and not broker.creates_topics else 0.0)
    while not (found := topic in consumer.topics()) and clock() < deadline:
        consumer.poll(timeout_ms=_POLL_MS)
    if not found:
        raise BrokerFailed(f"there is no topic {topic!r} at {broker.bootstrap}: micro-intents topics create")
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
