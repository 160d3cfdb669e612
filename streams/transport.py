"""The worker's way to Kafka and back: an app whose agents get record batches, what it is asked, and how it is made.

The machinery is in `transport_chunks.py`; what runs an app in `running.py`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from features.store import StoreUnavailable
from sinks.records import Record
from streams.broker_address import BrokerAddress
from streams.faust_settings import FAUST_SETTINGS, REQUEST_TIMEOUT_S
from streams.observer import Observer
from streams.stall import Behind, Place
from streams.transport_chunks import ChunkConsumer, ChunkSchema, ChunkStream, ChunkTransport, StartPositions
from streams.transport_group import is_member, partition_counts
from streams.transport_publish import PUBLISH_TIMEOUT_S, ChunkProducer, PublishAgain
from streams.transport_read import ReadBack, read_back, read_some
from streams.transport_thread import ChunkThread
from streams.transport_topic_id import topic_id
from streams.wire import Records

AT_END_TIMEOUT_S: Final = 2.0

ANSWER_TIMEOUT_S: Final = 10.0

PartitionsChanged = Callable[[frozenset[TP]], None]
"""Told of partitions; quick, and without errors."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class ChunkApp(faust.App):
    """A Faust app whose agents get `RecordChunk`s; made by `chunk_app`.

    `watch` runs beside it until it raises, which ends the worker like a crash, or the worker ends.
    """

    watch: Callable[[], Coroutine[Any, Any, None]] | None = None
    _joined = False

    address: BrokerAddress = BrokerAddress(())

    def _create_directories(self) -> None:
        """Make none: they would be for tables, and in the working directory."""

    def _has_joined(self, joined: bool) -> None:
        self._joined = joined

    @property
    def _chunks(self) -> ChunkConsumer:
        return cast(ChunkConsumer, self.consumer)

    # What it reads

    @property
    def assigned(self) -> frozenset[TP]:
        """Partitions that this worker reads now."""
        return frozenset(self.consumer.assignment())

    @property
    def places(self) -> frozenset[Place] | None:
        """What this worker reads now; None while it is joining its group."""
        return frozenset((tp.topic, tp.partition) for tp in self.assigned) if self._joined else None

    async def behind(self) -> dict[Place, Behind]:
        """Where each of these partitions stands, if it was sought; raises TimeoutError or KafkaError."""
        return {(tp.topic, tp.partition): behind for tp, behind in (await self._chunks.behind()).items()}

    def generation(self, topic: str, partition: int) -> int | None:
        """The generation of the chunks that are coming; None before the partition was sought."""
        return self._chunks.generation_of(TP(topic, partition))

    def heard_since(self, topic: str, partition: int) -> float:
        """Since when (monotonic s) Kafka has answered the fetches of a partition without an absence."""
        return self._chunks._thread.heard.since(TP(topic, partition))

    def give_up(self, topic: str, partition: int, generation: int) -> None:
        """Drop what is queued and still comes of a partition, unacknowledged, until it is sought again.

        Unless it was already, since that generation.
        """
        self._chunks.give_up(TP(topic, partition), generation)

    @property
    def given_up(self) -> frozenset[TP]:
        """Partitions that were given up and not sought since."""
        return frozenset(self._chunks.given_up)

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Make `offset` the start of the partition's next chunk and drop what is queued of it; called by the agent."""
        await self._chunks.rewind(TP(topic, partition), offset)

    # What Kafka is asked

    async def is_member(self, topic: str, partition: int) -> bool:
        """Whether Kafka still counts this worker in, and a partition as its own; raises StoreUnavailable."""
        place = driver.ensure_aiokafka_TP(TP(topic, partition))
        return await self._ask(place, lambda thread: is_member(thread._ensure_consumer(), place), ANSWER_TIMEOUT_S)

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic has, 0 where there is no such topic; raises StoreUnavailable."""
        return await self._ask(
            topics, lambda thread: partition_counts(thread._ensure_consumer(), topics), ANSWER_TIMEOUT_S
        )

    async def topic_id(self, topic: str) -> str:
        """The id of a topic, "" if there is no such topic or Kafka does not know ids; raises StoreUnavailable."""
        return await self._ask(topic, lambda thread: topic_id(thread._ensure_consumer(), topic), ANSWER_TIMEOUT_S)

    def acknowledge(self, topic: str, partition: int, generation: int, offset: int) -> None:
        """Have `offset` committed soon if the partition was sought there: all before it is worked and published."""
        self._chunks.acknowledge(TP(topic, partition), generation, offset)

    def keep_committed(self, topic: str, partition: int, offset: int) -> None:
        """Have nothing below `offset`, which is committed, committed from now on."""
        self._chunks.keep_committed(TP(topic, partition), offset)

    async def read_to_end(self, topic: str, partition: int, position: int) -> bool:
        """Whether a partition was read up to `position` and Kafka says now that there is no more.

        False if it is silent.
        """
        tp = TP(topic, partition)
        try:
            return await self._ask(tp, lambda thread: thread.at_end(tp, position), AT_END_TIMEOUT_S)
        except StoreUnavailable as error:
            _log.warning("Kafka does not say whether %s/%d has more: %s", topic, partition, error)
            return False

    async def committed(self, topic: str, partition: int) -> int:
        """The group's committed offset of a partition, -1 if there is none; raises StoreUnavailable."""
        tp = TP(topic, partition)
        return await self._ask(tp, lambda thread: thread.committed(tp))

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Where a partition begins and ends now; raises StoreUnavailable."""
        tp = TP(topic, partition)
        return await self._ask(tp, lambda thread: thread.bounds(tp))

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset with a broker timestamp of at least `time_ms` (UTC), -1 if there is none.

        The beginning where the broker keeps no times. Raises StoreUnavailable.
        """
        tp = TP(topic, partition)
        return await self._ask(tp, lambda thread: thread.offset_at(tp, time_ms))

    async def _ask(
        self, about: object, question: Callable[[ChunkThread], Awaitable[_T]], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> _T:
        thread = self._chunks._thread
        try:
            return cast(_T, await asyncio.wait_for(thread.call_thread(question, thread), timeout_s))
        except (TimeoutError, KafkaError) as error:
            raise StoreUnavailable(f"Kafka does not answer about {about}: {error!r}") from error

    def read_back(self, topic: str, partition: int, *, last: int = 0) -> AsyncIterator[Sequence[ReadBack]]:
        """The `last` records of a partition (0: all), up to what is its end now; raises StoreUnavailable."""
        return read_back(self.address, topic, partition, last=last)

    async def read_some(self, topic: str, partition: int, start: int, most: int) -> Records:
        """Up to `most` records of a partition from `start`, or its beginning, on; raises StoreUnavailable."""
        return await read_some(self.address, topic, partition, start, most)

    # What it publishes

    def finish_after(self, publication: asyncio.Task[None]) -> None:
        """Let what the agent hands back be finished when this is through, and not at all if it fails."""
        cast(ChunkTransport, self.transport).publication = publication

    async def publish(self, records: Sequence[Record], timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        """Publish in order, wait for all acknowledgements; raises PublishAgain, or a KafkaError that no retry mends."""
        try:
            await cast(ChunkProducer, self.producer).publish(records, timeout_s)
        except PublishAgain:
            cast(ChunkTransport, self.transport).observer.waits("kafka")
            raise


def chunk_app(
    app_id: str,
    *,
    broker: str,
    start_positions: StartPositions | None = None,
    max_records: int = 5_000,
    commit_interval_s: float = 1.0,
    session_timeout_s: float = 10.0,
    instance_id: str | None = None,
    on_assigned: PartitionsChanged | None = None,
    on_revoked: PartitionsChanged | None = None,
    publishes: bool = True,
    observer: Observer | None = None,
) -> ChunkApp:
    """An app in the consumer group `app_id` whose agents, one a topic, get chunks of at most `max_records`.

    `broker` is an address of `broker_address.py`. `instance_id` makes the membership static. Topics are not created.
    What is kept by partition is void when a chunk's `generation` differs. `on_revoked` and `on_assigned` say it
    earlier: at each rebalance, of all partitions that this worker had and has, before any chunk of the new assignment.
    One that does not publish needs no right to write.
    """
    address = BrokerAddress.parse(broker)
    app = ChunkApp(
        app_id,
        broker=";".join(f"kafka://{place}" for place in address.bootstrap.split(",")),
        broker_credentials=_credentials(address),
        broker_client_id=app_id,
        broker_commit_interval=commit_interval_s,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 4,
        broker_max_poll_records=max_records,
        consumer_group_instance_id=instance_id,
        producer_acks=-1 if publishes else 0,
        producer_request_timeout=PUBLISH_TIMEOUT_S,
        Schema=ChunkSchema,
        Stream=ChunkStream,
        **FAUST_SETTINGS,
    )
    app.address = address
    app.transport = ChunkTransport(app, start_positions, max_records, observer or Observer())
    app.on_partitions_assigned.connect(_told(lambda _: app._has_joined(True)))
    app.on_partitions_revoked.connect(_told(lambda _: app._has_joined(False)))
    for changed, call in ((app.on_partitions_assigned, on_assigned), (app.on_partitions_revoked, on_revoked)):
        if call is not None:
            changed.connect(_told(call))
    return app


def _credentials(address: BrokerAddress) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Who the app's consumer and producer are, and whom they trust."""
    tls = address.tls()
    if address.signs_in:
        return faust.SASLCredentials(
            username=address.user, password=address.password, ssl_context=tls, mechanism=address.mechanism
        )
    return None if tls is None else faust.SSLCredentials(tls)


def _told(call: PartitionsChanged) -> Callable[..., Awaitable[None]]:
    async def changed(_app: object, *partitions: set[TP], **_: object) -> None:
        call(frozenset(*partitions))

    return changed
