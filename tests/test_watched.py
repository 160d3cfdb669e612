"""A worker and a trainer as a supervisor and Prometheus see them: real processes on a real Kafka and a real Redis."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.children import free_port, wait_for
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from streams.settings import Settings
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from tests.conftest import own_settings, with_topics
from tests.intents.test_training import taught
from tests.job import PARTITIONS, ROOT, KafkaRun, cut, first_records, learned
from tests.services import Service
from tests.streams.test_train import topic

Process = subprocess.Popen[bytes]


class Watched(KafkaRun):
    """A job whose processes have endpoints and JSON logs, and may hang."""

    @contextmanager
    def watched(self, kind: str = "worker", stall_s: float = 180.0) -> Iterator[Process]:
        """A process with endpoints; SIGTERM at the end, if it still runs."""
        self.settings = replace(self.settings, http=f"127.0.0.1:{free_port()}")
        path = self.folder / f"{kind}.json"
        path.write_bytes(orjson.dumps(asdict(self.settings)))
        command = [sys.executable, "-m", "tests.watched_program", kind, str(path), str(stall_s)]
        with (self.folder / f"{kind}.log").open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()

    def status(self, path: str) -> int:
        """Status of an endpoint, 0 if nothing answers."""
        return self.get(path)[0]

    def metrics(self) -> dict[tuple[str, str], float]:
        """What /metrics says: by sample and the value of its label, if it has one."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        return {
            (it.name.removeprefix("micro_intents_"), next(iter(it.labels.values()), "")): it.value for it in samples
        }

    def lines(self, kind: str = "worker") -> list[dict[str, Any]]:
        """The log of a process, each line an object."""
        return [json.loads(line) for line in (self.folder / f"{kind}.log").read_text().splitlines()]


@pytest.fixture
def settings(kafka: Service, tmp_path: Path) -> Settings:
    """Settings with topics of their own, without a Redis."""
    return with_topics(own_settings(kafka.bootstrap, tmp_path))


def event(number: int, customer: str) -> tuple[bytes, bytes]:
    """Key and value of a view."""
    fields = {"event_id": f"e{number}", "customer_id": customer, "kind": "view", "time": 1000 * number}
    return customer.encode(), orjson.dumps(fields | {"category": "tents"})


def batch_of(pairs: list[tuple[bytes, bytes]]) -> RecordingBatch:
    """Records of these (key, value)."""
    return RecordingBatch([key for key, _ in pairs], [value for _, value in pairs], np.zeros(len(pairs), np.int64), 0)


def test_seen_from_outside_while_events_flow(settings: Settings, own_redis: Service, tmp_path: Path) -> None:
    """Counts are what was sent; without Redis it is not ready and says why, and with it again it is."""
    (tmp_path / "catalogue.toml").write_text(DEMO_CATALOGUE, encoding="utf-8")
    simulate(tmp_path / "shop.jsonl", events=2_400, customers=60)
    shop = first_records(tmp_path / "shop.jsonl", 2_400)
    job = Watched(
        replace(
            settings,
            redis_url=own_redis.url,
            catalogue=str(tmp_path / "catalogue.toml"),
            model=str(tmp_path / "frozen.snapshot"),
            threshold=0.05,
        ),
        tmp_path,
    )
    Path(job.settings.model).write_bytes(learned(cut(shop, 0, 1_400), job.settings.load_catalogue()))
    live = cut(shop, 1_400, 2_400)
    job.send(cut(live, 0, 500))
    with job.watched() as worker:
        wait_for(lambda: job.status("/readyz") == 200, "a ready worker", 40)
        assert job.status("/healthz") == 200
        assert job.status("/") == 404
        job.send(batch_of([(b"c1", b"{not json"), (b"c2", b"{}"), (b"c3", event(1, "c4")[1])]))
        job.finish(worker)
        own_redis.halt()
        job.send(cut(live, 500, 1_000))
        wait_for(lambda: job.status("/readyz") == 503, "a worker that is not ready", 30)
        assert "cannot be reached" in job.reasons()["redis"]
        assert job.status("/healthz") == 200
        wait_for(lambda: job.metrics()["waits_total", "redis"] > 0, "a call that is made again", 30)
        own_redis.start()
        wait_for(lambda: job.status("/readyz") == 200, "a ready worker", 30)
        job.finish(worker)
        wait_for(lambda: sum(v for (name, _), v in job.metrics().items() if name == "lag_records") == 0, "no lag")
        found = job.metrics()
        assert job.metrics()["ready", ""] == 1
    published = Counter(
        orjson.loads(value)["status"] for values in job.published(settings.intents).values() for value in values
    )
    assert found["events_total", ""] == len(live.keys) == 1_000
    assert {status: found["intents_total", status] for status in published} == published
    assert {"detected", "fulfilled", "expired"} <= published.keys()
    refused = {"not_json": 1, "invalid": 1, "wrong_key": 1}
    assert {why: count for (name, why), count in found.items() if name == "refusals_total" and count} == refused
    assert found["dead_letters_total", ""] == 3 == job.count(settings.dead_letter, 1)
    assert found["chunk_records_sum", ""] == len(live.keys) + 3
    assert found["claims_total", ""] == PARTITIONS
    assert 0 < found["event_to_intent_seconds_count", ""] <= len(live.keys)
    assert found["commit_seconds_count", ""] >= PARTITIONS and found["state_bytes_total", ""] > 10_000
    claimed = [line for line in job.lines() if line["message"].startswith("claimed")]
    assert {(line["topic"], line["partition"]) for line in claimed} == {(settings.clickstream, n) for n in range(8)}
    waits = [line for line in job.lines() if line["message"].startswith("waiting")]
    assert waits and all("partition" in line for line in waits)


