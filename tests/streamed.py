"""A recording through Kafka, worker, Redis, examples, trainer and snapshots, by the commands that people type.

What was said on the way comes back in lines of a scores file, so that `evaluate` can judge it.
"""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from intents.examples import unpack
from intents.model_store import ModelStore
from intents.subjects import Names
from streams.children import wait_for
from streams.commands.console import Update, progress
from streams.partitioner import partition_for
from streams.recordings import RecordingBatch, open_recording
from tests.job import PARTITIONS, KafkaRun

TIMEOUT_S: Final = 900.0
"""How long worker and trainer may take once everything was sent."""

Place = tuple[int, int, int]
"""Where an event is in the log: partition, offset, index in its record."""
Pairs = list[list[Any]]
"""Candidates with their p, best first."""


@dataclass(frozen=True)
class Streamed:
    """What was said of a recording's views.

    `answered` are the trainer's own lines. `trainer` and `worker` are lines with the ids of event and customer, in the
    order of time.
    """

    answered: dict[Place, dict[str, Any]]
    trainer: list[bytes]
    worker: list[bytes]


def stream(job: KafkaRun, recording: Path, *, speed: float | None = None, limit: int | None = None) -> Streamed:
    """Replay a recording into the empty topics of `job`, at once or at a speed, and wait until all of it is learned."""
    (batch,) = open_recording(recording).batches(size=1 << 40, limit=limit)
    last, scores = closing(job, batch), job.folder / "answered.jsonl"
    events, pace = len(batch.keys) + len(last.keys), f"{speed:g}" if speed else "max"
    replay = ["replay", str(recording), "--speed", pace, *(["--limit", str(limit)] if limit else [])]
    with job.command("worker") as worker, job.command("train", "--scores", str(scores)) as trainer:
        with progress(f"through Kafka, speed {pace}", "events worked") as update:
            with job.command(*replay) as producer:
                _watch(job, producer, events, update)
            job.send(last)
            job.wait_until(events, worker, trainer, timeout_s=TIMEOUT_S)
        examples = job.published(job.settings.examples, 1)[0]
        with progress("the trainer", "records learned") as update:
            wait_for(lambda: _learned(job, len(examples), trainer, update), "the last snapshot", TIMEOUT_S)
    return _told(job, scores, examples)


def closing(job: KafkaRun, batch: RecordingBatch) -> RecordingBatch:
    """An event of nobody for each partition, so late that the last questions before it are due; it asks nothing."""
    late = int(batch.times_ms.max()) + (job.settings.horizon_s + job.settings.lateness_s) * 1000 + 1
    names = {partition_for(name.encode(), PARTITIONS): name for name in (f"closing-{n}" for n in range(200))}
    events = [{"event_id": name, "customer_id": name, "kind": "impression", "time": late} for name in names.values()]
    times = np.full(len(events), late, dtype=np.int64)
    return RecordingBatch([name.encode() for name in names.values()], list(map(orjson.dumps, events)), times, 0)


def _watch(job: KafkaRun, producer: "subprocess.Popen[bytes]", events: int, update: Update) -> None:
    """Wait until the producer is done."""
    while producer.poll() is None:
        try:
            producer.wait(1.0)
        except subprocess.TimeoutExpired:
            done = job.position()
            update(done / events, done)
    assert producer.returncode == 0, job.logs()


def _learned(job: KafkaRun, records: int, trainer: "subprocess.Popen[bytes]", update: Update) -> bool:
    """Whether there is a snapshot behind all of the records."""
    assert trainer.poll() is None, job.logs()
    names = ModelStore(job.settings.model_store).names()
    done = int(names[-1].split("-")[0]) if names else 0
    update(done / records, done)
    return done >= records


def _told(job: KafkaRun, scores: Path, examples: list[bytes]) -> Streamed:
    log = job.published(job.settings.clickstream)
    answered: dict[Place, dict[str, Any]] = {}
    for line in map(orjson.loads, scores.read_bytes().splitlines()):
        source = line["source"]
        answered.setdefault((source["partition"], source["offset"], source["index"]), line)
    trainer = ((place, line["scores"], line.get("ready", True)) for place, line in answered.items())
    return Streamed(answered, _lines(log, trainer), _lines(log, _worker_said(examples)))


def _lines(log: Mapping[int, list[bytes]], said: Iterator[tuple[Place, Pairs, bool]]) -> list[bytes]:
    """Lines of a scores file, each place once, with the ids that the log has there."""
    found: dict[Place, tuple[int, bytes]] = {}
    for place, pairs, ready in said:
        event = orjson.loads(log[place[0]][place[1]])
        event_id = f"{event['event_id']}#{place[2]}" if event.get("items") else event["event_id"]
        line = {"ask": "detect", "customer_id": event["customer_id"], "time": event["time"], "event_id": event_id}
        found.setdefault(place, (event["time"], orjson.dumps(line | {"scores": pairs, "ready": ready})))
    return [line for _, line in sorted(found.values())]


def _worker_said(examples: list[bytes]) -> Iterator[tuple[Place, Pairs, bool]]:
    """What the worker's model said of each question."""
    names, records = Names(), list(map(unpack, examples))
    for record in records:
        for key, name in record.names.items():
            names.learn(int.from_bytes(key, "little"), name)
    for record in records:
        at = 0
        for entry in record.asked:
            place = slice(at, at := at + int(entry["candidates"]))
            said = np.nan_to_num(record.said[place])
            called = [names.get(subject) or f"{subject:016x}" for subject in record.subjects[place].tolist()]
            pairs = [[called[i], float(said[i])] for i in np.argsort(-said, kind="stable")]
            where = (record.partition, int(entry["offset"]), int(entry["index"]))
            yield where, pairs, not np.isnan(record.said[place]).any()
