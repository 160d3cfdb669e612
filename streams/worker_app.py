"""The app of a worker: what it works with, made from the settings, and its run."""

import asyncio
import logging
import time
from typing import cast

from faust.types import TP, StreamT

from features.core_bundle import CORE
from features.redis_store import RedisStore
from features.store import PartitionKey, Store
from intents.detect import Setup
from intents.model import Model
from intents.model_store import ModelStore
from streams.claims import Claims
from streams.dead_letters import DeadLetters
from streams.engine import Engine
from streams.models import ModelWatch, load_model
from streams.monitor import Monitor
from streams.observed_store import observed
from streams.observer import Observer
from streams.partition_count import PartitionCount
from streams.recovery import Recovery
from streams.redis_fitness import RedisFitness
from streams.rights import admit, worker_rights
from streams.running import run_worker
from streams.settings import Settings
from streams.stage_profile import StageProfile
from streams.stall import STALL_S
from streams.steps import Steps
from streams.topic_identity import LOOK_S
from streams.transport import ChunkApp, chunk_app
from streams.transport_chunks import Chunks, StartPositions
from streams.wire import Decoder
from streams.worker import Worker

_log = logging.getLogger(__name__)


def make_worker(settings: Settings, *, stall_s: float = STALL_S) -> ChunkApp:
    """The app of a worker, which ends itself when nothing came of its records for `stall_s`."""
    observer = Observer()
    redis = RedisStore.from_url(settings.redis_url, timeout_s=settings.redis_timeout_s)
    store = observed(redis, observer)
    engine, positions = _engine(settings, store), _positions(settings, store)
    app = chunk_app(settings.group, broker=settings.broker, start_positions=positions, observer=observer)

    async def ask_store() -> None:
        for topic, partition in sorted(app.places or {(settings.clickstream, 0)}):
            await redis.cursor(PartitionKey(settings.namespace, topic, partition))

    app.watch = Monitor(app, observer, ask_store, settings.http_address, stall_s).watch
    letters = DeadLetters(settings.dead_letter, settings.dead_letters_per_minute)
    observer.limited(settings.dead_letters_per_minute)
    decoder = Decoder(engine.setup.catalogue)
    recovery = Recovery(app, engine, decoder, _wall_clock_ms, observer)
    claims = Claims(app, engine, recovery, PartitionCount(app, settings.intents), RedisFitness(cast(RedisStore, store)))
    steps = Steps(app, engine, decoder, letters, recovery, observer)
    worker = Worker(app, claims, steps, settings.idle_s)

    @app.agent(app.topic(settings.clickstream), name="micro_intents.detect")
    async def detect(stream: StreamT[Chunks]) -> None:
        async for chunks in stream:
            await worker.work_ahead(chunks)

    @app.timer(1.0, name="micro_intents.idle")  # type: ignore[untyped-decorator]  # Faust
    async def idle() -> None:
        await worker.tick()

    @app.timer(LOOK_S, name="micro_intents.recognise")  # type: ignore[untyped-decorator]  # Faust
    async def recognise() -> None:
        await claims.recognise()

    if settings.model:
        take_up(engine.model, engine, observer)
    else:
        _follow_snapshots(app, settings, engine, observer)
    return app


def _engine(settings: Settings, store: Store) -> Engine:
    catalogue = settings.load_catalogue()
    setup = Setup(CORE, catalogue, catalogue.names, rules=settings.rules, namespace=settings.namespace)
    model = load_model(settings.model, CORE) if settings.model else Model.untrained(CORE)
    key = settings.hash_key.encode()
    lateness_ms, rebuild_ms = settings.lateness_s * 1000, settings.rebuild_ms
    return Engine(store, setup, model, lateness_ms, settings.topics, hash_key=key, rebuild_ms=rebuild_ms)


def _positions(settings: Settings, store: Store) -> StartPositions:
    """Where Redis has the partitions."""

    async def positions(partitions: frozenset[TP]) -> dict[TP, int]:
        found = {}
        for tp in partitions:
            cursor = await store.cursor(PartitionKey(settings.namespace, tp.topic, tp.partition))
            found[tp] = cursor.position
        return found

    return positions


def _follow_snapshots(app: ChunkApp, settings: Settings, engine: Engine, observer: Observer) -> None:
    """Give the engine the model store's newest model, now and whenever there is a newer one."""
    watch = ModelWatch(ModelStore(settings.model_store), CORE, observer)

    @app.timer(settings.snapshot_s, name="micro_intents.model")  # type: ignore[untyped-decorator]  # Faust
    async def look() -> None:
        newer = await asyncio.to_thread(watch.newer)
        if newer is not None:
            take_up(newer, engine, observer)

    take_up(watch.newer() or engine.model, engine, observer)


def take_up(model: Model, engine: Engine, observer: Observer) -> None:
    """Speak with this model from now on."""
    threshold = model.threshold(engine.setup.rules.threshold)
    ready = "ready" if model.ready else "not ready yet"
    _log.info("model %s, %s; threshold %.2f, %s", model.version, ready, *threshold)
    engine.model = model
    observer.speaks(model, threshold.value)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251  # how far back to rebuild is counted from now


def run(settings: Settings, *, profile: bool = False) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code (75: start it again). May raise BrokerRefused.

    With `profile` it says at its end, on stderr, what each stage cost.
    """
    admit(settings, worker_rights(settings))
    stages = StageProfile() if profile else None
    if stages is not None:
        stages.install()
    code = run_worker(make_worker(settings))
    if stages is not None:
        stages.print()
    return code
