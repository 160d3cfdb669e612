"""The worker is paused, stopped, starved, joined and left: every event counts once, and nobody waits for long."""

import os
import signal

from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import cut


def test_worker_paused_longer_than_its_session(job: FaultRun, batch: RecordingBatch) -> None:
    """Its partitions go on elsewhere; when it wakes it writes nothing, and keeps nobody from working for long."""
    half = 2_000
    job.send(cut(batch, 0, half))
    with job.worker() as zombie:
        job.wait_until(500, zombie)
        os.kill(zombie.pid, signal.SIGSTOP)
        job.send(cut(batch, half, len(batch.keys) - 400))
        with job.worker() as owner:
            job.wait_until(len(batch.keys) - 400, owner)
            os.kill(zombie.pid, signal.SIGCONT)
            job.send(cut(batch, len(batch.keys) - 400, len(batch.keys)))
            job.finish(owner, zombie, timeout_s=10)
            print(job.logs())
    job.assert_clean(batch)
