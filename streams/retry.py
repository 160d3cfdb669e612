"""What goes wrong at a worker's edge, sorted by what to do next: wait and try again, claim again, or stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from features.state import UnreadableState
from features.store import NotOwner, StoreUnavailable
from intents.subjects import SubjectCollision
from streams.dead_letters import TooManyDeadLetters
from streams.partition import LostPartition
from streams.partition_count import PartitionsChanged
from streams.redis_fitness import EvictingRedis
from streams.topic_identity import TopicMadeAnew
from streams.transport_publish import PublishAgain

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

RETRY_FOR_S: Final = 120.0
"""How long Redis or Kafka may be away before the worker ends with a code that asks for a new start."""
_LONGEST_PAUSE_S: Final = 5.0


class CannotPublish(Exception):
    """Kafka refuses records that are committed: the worker stops, and its successor publishes them first."""


class OutOfMemory(MemoryError):
    """Memory does not even suffice for one record: the worker stops, to be started again."""


LOST: Final = (LostPartition, NotOwner)
"""The claim is void: ask Kafka whose the partition is."""

FATAL: Final = (
    OutOfMemory,
    PartitionsChanged,
    TopicMadeAnew,
    TooManyDeadLetters,
    UnreadableState,
    SubjectCollision,
    StoreUnavailable,
    EvictingRedis,
    PublishAgain,
    CannotPublish,
)
"""The worker stops. Redis or Kafka being away is among them after RETRY_FOR_S."""


async def lasting(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call until Redis and Kafka answer, with growing pauses, for RETRY_FOR_S at most; then their error is raised."""
    began, pause = time.monotonic(), 0.1
    while True:
        try:
            return await call()
        except (StoreUnavailable, PublishAgain) as error:
            if time.monotonic() - began > RETRY_FOR_S:
                raise
            _log.warning("waiting %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
