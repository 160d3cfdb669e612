"""Real trainers and workers share a store of snapshots: whoever writes into it, each goes on with what is right."""

import asyncio
import os
import re
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Final

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer

from features.bundle import Bundle
from features.core_bundle import CORE
from intents.model import Model
from intents.model_store import ModelStore
from intents.snapshots import content_hash, decode, encode
from intents.training import Trainer
from streams.children import wait_for
from streams.partitioner import partitions_for
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from tests.conftest import own_settings, with_topics
from tests.intents.replaying import Drive, disturbed, in_chunks, lanes_of, made_up, setup_of
from tests.intents.test_snapshots import FOUND, with_number
from tests.intents.test_training import HORIZON
from tests.job import PARTITIONS, KafkaRun, cut, first_records, learned
from tests.services import Service

SESSION_S: Final = 6.0
SAVED: Final = r"saved (\d{20})-(\w{16})\.snapshot"
"""What a trainer logs of a snapshot: the offset, and the hash of its content."""


@cache
def lessons() -> tuple[bytes, ...]:
    """The examples topic after two partitions of a made-up shop, some of it late and some twice."""
    lanes = lanes_of(disturbed(made_up(seed=21, customers=60, events=2_500, days=0.25)), 2)
    drive = Drive(setup_of(DEMO_CATALOGUE), Model.untrained(CORE), lanes, with_examples=True)
    return tuple(asyncio.run(drive.run(in_chunks(lanes, 12))).lessons)


def right_hashes(job: KafkaRun) -> tuple[str, ...]:
    """The hash of what a trainer that nobody disturbed would save after each of the lessons that were published."""
    trainer, found = Trainer(CORE, HORIZON), []
    for example in job.examples():
        trainer.read(*example)
        trainer.resolve()
        found.append(content_hash(encode(trainer.checkpoint())))
    return tuple(found)


def publish(job: KafkaRun, records: Sequence[bytes]) -> None:
    """Append records to the examples topic."""
    producer = Producer({"bootstrap.servers": job.settings.broker, "enable.idempotence": True, "log_level": 0})
    for record in records:
        producer.produce(job.settings.examples, record, partition=0)
    producer.flush()


class Lineage:
    """The newest snapshots that a store had, one after another, while it was watched."""

    def __init__(self, url: str) -> None:
        self._store, self._over = ModelStore(url), Event()
        self.newest: list[int] = [0]

    @contextmanager
    def watched(self) -> Iterator["Lineage"]:
        """Look into the store all the time, and once more at the end."""
        thread = Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
            self._look()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        offset = int(self._store.names()[-1].split("-")[0]) if self._store.names() else 0
        if offset != self.newest[-1]:
            self.newest.append(offset)

    def wait_for(self, offset: int) -> None:
        """Wait until the newest snapshot is of this offset, or a later one."""
        wait_for(lambda: self.newest[-1] >= offset, f"a snapshot of {offset}", 60)

    def assert_right(self, job: KafkaRun, *logs: str) -> None:
        """What trainers saved of an offset was right, the newest never went back, and the last one knows everything."""
        right = right_hashes(job)
        saved = {(int(offset), hash_) for log in logs for offset, hash_ in re.findall(SAVED, log)}
        assert len(saved) > 3
        assert saved == {(offset, right[offset - 1]) for offset, _ in saved}
        assert self.newest == sorted(self.newest)
        newest = self._store.newest(CORE)
        assert newest is not None and newest[1].reading.next == len(lessons())
        assert newest[1].model.ready


@pytest.fixture
def job(kafka: Service, tmp_path: Path) -> KafkaRun:
    """An empty job: topics, and the place of a model store that is looked into, and written, often."""
    return KafkaRun(with_topics(own_settings(kafka.bootstrap, tmp_path, snapshot_s=0.1)), tmp_path)


def test_two_trainers_that_know_nothing_of_each_other(job: KafkaRun, tmp_path: Path) -> None:
    """In groups of their own both read everything and save into one store: what they save of an offset is the same."""
    (tmp_path / "other").mkdir()
    other = KafkaRun(replace(job.settings, group=f"{job.settings.group}-other"), tmp_path / "other")
    half = len(lessons()) // 2
    last = f"saved {len(lessons()):020d}-"
    with Lineage(job.settings.model_store).watched() as lineage, job.process("train") as one:
        publish(job, lessons()[:half])
        with other.process("train") as two:
            lineage.wait_for(half)
            publish(job, lessons()[half:])
            wait_for(lambda: job.has_logged(last, one) and other.has_logged(last, two), f"both {last}", 60)
    lineage.assert_right(job, job.said(one), other.said(two))


