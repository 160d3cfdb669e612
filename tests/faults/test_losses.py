"""Redis is emptied, or restored from an older snapshot: states are rebuilt from the log, and what was said stands."""

import os
import signal
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import orjson
import pytest
import redis
from confluent_kafka import Message
from kafka import TopicPartition

from features.state import decode
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.features.building import plain
from tests.job import PARTITIONS, InProcessRun, cut, learned, naive_logs, without_repeats

ENDS = ("fulfilled", "expired", "forgotten")
Backup = dict[bytes, bytes]


def backup(job: FaultRun) -> Backup:
    """All keys, as a snapshot on disk would have them."""
    with redis.Redis.from_url(job.settings.redis_url) as client:
        found = {key: client.dump(key) for key in client.scan_iter(count=1000)}
    return {key: value for key, value in found.items() if value is not None}


def restore(job: FaultRun, kept: Backup) -> None:
    """Put Redis back to a backup (none: empty it), in one moment for those who look."""
    with redis.Redis.from_url(job.settings.redis_url) as client, client.pipeline(transaction=True) as pipe:
        pipe.flushdb()
        for key, value in kept.items():
            pipe.restore(key, 0, value)
        pipe.execute()


def logs(states: dict[str, bytes | None]) -> dict[str, bytes]:
    """Every customer's activity log."""
    return {name: decode([name], [blob]).logs.entries.tobytes() for name, blob in states.items()}


def assert_true(job: FaultRun, batch: RecordingBatch) -> None:
    """Logs and, repeats dropped, intents are those of a clean run in process; each refused record is a letter once."""
    alone = InProcessRun(batch, job.snapshot, job.settings)
    published = job.published(job.settings.intents)
    for number, values in published.items():
        assert sorted(without_repeats(values)) == sorted(alone.intents[number]), f"partition {number}"
    assert logs(job.states(batch.keys)) == logs(alone.states(job.settings, batch.keys))


@pytest.mark.parametrize("older", [False, True], ids=["emptied", "restored"])
def test_redis_lost_while_events_flow(job: FaultRun, batch: RecordingBatch, *, older: bool) -> None:
    """A running worker notices, rebuilds, takes the intents over, and goes on: nothing is lost or contradicted."""
    job.send(cut(batch, 0, 1_500))
    with job.worker() as worker:
        job.finish(worker)
        kept = backup(job) if older else {}
        job.send(cut(batch, 1_500, 3_000))
        job.finish(worker)
        restore(job, kept)
        job.send(cut(batch, 3_000, len(batch.keys)))
        job.finish(worker)
        assert job.said(worker).count("taken over from those published") >= PARTITIONS
    assert_true(job, batch)


@pytest.mark.parametrize("older", [False, True], ids=["emptied", "restored"])
def test_redis_lost_together_with_the_worker(job: FaultRun, batch: RecordingBatch, *, older: bool) -> None:
    """Killed between commit and publish, and states lost; the next is killed while it rebuilds; a third finishes."""
    job.send(cut(batch, 0, 1_500))
    with job.worker() as worker:
        job.finish(worker)
    kept = backup(job) if older else {}
    job.send(cut(batch, 1_500, len(batch.keys)))
    with job.process("worker", "--records", "300", die_at="before_publish:4") as doomed:
        doomed.wait(60)
        assert doomed.returncode == -signal.SIGKILL
    restore(job, kept)
    with job.worker() as second:
        job.wait_for_words(second, "rebuilding from")
        os.kill(second.pid, signal.SIGKILL)
        second.wait()
    with job.worker() as third:
        job.finish(third)
    assert_true(job, batch)


def test_a_rebuild_with_another_model(job: FaultRun, batch: RecordingBatch, tmp_path: Path) -> None:
    """What the model said that spoke before the loss stands; the one that speaks now goes on from there."""
    job.send(cut(batch, 0, 2_500))
    with job.worker() as worker:
        job.finish(worker)
    before = job.published(job.settings.intents)
    (tmp_path / "other.snapshot").write_bytes(learned(cut(batch, 2_500, len(batch.keys))))
    restore(job, {})
    job.settings = replace(job.settings, model=str(tmp_path / "other.snapshot"), threshold=0.1)
    with job.worker() as worker:
        job.send(cut(batch, 2_500, len(batch.keys)))
        job.finish(worker)
        late = [b"late-%d" % number for number in range(400)]  # whose events move every partition's watermark
        times = int(batch.times_ms.max()) + 86_400_000
        values = [
            orjson.dumps({"event_id": f"late{n}", "customer_id": key.decode(), "kind": "impression", "time": times})
            for n, key in enumerate(late)
        ]
        job.send(RecordingBatch(late, values, batch.times_ms[:400], 0))
        job.finish(worker)
    lives: dict[str, dict[int, bytes]] = defaultdict(dict)
    for number, values in job.published(job.settings.intents).items():
        assert values[: len(before[number])] == before[number]
        for value in values:
            intent = orjson.loads(value)
            said = lives[intent["intent_id"]].setdefault(intent["sequence"], value)
            assert said == value, "an intent was said again in other words"
    statuses = [[orjson.loads(said[n])["status"] for n in range(len(said))] for said in lives.values()]
    assert all(sum(status in ENDS for status in said) == 1 and said[-1] in ENDS for said in statuses)
    versions = Counter(orjson.loads(said[0])["model"]["version"] for said in lives.values())
    assert len(versions) == 2 and min(versions.values()) > 20


