"""The worker is paused, stopped, starved, joined and left: every event counts once, and nobody waits for long."""

import os
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import orjson
import pytest

from streams.children import wait_for
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from streams.simulate import simulate
from tests.faults.running import FaultRun, timed
from tests.job import PARTITIONS, cut, disturbed, first_records, without_repeats

ALL = set(range(PARTITIONS))
HAND_OVER_S = 5.0
"""Within which another worker has the partitions of one that was told to stop."""


def test_worker_paused_longer_than_its_session(job: FaultRun, batch: RecordingBatch) -> None:
    """Its partitions go on elsewhere; when it wakes it claims and writes nothing until it is a member again."""
    some, most = 2_000, len(batch.keys) - 400
    job.send(cut(batch, 0, some))
    with job.worker() as zombie:
        job.wait_until(200, zombie)
        os.kill(zombie.pid, signal.SIGSTOP)
        asleep_at = len(job.said(zombie))
        job.send(cut(batch, some, most))
        with job.worker() as owner:
            job.wait_until(most, owner)
            os.kill(zombie.pid, signal.SIGCONT)
            job.send(cut(batch, most, len(batch.keys)))
            job.finish(owner, zombie, timeout_s=10)
            job.wait_for_words(zombie, "Setting newly assigned partitions")
            awake = job.said(zombie)[asleep_at:].split("Setting newly assigned partitions")[0]
            assert "claimed" not in awake
    job.assert_clean(batch)


def test_worker_told_to_stop_hands_over(job: FaultRun, batch: RecordingBatch) -> None:
    """SIGTERM ends it cleanly, and within seconds another worker has claimed its partitions and works them."""
    half = len(batch.keys) // 2
    with job.worker() as first, job.worker() as second:
        job.send(cut(batch, 0, half))
        job.finish(first, second)
        timed(lambda: bool(job.claimed(first)) and bool(job.claimed(second)), "both with partitions", 30)
        before = len(job.said(second))
        first.send_signal(signal.SIGTERM)
        job.send(cut(batch, half, len(batch.keys)))
        timed(lambda: job.claimed(second, before) == ALL, "all partitions claimed", HAND_OVER_S)
        job.ends(first, 0, timeout_s=HAND_OVER_S)
        job.finish(second)
    job.assert_clean(batch)


def test_worker_with_a_bug(job: FaultRun, batch: RecordingBatch) -> None:
    """The one record that detect raises for is dead-lettered after three tries and halvings; the rest is worked."""
    values = Counter(batch.values)
    row = next(row for row, value in enumerate(batch.values) if row > 1_000 and values[value] == 1)
    job.send(batch)
    with job.worker(poison=orjson.loads(batch.values[row])["event_id"]) as worker:
        job.finish(worker)
        assert "try 3" in job.said(worker)
    (letter,) = job.published(job.settings.dead_letter, 1)[0]
    assert letter == batch.values[row]
    refused = [b"{" if n == row else value for n, value in enumerate(batch.values)]
    job.assert_clean(replace(batch, values=refused), dead=1)


def test_worker_short_of_memory(job: FaultRun, batch: RecordingBatch) -> None:
    """Chunks are halved until they fit: nothing is dead-lettered. If one record does not, it stops, to start again."""
    job.send(batch)
    with job.worker(events=0) as starving:
        job.ends(starving, os.EX_TEMPFAIL, "not enough memory for one record", "give the worker more memory")
    with job.worker(events=30) as worker:
        job.finish(worker)
        assert "out of memory" in job.said(worker)
    job.assert_clean(batch)


@pytest.fixture(scope="module")
def long_partition(tmp_path_factory: pytest.TempPathFactory) -> RecordingBatch:
    """Thousands of events that all go to one partition, so that a worker gets them in one chunk."""
    path = tmp_path_factory.mktemp("long") / "shop.jsonl"
    simulate(path, events=26_000, customers=1_500)
    batch = first_records(path, 26_000)
    rows = np.flatnonzero(partitions_for(batch.keys, PARTITIONS) == 0)
    keys, values = [batch.keys[row] for row in rows], [batch.values[row] for row in rows]
    return disturbed(RecordingBatch(keys, values, batch.times_ms[rows], 0))


@pytest.mark.parametrize("spare_mb", [2, 4])
def test_worker_whose_memory_is_limited(job: FaultRun, long_partition: RecordingBatch, spare_mb: int) -> None:
    """The system refuses it what a large chunk takes (RLIMIT_DATA): it works smaller ones, or ends.

    How it ends is not promised: a library may crash it where memory is refused. However it does, the next one loses
    nothing, dead-letters nothing, and says nothing again in other words.
    """
    job.send(long_partition)
    with job.worker(spare_mb=spare_mb) as limited:
        done = len(long_partition.keys)
        wait_for(lambda: limited.poll() is not None or job.position() == done, "the end of it, or of its work", 90)
        code = limited.poll()
    said = job.said(limited)
    assert code != 0, said
    assert code is not None or "out of memory" in said
    with job.worker() as successor:
        job.finish(successor)
    job.assert_clean(long_partition)
    intents = [value for values in job.published(job.settings.intents).values() for value in values]
    assert len(set(intents)) == len(without_repeats(intents))


def test_workers_join_and_leave_all_the_time(job: FaultRun, batch: RecordingBatch) -> None:
    """Rebalance after rebalance, a second or so apart, records go on being worked, and each counts once."""
    joins, piece = 6, 400
    sent = 0
    with ExitStack() as stack:
        stays = stack.enter_context(job.worker(session_s=6.0))
        for number in range(joins):
            end = len(batch.keys) if number == joins - 1 else sent + piece
            with job.worker(session_s=6.0) as guest:
                timed(lambda: bool(job.claimed(guest)), "a claim of the guest's", 20)  # at once
                job.send(cut(batch, sent, end))
                guest.terminate()
                job.ends(guest, 0)
            sent = end
            job.finish(stays, timeout_s=20)
        assert job.said(stays).count("Joined group") > joins  # at least as each guest came
    job.assert_clean(batch)