def test_trainer_paused_longer_than_its_session(job: KafkaRun) -> None:
    """Another goes on meanwhile; what it saves when it wakes is old and right, and it goes on from the other's."""
    most, session = len(lessons()) * 3 // 4, ("--session-s", str(SESSION_S))
    few = ("--records", "5")
    publish(job, lessons()[:most])
    with Lineage(job.settings.model_store).watched() as lineage, job.process("train", *session, *few) as zombie:
        lineage.wait_for(1)
        os.kill(zombie.pid, signal.SIGSTOP)
        assert ModelStore(job.settings.model_store).names()[-1] < f"{most:020d}", "it was paused too late"
        before = len(job.said(zombie))
        with job.process("train", *session) as owner:
            lineage.wait_for(most)
            os.kill(zombie.pid, signal.SIGCONT)
            wait_for(lambda: "saved" in job.said(zombie)[before:], "what the zombie saves", 30)
            wait_for(lambda: "Setting newly assigned" in job.said(zombie)[before:], "it is a member again", 30)
            owner.terminate()
            assert owner.wait(20) == 0
        publish(job, lessons()[most:])
        lineage.wait_for(len(lessons()))
    awake = re.findall(SAVED, job.said(zombie)[before:])
    assert int(awake[0][0]) < most and int(awake[-1][0]) == len(lessons())
    lineage.assert_right(job, job.said(zombie), job.said(owner))


def test_worker_refuses_snapshots_that_cannot_be_used(job: KafkaRun, redis_url: str, tmp_path: Path) -> None:
    """Each newer one that is damaged, of another bundle or not finite is told, and passed over.

    Meanwhile the worker works, with the last good one; the next good one is taken.
    """
    simulate(tmp_path / "shop.jsonl", events=2_100, customers=80, days=0.6)
    batch = first_records(tmp_path / "shop.jsonl", 2_100)
    good, better = learned(cut(batch, 0, 900)), learned(cut(batch, 0, 1_000))
    job.settings = replace(job.settings, redis_url=redis_url, threshold=0.02)
    store = ModelStore(job.settings.model_store)
    before, after = decode(good, CORE).reading.next, decode(better, CORE).reading.next
    places = partitions_for(batch.keys, PARTITIONS)
    with job.process() as worker:

        def takes(content: bytes, offset: int) -> str:
            version = store.save(content, offset).lstrip("0").removesuffix(".snapshot")
            wait_for(lambda: job.has_logged(f"model {version}, ready", worker), f"the worker takes {version}", 30)
            return version

        wait_for(lambda: job.has_logged("Worker ready", worker), "the worker", 30)
        speaks = [takes(good, before)]
        job.send(cut(batch, 1_000, 1_400))
        job.finish(worker)
        for n, (content, why) in enumerate(unusable(better).items(), 1):
            name = store.save(content, before + n)
            if not why:  # changed after it was saved
                (tmp_path / "models" / "main" / name).write_bytes(better[:-1] + bytes([better[-1] ^ 1]))
            said = f"snapshot {name} is passed over: {why or 'its content is not what its name says'}"
            wait_for(lambda said=said: job.has_logged(said, worker), said, 30)  # type: ignore[misc]
        assert before + len(unusable(better)) < after
        half = np.bincount(places[1_000:1_400], minlength=PARTITIONS)
        job.send(cut(batch, 1_400, 1_700))
        job.finish(worker)
        speaks.append(takes(better, after))
        whole = np.bincount(places[1_000:1_700], minlength=PARTITIONS)
        job.send(cut(batch, 1_700, 2_100))
        job.finish(worker)
        assert job.said(worker).count(": model ") == 3  # none at first, then two good ones
    spoke: dict[int, set[str]] = defaultdict(set)
    for number, values in job.published(job.settings.intents).items():
        for intent in map(orjson.loads, values):
            if intent["status"] == "detected":
                offset = intent["source"]["offset"]
                spoke[int(offset >= half[number]) + int(offset >= whole[number])].add(intent["model"]["version"])
    assert spoke == {0: {speaks[0]}, 1: {speaks[0]}, 2: {speaks[1]}}


def unusable(content: bytes) -> dict[bytes, str]:
    """Snapshots that cannot be used, and why not; "" for one that is to be changed after it was saved."""
    other = Trainer(Bundle("other", CORE.features), HORIZON)
    return {
        b"nonsense": "not a snapshot",
        content[:-8]: "a snapshot is cut short",
        encode(other.checkpoint()): "a snapshot is of bundle other",
        with_number(content, "now.touched.weights", 3, float("nan")): "a snapshot has a number that is not finite",
        with_number(content, "base.totals", 3, FOUND): "a snapshot has a count below zero",
        content + b" ": "",
    }