@pytest.mark.parametrize("customer", ["hang", "block"])
def test_a_worker_that_hangs_ends_itself(customer: str, settings: Settings, redis_url: str, tmp_path: Path) -> None:
    """Whether its agent waits for ever or its event loop stands still: code 75, and it says where and how far."""
    job = Watched(replace(settings, redis_url=redis_url), tmp_path)
    job.send(batch_of([event(n, "fine") for n in range(3)]))
    with job.watched(stall_s=4.0) as worker:
        job.finish(worker)
        wait_for(lambda: job.status("/readyz") == 200, "a ready worker", 30)
        job.send(batch_of([event(n, customer) for n in range(3, 10)]))
        if customer == "hang":
            wait_for(lambda: job.status("/readyz") == 503 and "stall" in job.reasons(), "a stall that is told", 20)
            assert job.status("/healthz") == 200
        assert worker.wait(40) == os.EX_TEMPFAIL
    (told,) = [line for line in job.lines() if line["level"] == "critical" and "ending the process" in line["message"]]
    if customer == "hang":
        place = int(partitions_for([b"hang"], PARTITIONS)[0])  # the one of `fine` too
        assert (told["topic"], told["partition"], told["offset"], told["lag"]) == (settings.clickstream, place, 3, 7)
        assert f"{settings.clickstream}/{place} at offset 3" in told["message"] and told["stalled_s"] >= 4
    else:
        assert "the event loop stands still" in told["message"] and "in blocking" in told["message"]
    with job.watched() as successor:  # nothing of it was lost
        assert job.position() == 3 and successor.poll() is None


def test_a_trainer_seen_from_outside(settings: Settings, tmp_path: Path) -> None:
    """It counts what it read, learned and saved; a second one without a partition is ready too."""
    job = Watched(replace(settings, snapshot_s=0.5), tmp_path)
    told = [*topic(), b"nonsense"]
    producer = Producer({"bootstrap.servers": settings.broker})
    for value in told:
        producer.produce(settings.examples, value, partition=0)
    producer.flush()
    alone = taught(*topic())
    with job.watched("train") as trainer:
        wait_for(lambda: job.metrics().get(("snapshot_offset", ""), 0) == len(told), "everything read and saved", 40)
        wait_for(lambda: job.status("/readyz") == 200, "a ready trainer", 20)
        found = job.metrics()
        assert trainer.poll() is None
        assert (found["examples_total", ""], found["unreadable_examples_total", ""]) == (len(told), 1)
        assert found["positive_labels", ""] == alone.now.positives > 0
        assert found["negative_labels", ""] == alone.now.negatives > 0
        assert (found["refused_snapshots", ""], found["disputed_snapshots", ""]) == (0, 0)
        assert 0 <= found["snapshot_age_seconds", ""] < 60 and found["lag_records", "0"] == 0
        with job.watched("train") as second:
            wait_for(lambda: job.status("/readyz") == 200, "a second one", 40)
            assert second.poll() is None
