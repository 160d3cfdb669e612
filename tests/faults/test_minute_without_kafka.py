"""Kafka is unreachable for a whole minute, and the worker waits as long as it does in production.

A file of its own: it takes long.
"""

from dataclasses import replace
from threading import Thread

import pytest

from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import cut
from tests.services import Service


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_minute_without_kafka(own_job: FaultRun, own_kafka: Service, batch: RecordingBatch, fault: str) -> None:
    """With records on their way, and more that the shop holds ready: the worker waits, unready, and goes on by itself.

    Nothing expires by idle time meanwhile, for nothing that happened meanwhile could arrive.
    """
    job, third = own_job, len(batch.keys) // 3
    away, back = (own_kafka.kill, own_kafka.start) if fault == "killed" else (own_kafka.pause, own_kafka.resume)
    job.settings = replace(job.settings, idle_s=30)
    job.send(cut(batch, 0, third))
    with job.watched_worker() as worker:
        job.wait_until(third // 2, worker)
        shop = Thread(target=job.send, args=(cut(batch, third, 2 * third),))
        away()
        try:
            shop.start()
            job.stays_unready(worker, "kafka")
        finally:
            back()
        shop.join()
        job.becomes_ready(worker)
        job.send(cut(batch, 2 * third, len(batch.keys)))
        job.finish(worker)
        worker.kill()
    job.assert_clean(batch)
