"""Kafka is killed, paused, refuses, forgets, or has other partitions: nothing is lost, or it is said what."""

import os
import signal
from dataclasses import replace

import numpy as np
import redis
from kafka import TopicPartition

from features.store import PartitionKey
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import PARTITIONS, InProcessRun, cut, without_repeats
from tests.services import Service


def test_kafka_is_killed_and_comes_back(own_job: FaultRun, own_kafka: Service, batch: RecordingBatch) -> None:
    """The same workers go on by themselves within a bound, and every event counts once."""
    third = len(batch.keys) // 3
    own_job.send(cut(batch, 0, 2 * third))
    with own_job.worker() as worker:
        own_job.wait_until(third, worker)
        own_kafka.kill()
        own_kafka.start()
        own_job.send(cut(batch, 2 * third, len(batch.keys)))
        own_job.finish(worker, timeout_s=30)
    own_job.assert_clean(batch)


def test_kafka_is_away_for_too_long(own_job: FaultRun, own_kafka: Service, batch: RecordingBatch) -> None:
    """After a bound the worker ends with the code that asks for a new start, and says what it waited for."""
    half = len(batch.keys) // 2
    own_job.send(cut(batch, 0, half))
    with own_job.worker(retry_s=2.0, publish_s=2.0) as worker:
        own_job.wait_until(half // 2, worker)
        own_kafka.pause()
        try:
            own_job.ends(worker, os.EX_TEMPFAIL, "worker crashed", timeout_s=60)
        finally:
            own_kafka.resume()
    own_job.send(cut(batch, half, len(batch.keys)))
    with own_job.worker() as worker:
        own_job.finish(worker)
    own_job.assert_clean(batch)


def test_kafka_refuses_intents(job: FaultRun, batch: RecordingBatch) -> None:
    """Intents that a topic does not take stop the worker; what is committed waits in Redis until that is mended."""
    job.send(batch)
    job.configure(job.settings.intents, "max.message.bytes", 200)
    for _ in range(2):
        with job.worker(records=500) as worker:
            job.ends(worker, 1, "CannotPublish", "MessageSizeTooLarge", "what is committed stays in Redis", "doctor")
    assert job.count(job.settings.intents, PARTITIONS) == 0 < job.position() <= 2_000
    job.configure(job.settings.intents, "max.message.bytes", 1_000_000)
    with job.worker() as worker:
        job.finish(worker)
    job.assert_clean(batch)


def test_kafka_loses_the_topic_of_intents(job: FaultRun, batch: RecordingBatch) -> None:
    """A deleted topic stops the worker in clear words; made anew, it gets the outbox first, and all that follows."""
    half = len(batch.keys) // 2
    job.send(cut(batch, 0, half))
    with job.worker(publish_s=2.0) as worker:
        job.finish(worker)
        with job.admin() as admin:
            admin.delete_topics([job.settings.intents])
        job.send(cut(batch, half, len(batch.keys)))
        job.ends(worker, 1, f"there is no topic {job.settings.intents}", "micro-intents topics create")
    job.create(job.settings.intents)
    with job.worker() as worker:
        job.finish(worker)
    alone = InProcessRun(batch, job.snapshot, job.settings)
    before = InProcessRun(cut(batch, 0, half), job.snapshot, job.settings)
    for number, values in job.published(job.settings.intents).items():
        rest = alone.intents[number][len(before.intents[number]) :]
        assert without_repeats(values)[-len(rest) :] == rest
    assert job.states(batch.keys) == alone.states(job.settings, batch.keys)


def test_kafka_deletes_what_was_not_read(job: FaultRun, batch: RecordingBatch) -> None:
    """Records that retention cut away are counted once and said loudly; the rest goes on, each once."""
    half = len(batch.keys) // 2
    job.send(cut(batch, 0, half))
    with job.worker() as worker:
        job.finish(worker)
    job.send(cut(batch, half, len(batch.keys)))
    begin = job.ends_of(job.settings.clickstream)[3] - 10
    at = job.positions()[3]
    with job.admin() as admin:
        admin.delete_records({TopicPartition(job.settings.clickstream, 3): begin})
    for told in (1, 0):
        with job.worker() as worker:
            job.finish(worker)
            words = f"{job.settings.clickstream}/3: records {at} to {begin} were deleted before they were read: "
            assert job.said(worker).count(f"{words}{begin - at} are missing") == told
            assert job.said(worker).count("are missing") == told
    places = partitions_for(batch.keys, PARTITIONS)
    offset = np.array([np.sum(places[:row] == place) for row, place in enumerate(places)])
    gone = (places == 3) & (offset >= at) & (offset < begin)
    left = [b"{" if lost else value for lost, value in zip(gone, batch.values, strict=True)]
    job.assert_clean(replace(batch, values=left))


def test_kafka_has_a_topic_made_anew(job: FaultRun, batch: RecordingBatch) -> None:
    """A topic that ends before what was read of it stops the worker, running or starting, with what to do."""
    job.send(cut(batch, 0, 1_000))
    words = ("was made anew", "MICRO_INTENTS_NAMESPACE")  # told by its id, if that is asked for before the next fetch
    with job.worker() as worker:
        job.finish(worker)
        with job.admin() as admin:
            admin.delete_topics([job.settings.clickstream])
        job.create(job.settings.clickstream)
        job.send(cut(batch, 1_000, 1_200))
        job.ends(worker, 1, *words, timeout_s=60)
    with job.worker() as worker:
        job.ends(worker, 1, "PositionLost", *words)
    assert job.position() == 1_000


def test_kafka_has_a_topic_made_anew_that_has_grown(job: FaultRun, batch: RecordingBatch) -> None:
    """A topic of the same name that is past what was read of the other one stops the worker: its id is another one.

    One that is told to have been restored is worked on.
    """
    job.send(cut(batch, 0, 500))
    with job.worker() as worker:
        job.finish(worker)
    with job.admin() as admin:
        admin.delete_topics([job.settings.clickstream])
    job.create(job.settings.clickstream)
    job.send(cut(batch, 0, 500))
    job.send(cut(batch, 500, 2_500))
    with job.worker() as worker:
        job.ends(worker, 1, "TopicMadeAnew", "was made anew: its id is", "MICRO_INTENTS_NAMESPACE", "redis-cli HDEL")
    assert job.position() == 500
    with redis.Redis.from_url(job.settings.redis_url) as client:
        for number in range(PARTITIONS):
            client.hdel(
                f"{PartitionKey(job.settings.namespace, job.settings.clickstream, number).prefix}meta", "topic_id"
            )
    job._sent -= np.bincount(partitions_for(batch.keys[:500], PARTITIONS), minlength=PARTITIONS)
    with job.worker() as worker:
        job.finish(worker)
    job.assert_clean(cut(batch, 0, 2_500))


def test_kafka_has_a_topic_made_anew_that_has_grown_under_a_worker(job: FaultRun, batch: RecordingBatch) -> None:
    """A worker that sees nothing of it but other records, for it was paused, is told by the id, and claims nothing."""
    job.send(cut(batch, 0, 500))
    with job.worker(session_s=30.0, metadata_s=60.0) as worker:
        job.finish(worker)
        before = len(job.said(worker))
        worker.send_signal(signal.SIGSTOP)
        with job.admin() as admin:
            admin.delete_topics([job.settings.clickstream])
        job.create(job.settings.clickstream)
        job.send(batch)
        worker.send_signal(signal.SIGCONT)
        job.ends(worker, 1, "TopicMadeAnew", "was made anew: its id is")
        assert not job.claimed(worker, after=before)


def test_kafka_has_more_partitions_than_before(job: FaultRun, batch: RecordingBatch) -> None:
    """Grown under a running worker, or before it starts: it stops before anything is counted in the wrong place."""
    job.send(cut(batch, 0, 1_000))
    words = ("has 12 partitions, but its states were made when it had 8", "MICRO_INTENTS_NAMESPACE")
    with job.worker() as worker:
        job.finish(worker)
        with job.admin() as admin:
            admin.create_partitions({job.settings.clickstream: 12})
        job.ends(worker, 1, *words)
    with job.worker() as worker:
        job.ends(worker, 1, *words)
    assert job.position() == 1_000


def test_kafka_has_fewer_partitions_of_intents(job: FaultRun, batch: RecordingBatch) -> None:
    """Where intents cannot go to the partition of their events, the worker stops before it works any."""
    job.send(cut(batch, 0, 100))
    job.settings = replace(job.settings, intents=job.settings.intents + "-few")
    job.create(job.settings.intents, 4)
    with job.worker() as worker:
        job.ends(worker, 1, "has 4 partitions and", "it must have as many")
    assert job.position() == 0
