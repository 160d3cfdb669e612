"""The question for a topic's id, which real brokers and the embedded one answer in `test_transport.py`."""

import asyncio
from types import SimpleNamespace
from typing import cast

import aiokafka
import pytest

from streams.transport_topic_id import topic_id


def test_a_broker_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for as long as for a fetch: what waits in the consumer's thread keeps fetches waiting."""
    ended: list[str] = []

    async def send(node: int, request: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("the question")

    client = SimpleNamespace(get_random_node=lambda: 1, send=send)
    consumer = cast(aiokafka.AIOKafkaConsumer, SimpleNamespace(_client=client))
    monkeypatch.setattr("streams.transport_topic_id.TOPIC_ID_TIMEOUT_S", 0.01)

    async def ask() -> None:
        question = asyncio.create_task(topic_id(consumer, "views"))
        await asyncio.wait({question}, timeout=5.0)
        assert ended == ["the question"]
        await question

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
