"""The whole job through a real Kafka and a real Redis, with real worker and trainer processes."""

import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from features.core_bundle import CORE
from features.state import decode as decode_states
from intents.model_store import ModelStore
from intents.snapshots import decode, encode
from intents.training import Trainer
from streams.children import wait_for
from streams.recordings import RecordingBatch
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from streams.stage_profile import NAMES
from tests.conftest import own_settings, with_topics
from tests.features.building import plain
from tests.job import (
    PARTITIONS,
    InProcessRun,
    KafkaRun,
    cut,
    disturbed,
    first_records,
    learned,
    naive_logs,
    without_repeats,
)
from tests.services import Service

LEARNED = 20_000
RUN = 10_000


@pytest.fixture
def job(kafka: Service, redis_url: str, tmp_path: Path) -> KafkaRun:
    """An empty job: topics, Redis, and a frozen model's place."""
    own = own_settings(kafka.bootstrap, tmp_path, redis_url=redis_url, model=str(tmp_path / "frozen.snapshot"))
    return KafkaRun(with_topics(own), tmp_path)


@pytest.fixture(scope="module")
def taobao(recordings: Path) -> tuple[bytes, RecordingBatch]:
    """A snapshot learned on the first records of the Taobao recording, and the next ones, late and twice in part."""
    batch = first_records(recordings / "taobao_user_behavior.csv.gz", LEARNED + RUN)
    return learned(cut(batch, 0, LEARNED)), disturbed(cut(batch, LEARNED, LEARNED + RUN))


def test_a_replay_in_process_equals_the_worker(job: KafkaRun, taobao: tuple[bytes, RecordingBatch]) -> None:
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


def test_a_worker_says_where_its_time_went(job: KafkaRun, taobao: tuple[bytes, RecordingBatch]) -> None:
    """With --profile every stage of the way has a line when the worker ends, and what it publishes is the same."""
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.send(cut(batch, 0, 1_000))
    with job.command("worker", "--profile") as worker:
        job.finish(worker)  # the first step is the start, and does not count
        job.send(cut(batch, 1_000, 4_000))
        job.finish(worker)
    told = job.said(worker)
    lines = dict(
        line.split()[:2] for line in told[told.index("µs of CPU an event by stage") :].splitlines()[1:] if line
    )
    assert set(lines) == {*NAMES, "loop", "all"}
    assert all(float(lines[stage]) > 0 for stage in ("decode", "features", "score", "commit", "publish", "loop"))
    alone = InProcessRun(cut(batch, 0, 4_000), snapshot, job.settings)
    published = job.published(job.settings.intents)
    assert published == {number: alone.intents[number] for number in published}


def test_workers_killed_and_added_count_every_event_once(job: KafkaRun, taobao: tuple[bytes, RecordingBatch]) -> None:
    """One dies between commit and publish, another joins while events flow: states and intents are a clean run's."""
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.send(cut(batch, 0, 4_000))
    with job.process("worker", "--records", "300", die_at="before_publish:3") as doomed:
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
    states = job.states(batch.keys)
    assert states == alone.states(job.settings, batch.keys)
    logs = naive_logs(batch)
    assert {name: plain(decode_states([name], [blob])) for name, blob in states.items()} == {
        name: log.entries for name, log in logs.items()
    }
    ids = {orjson.loads(value)["event_id"] for value in batch.values}
    refused = job.count(job.settings.dead_letter, 1)  # too late to tell from a duplicate
    assert sum(entry.count for log in logs.values() for entry in log.entries) == len(ids) - refused


def test_what_a_dead_worker_published_is_acknowledged_by_the_next(
    job: KafkaRun, taobao: tuple[bytes, RecordingBatch]
) -> None:
    """The group's lag goes to 0 though no record comes any more to the partition that was not acknowledged."""
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.send(cut(batch, 0, 2_000))
    with job.process(die_at="before_acknowledgement:1") as doomed:
        doomed.wait(60)
    places = [TopicPartition(job.settings.clickstream, number) for number in range(PARTITIONS)]
    consumer = Consumer({"bootstrap.servers": job.settings.broker, "group.id": job.settings.group, "log_level": 0})
    ends = [consumer.get_watermark_offsets(place, timeout=20)[1] for place in places]
    with job.process() as second:
        job.finish(second)
        wait_for(lambda: [at.offset for at in consumer.committed(places, timeout=20)] == ends, "no lag", 30)
    consumer.close()


def event(number: int, customer: str, **fields: object) -> bytes:
    """One event as JSON; views of a category a minute apart, unless told otherwise."""
    usual = {
        "event_id": f"e{number}",
        "customer_id": customer,
        "kind": "view",
        "time": 60_000 * number,
        "category": "tents",
    }
    return orjson.dumps(usual | fields)


def text(value: str | bytes | None) -> str:
    """A header's value."""
    return value.decode() if isinstance(value, bytes) else str(value)


def batch_of(pairs: list[tuple[bytes, bytes]]) -> RecordingBatch:
    """Records of these (key, value)."""
    return RecordingBatch([key for key, _ in pairs], [value for _, value in pairs], np.zeros(len(pairs), np.int64), 0)


