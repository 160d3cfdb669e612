"""A frozen model, events for it, and jobs on services that may be shared or of a module's own."""

import uuid
from pathlib import Path

import pytest

from streams.recordings import RecordingBatch
from streams.settings import Settings
from streams.simulate import simulate
from tests.faults.running import FaultRun
from tests.job import cut, disturbed, first_records, learned
from tests.services import Service

LEARNED, RUN = 2_000, 4_000


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, RecordingBatch]:
    """A snapshot learned on the first events of a made-up shop, and the next ones, some late and some twice."""
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    simulate(path, events=LEARNED + RUN, customers=200)
    batch = first_records(path, LEARNED + RUN)
    return learned(cut(batch, 0, LEARNED)), disturbed(cut(batch, LEARNED, LEARNED + RUN))


@pytest.fixture
def batch(shop: tuple[bytes, RecordingBatch]) -> RecordingBatch:
    """Events, some late and some twice."""
    return shop[1]


def _job(kafka: Service, redis_url: str, folder: Path, snapshot: bytes) -> FaultRun:
    mark = uuid.uuid4().hex[:8]
    settings = Settings(
        broker=kafka.bootstrap,
        redis_url=redis_url,
        group=f"group-{mark}",
        clickstream=f"clickstream-{mark}",
        intents=f"intents-{mark}",
        examples=f"examples-{mark}",
        dead_letter=f"dead-letter-{mark}",
        model=str(folder / "frozen.snapshot"),
        model_store=str(folder / "models"),
        idle_s=0,
    )
    (folder / "frozen.snapshot").write_bytes(snapshot)
    run = FaultRun(settings, folder, snapshot)
    run.create(settings.clickstream)
    run.create(settings.intents)
    run.create(settings.examples, 1, {"max.message.bytes": "2000000"})
    run.create(settings.dead_letter, 1)
    return run


@pytest.fixture
def job(kafka: Service, redis_url: str, tmp_path: Path, shop: tuple[bytes, RecordingBatch]) -> FaultRun:
    """An empty job on the services that all tests share."""
    return _job(kafka, redis_url, tmp_path, shop[0])


@pytest.fixture
def own_job(own_kafka: Service, redis_url: str, tmp_path: Path, shop: tuple[bytes, RecordingBatch]) -> FaultRun:
    """An empty job on a Kafka that may be paused, killed and restarted."""
    if own_kafka.control is None or not own_kafka.control.pid:
        pytest.skip("a Kafka that is no process of ours is neither paused nor killed")
    return _job(own_kafka, redis_url, tmp_path, shop[0])
