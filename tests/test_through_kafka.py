"""The whole job through a real Kafka and a real Redis, with real worker processes."""

import signal
from collections import Counter
from pathlib import Path

import orjson
import pytest

from streams.recordings import RecordingBatch
from streams.settings import Settings
from tests.conftest import TopicFactory
from tests.job import InProcessRun, KafkaRun, cut, disturbed, first_records, learned, without_repeats
from tests.services import Service

LEARNED = 20_000
RUN = 10_000


@pytest.fixture
def job(kafka: Service, redis_url: str, topic_factory: TopicFactory, tmp_path: Path) -> KafkaRun:
    """An empty job: topics, Redis, and a frozen model's place."""
    settings = Settings(
        broker=kafka.bootstrap,
        redis_url=redis_url,
        group=topic_factory("group", 1),  # a name that no other test has
        clickstream=topic_factory("clickstream"),
        intents=topic_factory("intents"),
        examples=topic_factory("examples", 1, {"max.message.bytes": "2000000"}),
        dead_letter=topic_factory("dead-letter", 1),
        model=str(tmp_path / "frozen.snapshot"),
        model_store=str(tmp_path / "models"),
        idle_s=0,
    )
    return KafkaRun(settings, tmp_path)


@pytest.fixture(scope="module")
def taobao(recordings: Path) -> tuple[bytes, RecordingBatch]:
    """A snapshot learned on the first records of the Taobao recording, and the next ones, late and twice in part."""
    batch = first_records(recordings / "taobao_user_behavior.csv.gz", LEARNED + RUN)
    return learned(cut(batch, 0, LEARNED)), disturbed(cut(batch, LEARNED, LEARNED + RUN))


def test_a_replay_in_process_says_the_same_as_the_worker_byte_for_byte(
    job: KafkaRun, taobao: tuple[bytes, RecordingBatch]
) -> None:
    """With a frozen model, intents and states through Kafka, Faust and Redis are those in process, byte for byte."""
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.send(batch)
    with job.process() as worker:
        job.finish(worker)
    alone = InProcessRun(batch, snapshot, job.settings)
    published = job.published(job.settings.intents)
    statuses = Counter(orjson.loads(value)["status"] for values in published.values() for value in values)
    assert statuses["detected"] >= 300
    assert all(statuses[status] >= 20 for status in ("strengthened", "weakened", "fulfilled", "expired")), statuses
    assert published == {number: alone.intents[number] for number in published}
    keys = batch.keys
    assert job.states(keys) == alone.states(job.settings, keys)


def test_workers_killed_and_added_count_every_event_once(job: KafkaRun, taobao: tuple[bytes, RecordingBatch]) -> None:
    """One dies between commit and publish, another joins while events flow: states and intents are a clean run's."""
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.send(cut(batch, 0, 4_000))
    with job.process(die_at=3) as doomed:
        doomed.wait(60)
        assert doomed.returncode == -signal.SIGKILL and "dying between commit and publish" in job.logs()
    with job.process() as second:
        job.send(cut(batch, 4_000, 7_000))
        job.wait_until(5_000, second)
        with job.process() as third:
            sent = 7_000
            while not job.has_logged("claimed", third):
                assert sent < len(batch.keys), "the third worker got nothing to do"
                job.send(cut(batch, sent, sent + 20))
                sent += 20
                job.wait_until(min(sent, len(batch.keys)), second, third)
            job.send(cut(batch, sent, len(batch.keys)))
            job.finish(second, third)
    alone = InProcessRun(batch, snapshot, job.settings)
    published = job.published(job.settings.intents)
    assert {number: without_repeats(values) for number, values in published.items()} == {
        number: alone.intents[number] for number in published
    }
    keys = batch.keys
    assert job.states(keys) == alone.states(job.settings, keys)
