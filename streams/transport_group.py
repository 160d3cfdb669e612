"""What Kafka says about this member of the group, and about topics; asked in the consumer's thread."""

from collections.abc import Sequence
from typing import Final

import aiokafka
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    NodeNotReadyError,
    RebalanceInProgressError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest

_STILL_A_MEMBER: Final = (0, RebalanceInProgressError.errno)
"""No error; and a rebalance in progress, which ends only when this member joins it or is given up."""


async def is_member(consumer: aiokafka.AIOKafkaConsumer, partition: aiokafka.TopicPartition) -> bool:
    """Whether a partition is assigned to this consumer and the group has not gone on without it; raises KafkaError.

    A member that was paused for longer than its session believes in its assignment until it hears otherwise.
    """
    if partition not in consumer.assignment():
        return False
    group = consumer._coordinator
    if group.coordinator_id is None:
        raise GroupCoordinatorNotAvailableError
    answer = await group._send_req(HeartbeatRequest(group.group_id, group.generation, group.member_id))
    return answer.error_code in _STILL_A_MEMBER


async def partition_counts(consumer: aiokafka.AIOKafkaConsumer, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions each topic has now, 0 where there is no such topic; raises KafkaError."""
    node = consumer._client.get_random_node()
    if node is None:
        raise NodeNotReadyError
    answer = await consumer._client.send(node, MetadataRequest(list(topics), allow_auto_topic_creation=False))
    counts = {}
    for code, topic, *_, partitions in answer.topics:
        if code not in (0, UnknownTopicOrPartitionError.errno):
            raise for_code(code)(topic)
        counts[topic] = len(partitions)
    return counts
