"""Kafka is unreachable for a whole minute, and the worker waits as long as it does in production.

A file of its own: it takes long.
"""

from dataclasses import replace

import pytest

from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import cut
from tests.services import Service

TICKED = "ticked"


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_minute_without_kafka(own_job: FaultRun, own_kafka: Service, batch: RecordingBatch, fault: str) -> None:
    """The worker waits, unready, and goes on by itself.

    Nothing expires by idle time meanwhile, nor when Kafka answers again that there is no more: what happened meanwhile
    is still on its way.
    """
    job, half = own_job, len(batch.keys) // 2
    away, back = (own_kafka.kill, own_kafka.start) if fault == "killed" else (own_kafka.pause, own_kafka.resume)
    job.settings = replace(job.settings, idle_s=45)
    job.send(cut(batch, 0, half))
    with job.watched_worker(tell_ticks=TICKED) as worker:
        job.finish(worker)
        before = [cursor.watermark_ms for cursor in job.cursors()]
        away()
        try:
            job.stays_unready(worker, "kafka")
        finally:
            back()
        job.becomes_ready(worker)
        job.says_again(worker, TICKED, 2)  # the first may have begun before
        assert [cursor.watermark_ms for cursor in job.cursors()] == before
        job.send(cut(batch, half, len(batch.keys)))
        job.finish(worker)
        worker.kill()
    job.assert_clean(batch)
