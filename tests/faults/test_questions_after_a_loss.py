"""What comes to the trainer when a worker dies and Redis is lost."""

import signal

import redis

from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import InProcessRun, cut
from tests.soak.learning import Listener, entries_of


def test_every_question_comes_to_the_trainer(job: FaultRun, batch: RecordingBatch) -> None:
    """Killed between commit and publish, and states lost: the records not acknowledged are asked about again."""
    told, half = Listener(), len(batch.keys) // 2
    InProcessRun(batch, job.snapshot, job.settings, to=told)
    job.send(cut(batch, 0, half))
    with job.worker() as worker:
        job.finish(worker)
    job.send(cut(batch, half, len(batch.keys)))
    with job.process("worker", "--records", "300", die_at="before_publish:3") as doomed:
        assert doomed.wait(60) == -signal.SIGKILL, job.logs()
    before = entries_of(job.published(job.settings.examples, 1)[0])
    assert before < told.told
    with redis.Redis.from_url(job.settings.redis_url) as client:
        client.flushdb()
    with job.worker() as worker:
        job.finish(worker)
    assert entries_of(job.published(job.settings.examples, 1)[0]) == told.told
