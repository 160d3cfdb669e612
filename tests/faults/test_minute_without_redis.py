"""Redis is away for a whole minute, and the worker waits as long as it does in production.

A file of its own: it takes long.
"""

from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import cut
from tests.services import Service


def test_a_minute_without_redis(job_on_own_redis: FaultRun, own_redis: Service, batch: RecordingBatch) -> None:
    """With records on their way, and more of them meanwhile: the worker waits, unready, and goes on by itself."""
    job, third = job_on_own_redis, len(batch.keys) // 3
    job.send(cut(batch, 0, third))
    with job.watched_worker() as worker:
        job.wait_until(third // 2, worker)
        own_redis.halt()
        job.send(cut(batch, third, 2 * third))
        job.stays_unready(worker, "redis")
        assert "cannot be reached: see that it runs" in job.said(worker)
        own_redis.start()
        job.becomes_ready(worker)
        job.send(cut(batch, 2 * third, len(batch.keys)))
        job.finish(worker)
    job.assert_clean(batch)