def _partition_of(letter: Message) -> int:
    """The partition of the record that a dead letter is about."""
    return int(dict(cast(list[tuple[str, bytes]], letter.headers()))["partition"])


def test_redis_lost_after_the_beginning_of_the_log(job: FaultRun, batch: RecordingBatch) -> None:
    """Emptied where retention has cut the log: states are whole since a time that they say, and nothing older counts.

    What was published stands, and no intent is said twice in other words.
    """
    job.send(cut(batch, 0, 3_000))
    with job.worker() as worker:
        job.finish(worker)
    before, ends = job.published(job.settings.intents), job.ends_of(job.settings.clickstream)
    begins = [end // 3 for end in ends]
    with job.admin() as admin:
        admin.delete_records(
            {TopicPartition(job.settings.clickstream, number): begin for number, begin in enumerate(begins)}
        )
    restore(job, {})
    job.send(cut(batch, 3_000, len(batch.keys)))
    with job.worker() as worker:
        job.finish(worker)
        assert job.said(worker).count("states are whole from event time") == PARTITIONS
    clean = InProcessRun(batch, job.snapshot, job.settings).states(job.settings, batch.keys)
    alone = {name: plain(decode([name], [blob])) for name, blob in clean.items()}
    left = {number: (begins[number], cursor.complete_since) for number, cursor in enumerate(job.cursors())}
    places, times = partitions_for(batch.keys, PARTITIONS), [orjson.loads(value)["time"] for value in batch.values]
    for number, (begin, since) in left.items():
        rows = np.flatnonzero(places == number).tolist()
        left_of = list(dict.fromkeys(batch.keys[row] for row in rows[begin:]))[:9]
        nine = [next(times[row] for row in rows[begin:] if batch.keys[row] == key) for key in left_of]
        assert max(times[row] for row in rows[:begin]) < since <= max(nine) + job.settings.lateness_s * 1000 + 1
    for letter in job.messages(job.settings.dead_letter, 1)[0]:
        assert orjson.loads(letter.value() or b"")["time"] < left[_partition_of(letter)][1]
    naive = naive_logs(batch, left)
    states = {name: decode([name], [blob]) for name, blob in job.states(batch.keys).items()}
    assert {name: plain(state) for name, state in states.items() if len(state.logs.entries)} == {
        name: log.entries for name, log in naive.items() if log.entries
    }
    unfolded = 0
    for key, place in zip(batch.keys, places.tolist(), strict=True):
        name, (_, since) = key.decode(), left[place]
        if len(states[name].logs.entries):
            assert states[name].memory.complete_since.tolist() == [since]
        if all(entry.raw for entry in alone[name]):
            unfolded += 1
            assert plain(states[name]) == [entry for entry in alone[name] if entry.time >= since]
    assert unfolded > 1_000
    for number, values in job.published(job.settings.intents).items():
        assert values[: len(before[number])] == before[number]
        said = [(intent["intent_id"], intent["sequence"]) for intent in map(orjson.loads, without_repeats(values))]
        assert len(said) == len(set(said)) > 0


def test_a_rebuild_leaves_what_is_committed(job: FaultRun, batch: RecordingBatch) -> None:
    """A worker that is stopped while it rebuilds has not moved Kafka's committed offsets back."""
    job.send(batch)
    with job.worker() as worker:
        job.finish(worker)
    before = job.committed()
    restore(job, {})
    with job.worker(records=20, stop_at=40) as second:
        assert second.wait(40) == 0, job.logs()
    rebuilding = [cursor.adopt_until > cursor.position >= 0 for cursor in job.cursors()]
    assert sum(rebuilding) > 0
    assert job.committed() == before
    with job.worker() as third:
        job.finish(third)
    assert_true(job, batch)
