"""The id of a topic, which one made anew under the same name has not: asked in the consumer's thread.

Kafka tells it from version 10 of Metadata on (Kafka 2.8); aiokafka ends at version 5, so this one is spelled out here.
"""

import asyncio
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import aiokafka
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

TOPIC_ID_TIMEOUT_S: Final = 5.0
"""How long Kafka may take to say it: one of the two that wait in the consumer's thread, where fetches do too, waits."""

_NONE: Final = UUID(int=0)


class _Uuid:
    """Sixteen bytes, as they are."""

    @staticmethod
    def encode(value: UUID) -> bytes:
        return value.bytes

    @staticmethod
    def decode(data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_TAGS: Final = ("tags", TaggedFields)


class _Topics(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                _TAGS,
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_operations", Int32),
        _TAGS,
    )


class _AskTopics(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Topics
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("cluster_operations", Boolean),
        ("topic_operations", Boolean),
        _TAGS,
    )


class _Ask(Request[_AskTopics]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_AskTopics]) -> _AskTopics:
        return request_struct_class([(_NONE, self._topic, {})], False, False, False, {})


async def topic_id(consumer: aiokafka.AIOKafkaConsumer, topic: str) -> str:
    """The id of a topic, "" if there is none or Kafka is too old to tell; raises TimeoutError or KafkaError."""
    node = consumer._client.get_random_node()
    if node is None:
        raise NodeNotReadyError
    try:
        async with asyncio.timeout(TOPIC_ID_TIMEOUT_S):
            answer: Any = await consumer._client.send(node, _Ask(topic))
    except (NotImplementedError, IncompatibleBrokerVersion):
        return ""
    ((code, _, found, *_),) = answer.topics
    if code not in (0, UnknownTopicOrPartitionError.errno):
        raise for_code(code)(topic)
    return "" if code or found == _NONE else str(found)
