"""A frozen model, events for it, and jobs on services that may be shared or of a module's own."""

from pathlib import Path

import pytest

from streams.recordings import RecordingBatch
from streams.simulate import simulate
from tests.conftest import missing, own_settings, with_topics
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
    (folder / "frozen.snapshot").write_bytes(snapshot)
    own = own_settings(kafka.bootstrap, folder, redis_url=redis_url, model=str(folder / "frozen.snapshot"))
    return FaultRun(with_topics(own), folder, snapshot)


@pytest.fixture
def job(kafka: Service, redis_url: str, tmp_path: Path, shop: tuple[bytes, RecordingBatch]) -> FaultRun:
    """An empty job on the services that all tests share."""
    return _job(kafka, redis_url, tmp_path, shop[0])


@pytest.fixture
def own_job(own_kafka: Service, redis_url: str, tmp_path: Path, shop: tuple[bytes, RecordingBatch]) -> FaultRun:
    """An empty job on a Kafka that may be paused, killed and restarted."""
    if own_kafka.control is None or not own_kafka.control.pid:
        missing("a Kafka that is no process of ours is neither paused nor killed")
    return _job(own_kafka, redis_url, tmp_path, shop[0])


@pytest.fixture
def job_on_own_redis(
    kafka: Service, own_redis: Service, tmp_path: Path, shop: tuple[bytes, RecordingBatch]
) -> FaultRun:
    """An empty job on a Redis that may be paused, killed and restarted."""
    return _job(kafka, own_redis.url, tmp_path, shop[0])