def test_refused_and_poisonous_records_are_dead_lettered_once(job: KafkaRun) -> None:
    """Each bad record, and one that our own bug chokes on, is kept with place, reason and bytes; the rest is worked."""
    job.settings = replace(job.settings, model="")
    good = [(f"c{n % 40}".encode(), event(n, f"c{n % 40}")) for n in range(400)]
    bad = [
        (b"c1", b"{not json"),
        (b"c2", event(1001, "somebody-else")),
        (b"c3", event(1002, "c3", kind="dance")),
        (b"c4", event(1003, "c4", time=2**60)),
        (b"c5", orjson.dumps({"customer_id": "c5"})),
        (b"c6", event(0, "c6", event_id="poison-1", time=1)),
    ]
    rows = good[:200] + bad + good[200:]
    job.send(batch_of(rows))
    with job.process() as worker:
        job.finish(worker)
    letters = [message for messages in job.messages(job.settings.dead_letter, 1).values() for message in messages]
    assert Counter((m.key(), m.value()) for m in letters) == Counter(bad)
    headers = [{str(name): text(value) for name, value in list(m.headers() or [])} for m in letters]
    reasons = {letter.key(): header["reason"] for letter, header in zip(letters, headers, strict=True)}
    assert reasons[b"c1"].startswith("not JSON") and "is not the customer_id" in reasons[b"c2"]
    assert "dance" in reasons[b"c3"] and "event_id" in reasons[b"c5"] and reasons[b"c6"] == "bug: ArithmeticError"
    assert {header["topic"] for header in headers} == {job.settings.clickstream}
    assert len({(header["partition"], header["offset"]) for header in headers}) == len(bad)
    states = job.states(key for key, _ in good)
    counts = [len(decode_states([name], [blob]).logs.entries) for name, blob in states.items()]
    assert sum(counts) == len(good)


def test_intents_of_a_quiet_partition_expire(job: KafkaRun, taobao: tuple[bytes, RecordingBatch]) -> None:
    """When nothing comes any more every open intent still gets one end, of its own time.

    With idle time off it waits.
    """
    snapshot, batch = taobao
    Path(job.settings.model).write_bytes(snapshot)
    job.settings = replace(job.settings, horizon_s=4, lateness_s=1, threshold=0.02)
    job.send(cut(batch, 0, 3_000))

    def statuses() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for values in job.published(job.settings.intents).values():
            for intent in map(orjson.loads, without_repeats(values)):
                found.setdefault(intent["intent_id"], []).append(intent["status"])
                if intent["status"] == "expired":
                    assert intent["updated_at"] == intent["expires_at"]
        return found

    def unended() -> int:
        return sum(1 for said in statuses().values() if said[-1] not in ("fulfilled", "expired"))

    with job.process() as worker:
        job.finish(worker)
    assert unended() > 0
    job.settings = replace(job.settings, idle_s=1)
    with job.process():
        wait_for(lambda: unended() == 0, "an end for every intent", 60)
    assert all(sum(status in ("fulfilled", "expired") for status in said) == 1 for said in statuses().values())


def test_worker_and_trainer_learn_together(job: KafkaRun, tmp_path: Path) -> None:
    """Snapshots reach a running worker, which then publishes intents; a killed trainer goes on to the same bytes."""
    (tmp_path / "catalogue.toml").write_text(DEMO_CATALOGUE, encoding="utf-8")
    simulate(tmp_path / "shop.jsonl", events=8_000, customers=240)
    job.settings = replace(job.settings, model="", catalogue=str(tmp_path / "catalogue.toml"), snapshot_s=0.2)
    store = ModelStore(job.settings.model_store)
    batch = first_records(tmp_path / "shop.jsonl", 8_000)

    def latest_ready() -> bool:
        found = store.latest()
        return found is not None and decode(store.load(found.name), CORE).model.ready

    with job.process() as worker:
        with job.process("train") as trainer:
            job.send(cut(batch, 0, 4_000))
            job.finish(worker, trainer)
            wait_for(latest_ready, "a ready model", 60)
            trainer.kill()
            trainer.wait()
        before = len(store.names())
        with job.process("train") as trainer:
            wait_for(lambda: ", ready" in job.logs(), "the worker's ready model", 60)
            job.send(cut(batch, 4_000, 8_000))
            job.finish(worker, trainer)
            wait_for(lambda: store.names()[-1] > f"{job.count(job.settings.examples, 1):020d}", "the last snapshot", 60)
        assert len(store.names()) > before
    values = [orjson.loads(value) for values in job.published(job.settings.intents).values() for value in values]
    assert {"detected", "expired", "fulfilled"} <= {value["status"] for value in values}
    assert all(value["model"]["version"] != "none" for value in values)
    last = decode(store.load(store.names()[-1]), CORE)
    alone = Trainer(CORE, 30 * 60_000)
    for example in job.examples():
        alone.read(*example)
        alone.resolve()
    assert encode(alone.checkpoint()) == encode(last)
