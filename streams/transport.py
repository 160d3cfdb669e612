"""The worker's way to Kafka and back: an app whose agents get record batches, its publisher, and how to run it.

Safe defaults of Faust's, each with its reason, are in `chunk_app`. The machinery is in `transport_chunks.py`.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, cast

import faust
import mode
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from features.store import StoreUnavailable
from sinks.records import Record
from streams.broker_address import BrokerAddress
from streams.monitor import Stalled
from streams.observer import Observer
from streams.stall import Behind, Place
from streams.transport_chunks import (
    ChunkConsumer,
    ChunkSchema,
    ChunkStream,
    ChunkThread,
    ChunkTransport,
    PositionLost,
    RecordChunk,
    SeekFailed,
    StartPositions,
)
from streams.transport_group import is_member, partition_counts
from streams.transport_publish import PUBLISH_TIMEOUT_S, ChunkProducer, PublishAgain
from streams.transport_read import ReadBack, read_back

__all__ = [
    "ChunkApp",
    "PositionLost",
    "PublishAgain",
    "RecordChunk",
    "SeekFailed",
    "StartPositions",
    "chunk_app",
    "run_worker",
]

STOP_TIMEOUT_S: Final = 4.0
"""How long a clean stop may take; after it the process ends as in a crash, which loses nothing."""

QUEUED_CHUNKS: Final = 2
"""Chunks waiting for the agent: a full queue stops the fetching, which bounds the memory; more only adds latency."""

PARTITION_FETCH_BYTES: Final = 1 << 20

REQUEST_TIMEOUT_S: Final = 40.0

ASK_TIMEOUT_S: Final = 2.0

ANSWER_TIMEOUT_S: Final = 10.0

PartitionsChanged = Callable[[frozenset[TP]], None]
"""Told of partitions; quick, and without errors."""

_RETRY = (SeekFailed, PublishAgain, StoreUnavailable, KafkaConnectionError, MemoryError, Stalled)
"""Crashes that a new start may well mend."""

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
        found = await cast(ChunkConsumer, self.consumer).behind()
        return {(tp.topic, tp.partition): behind for tp, behind in found.items()}

    def generation(self, topic: str, partition: int) -> int | None:
        """The generation of the chunks that are coming; None before the partition was sought."""
        return cast(ChunkConsumer, self.consumer).generation_of(TP(topic, partition))

    def heard_since(self, topic: str, partition: int) -> float:
        """Since when (monotonic s) Kafka has answered the fetches of a partition without an absence."""
        return cast(ChunkConsumer, self.consumer)._thread.heard.since(TP(topic, partition))

    async def is_member(self, topic: str, partition: int) -> bool:
        """Whether Kafka still counts this worker in, and a partition as its own; raises StoreUnavailable."""
        return bool(await self._ask(is_member, driver.ensure_aiokafka_TP(TP(topic, partition))))

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic has, 0 where there is no such topic; raises StoreUnavailable."""
        return cast(dict[str, int], await self._ask(partition_counts, topics))

    async def _ask(self, question: Callable[..., Awaitable[object]], about: object) -> object:
        thread = cast(ChunkConsumer, self.consumer)._thread
        asked = thread.call_thread(question, thread._ensure_consumer(), about)
        try:
            return await asyncio.wait_for(asked, ANSWER_TIMEOUT_S)
        except (TimeoutError, KafkaError) as error:
            raise StoreUnavailable(f"Kafka does not answer about {about}: {error!r}") from error

    def give_up(self, topic: str, partition: int, generation: int) -> None:
        """Drop what is queued and still comes of a partition, unacknowledged, until it is sought again.

        Unless it was already, since that generation.
        """
        cast(ChunkConsumer, self.consumer).give_up(TP(topic, partition), generation)

    @property
    def given_up(self) -> frozenset[TP]:
        """Partitions that were given up and not sought since."""
        return frozenset(cast(ChunkConsumer, self.consumer).given_up)

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Make `offset` the start of the partition's next chunk and drop what is queued of it; called by the agent."""
        await cast(ChunkConsumer, self.consumer).rewind(TP(topic, partition), offset)

    def acknowledge(self, topic: str, partition: int, generation: int, offset: int) -> None:
        """Have `offset` committed soon if the partition was sought there: all before it is worked and published."""
        cast(ChunkConsumer, self.consumer).acknowledge(TP(topic, partition), generation, offset)

    async def read_to_end(self, topic: str, partition: int, position: int) -> bool:
        """Whether a partition was read up to `position` and Kafka says now that there is no more.

        False if it is silent.
        """
        consumer = cast(ChunkConsumer, self.consumer)
        try:
            return await asyncio.wait_for(consumer.read_to_end(TP(topic, partition), position), ASK_TIMEOUT_S)
        except (TimeoutError, KafkaError) as error:
            _log.warning("Kafka does not say whether %s/%d has more: %r", topic, partition, error)
            return False

    async def committed(self, topic: str, partition: int) -> int:
        """The group's committed offset of a partition, -1 if there is none; raises StoreUnavailable."""
        return cast(int, await self._asked(lambda thread: thread.committed, topic, partition))

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Where a partition begins and ends now; raises StoreUnavailable."""
        return cast(tuple[int, int], await self._asked(lambda thread: thread.bounds, topic, partition))

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset with a broker timestamp of at least `time_ms` (UTC), -1 if there is none.

        The beginning where the broker keeps no times. Raises StoreUnavailable.
        """
        return cast(int, await self._asked(lambda thread: thread.offset_at, topic, partition, time_ms))

    async def _asked(self, question: Callable[[ChunkThread], Any], topic: str, partition: int, *rest: int) -> object:
        thread = cast(ChunkConsumer, self.consumer)._thread
        try:
            return await asyncio.wait_for(
                thread.call_thread(question(thread), TP(topic, partition), *rest), REQUEST_TIMEOUT_S
            )
        except (TimeoutError, KafkaError) as error:
            raise StoreUnavailable(f"Kafka does not answer about {topic}/{partition}: {error!r}") from error

    def read_back(self, topic: str, partition: int, *, last: int = 0) -> AsyncIterator[Sequence[ReadBack]]:
        """The `last` records of a partition (0: all), up to what is its end now; raises StoreUnavailable."""
        return read_back(self.address, topic, partition, last=last)

    async def publish(self, records: Sequence[Record], timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        """Publish in order, wait for all acknowledgements; raises PublishAgain, or a KafkaError that no retry mends."""
        try:
            await cast(ChunkProducer, self.producer).publish(records, timeout_s)
        except PublishAgain:
            cast(ChunkTransport, self.transport).observer.waits("kafka")
            raise

    def _has_joined(self, joined: bool) -> None:
        self._joined = joined


def chunk_app(
    app_id: str,
    *,
    broker: str,
    start_positions: StartPositions | None = None,
    max_records: int = 1000,
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
        env={},  # else BROKER_URL, PRODUCER_ACKS and a hundred more from the environment override what is said here
        broker=";".join(f"kafka://{place}" for place in address.bootstrap.split(",")),
        broker_credentials=_credentials(address),
        broker_client_id=app_id,
        broker_commit_interval=commit_interval_s,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 4,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_max_poll_interval=300.0,  # an agent that hangs for longer gives its partitions to others
        broker_max_poll_records=max(4 * max_records, 1000),
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance_id,
        consumer_metadata_max_age_ms=30_000,  # how soon new topics and partitions are noticed
        consumer_max_fetch_size=PARTITION_FETCH_BYTES,
        producer_acks=-1 if publishes else 0,
        producer_max_batch_size=256 << 10,
        producer_request_timeout=PUBLISH_TIMEOUT_S,
        producer_threaded=False,
        processing_guarantee="at_least_once",  # exactly_once has open bugs: effects are idempotent instead
        stream_buffer_maxsize=QUEUED_CHUNKS,
        stream_wait_empty=False,  # it has no time-out
        table_standby_replicas=0,  # more would switch the partition assignor, tables or not
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        web_tables_enabled=False,
        worker_redirect_stdouts=False,
        cython_optimizations=False,
        agent_supervisor=mode.CrashingSupervisor,  # a restarted agent would go on behind the chunk that it failed on
        Schema=ChunkSchema,
        Stream=ChunkStream,
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


def run_worker(app: ChunkApp) -> int:
    """Run an app in an event loop of its own until SIGTERM, SIGINT or a crash, and return the exit code.

    0 after a signal; 75 (`os.EX_TEMPFAIL`) after a crash that a new start may mend; else 1. Logging stays as the caller
    has set it up. When stopping takes more than `STOP_TIMEOUT_S`, it ends the process itself.
    """
    return asyncio.run(_work(app))


async def _work(app: ChunkApp) -> int:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    ending = asyncio.create_task(told.wait())
    starting, crashing = asyncio.create_task(app.start()), asyncio.create_task(app.wait_until_stopped())
    watching = asyncio.create_task(app.watch() if app.watch is not None else told.wait())
    await asyncio.wait({starting, crashing, ending, watching}, return_when=asyncio.FIRST_COMPLETED)
    crash = starting.exception() if starting.done() else None
    if crash is None:
        await asyncio.wait({crashing, ending, watching}, return_when=asyncio.FIRST_COMPLETED)
        crash = app.crash_reason or (watching.exception() if watching.done() else None)
    if told.is_set():
        code = 0  # agents cut short count as crashes
    else:
        code = os.EX_TEMPFAIL if isinstance(crash, _RETRY) else 1
        _log.critical("worker crashed", exc_info=crash)
    await _stop(app, code)
    starting.cancel()
    watching.cancel()
    return code


async def _stop(app: ChunkApp, code: int) -> None:
    _, late = await asyncio.wait({asyncio.create_task(app.stop())}, timeout=STOP_TIMEOUT_S)
    if late:
        _log.critical("not stopped after %g s, ending the process", STOP_TIMEOUT_S)
        logging.shutdown()
        os._exit(code or 1)  # the consumer's thread would keep it alive
