"""Intents of quiet customers and partitions end, once, each at its own time: after crashes too, and never too early."""

import os
import signal
import subprocess
from dataclasses import replace

import numpy as np
import orjson
import pytest

from streams.children import wait_for
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from tests.faults.running import FaultRun
from tests.job import PARTITIONS, InProcessRun, cut, without_repeats

SHORT = {"horizon_s": 4, "lateness_s": 1, "threshold": 0.02}
"""Intents that live for seconds."""


def later(batch: RecordingBatch) -> RecordingBatch:
    """A batch, and then an event of somebody else in each partition a day later, which lets every deadline pass."""
    names = np.array([f"clock-{n}" for n in range(200)])
    places = partitions_for([name.encode() for name in names], PARTITIONS)
    clocks = [str(names[places == number][0]) for number in range(PARTITIONS)]
    at = int(batch.times_ms.max()) + 86_400_000
    usual = {"kind": "impression", "time": at}
    events = [orjson.dumps(usual | {"event_id": f"e-{name}", "customer_id": name}) for name in clocks]
    keys, times = [name.encode() for name in clocks], np.full(PARTITIONS, at)
    return RecordingBatch(batch.keys + keys, batch.values + events, np.concatenate([batch.times_ms, times]), 0)


@pytest.mark.parametrize("place", ["before_commit", "before_publish"])
def test_quiet_partitions_expire_the_same_after_a_crash(job: FaultRun, batch: RecordingBatch, place: str) -> None:
    """A worker that dies at an idle advance leaves it to the next: each intent expires once, with the same words.

    It is the same that later events would have led to, and it is final: what arrives then fulfils nothing.
    """
    batch = cut(batch, 0, 1_500)
    job.settings = replace(job.settings, idle_s=1, **SHORT)  # type: ignore[arg-type]  # ints and a float
    alone = InProcessRun(later(batch), job.snapshot, job.settings)
    job.send(batch)
    with job.worker(die=place) as doomed:
        job.ends(doomed, -signal.SIGKILL, f"dying {place}")

    def said() -> dict[int, list[bytes]]:
        return {number: without_repeats(it) for number, it in job.published(job.settings.intents).items()}

    with job.worker() as worker:
        wait_for(lambda: said() == dict(alone.intents), "an end for every intent", 40)
        ended = [orjson.loads(value) for values in said().values() for value in values if b'"expired"' in value]
        wish = {name: ended[-1][name] for name in ("customer_id", "detected_at", "intent")}
        late = {"event_id": "late", "kind": "cart_add", "time": wish["detected_at"] + 1, "category": wish["intent"]}
        value = orjson.dumps(late | {"customer_id": wish["customer_id"]})
        job.send(RecordingBatch([wish["customer_id"].encode()], [value], batch.times_ms[:1], 0))
        job.finish(worker)
    assert said() == dict(alone.intents)


def test_quiet_is_not_who_lags(job: FaultRun, batch: RecordingBatch) -> None:
    """A worker that was held up has records to read: they go first, and nothing expires by idle time."""
    job.settings = replace(job.settings, idle_s=3)
    job.send(cut(batch, 0, 300))
    with job.worker(session_s=10.0) as worker:
        job.finish(worker)
        os.kill(worker.pid, signal.SIGSTOP)
        job.send(cut(batch, 300, 600))
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(4)
        os.kill(worker.pid, signal.SIGCONT)
        job.finish(worker)
        worker.kill()
    job.assert_clean(cut(batch, 0, 600))
