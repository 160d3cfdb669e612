"""A worker on a real Kafka whose Redis is killed, stopped, frozen, full, cut off or set up wrongly; and on a cluster.

Whatever happens, states and intents are at the end those of a clean run in process, byte for byte.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import orjson
import pytest
import redis
from redis.crc import key_slot

from features.store import PartitionKey
from streams.children import wait_for
from streams.recordings import RecordingBatch
from streams.settings import Settings
from tests.conftest import own_settings, with_topics
from tests.features.cutting_proxy import CuttingProxy, Fault
from tests.features.redis_cluster import Cluster
from tests.features.secured_redis import PASSWORD, QUOTED, start_secured
from tests.job import PARTITIONS, ROOT, InProcessRun, KafkaRun, cut, disturbed, first_records, learned, without_repeats
from tests.services import Service

LEARNED = 8_000
RUN = 3_000


@pytest.fixture(scope="module")
def taobao(recordings: Path) -> tuple[bytes, RecordingBatch]:
    """A snapshot learned on the first records of the Taobao recording, and the next ones, late and twice in part."""
    batch = first_records(recordings / "taobao_user_behavior.csv.gz", LEARNED + RUN)
    return learned(cut(batch, 0, LEARNED)), disturbed(cut(batch, LEARNED, LEARNED + RUN))


class Job(KafkaRun):
    """A job with a frozen model that sends its records bit by bit."""

    def __init__(self, settings: Settings, folder: Path, snapshot: bytes, batch: RecordingBatch) -> None:
        super().__init__(settings, folder)
        Path(settings.model).write_bytes(snapshot)
        self.snapshot, self.batch, self.sent = snapshot, batch, 0

    def more(self, records: int) -> None:
        """Send the next records."""
        self.send(cut(self.batch, self.sent, self.sent + records))
        self.sent = min(self.sent + records, len(self.batch.keys))

    def rest(self, *alive: subprocess.Popen[bytes]) -> None:
        """Send what is left and wait until all is worked."""
        self.more(len(self.batch.keys))
        self.finish(*alive)

    def equals_a_clean_run(self) -> None:
        """Assert that states are those of a run in process, and intents too, but for repeats of the same."""
        alone = InProcessRun(self.batch, self.snapshot, self.settings)
        published = self.published(self.settings.intents)
        statuses = Counter(orjson.loads(value)["status"] for values in published.values() for value in values)
        assert statuses["detected"] >= 50 and statuses["expired"] >= 20, statuses
        assert {number: without_repeats(values) for number, values in published.items()} == {
            number: alone.intents[number] for number in published
        }
        assert self.states(self.batch.keys) == alone.states(self.settings, self.batch.keys)


MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(kafka: Service, tmp_path: Path, taobao: tuple[bytes, RecordingBatch]) -> MakeJob:
    """Makes the test's job, empty, on the Redis at a URL."""

    def make(redis_url: str, timeout_s: float = 5.0) -> Job:
        url = f"{redis_url}{'&' if '?' in redis_url else '?'}socket_timeout={timeout_s}"
        own = own_settings(kafka.bootstrap, tmp_path, redis_url=url, model=str(tmp_path / "frozen.snapshot"))
        return Job(with_topics(own), tmp_path, *taobao)

    return make


def seconds(count: float) -> None:
    """Let a fault last."""
    until = time.monotonic() + count
    wait_for(lambda: time.monotonic() > until, "the time to pass", count + 60)


def test_redis_killed_and_restarted_with_aof(make_job: MakeJob, own_redis: Service) -> None:
    """Redis dies (kill -9) twice while events flow, and comes back with its append-only file: nothing is lost."""
    job = make_job(own_redis.url)
    job.more(500)
    with job.process() as worker:
        for at in (300, 1_000):
            job.wait_until(at, worker)
            job.more(800)
            own_redis.kill()
            wait_for(lambda: job.logs().count("cannot be reached") > 0, "the worker to notice")
            own_redis.start()
        job.rest(worker)
    job.equals_a_clean_run()


@contextmanager
def impatient_worker(job: Job, retry_for_s: float) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that waits for so long only; killed at the end, if it still runs."""
    path = job.folder / "settings.json"
    path.write_bytes(orjson.dumps(asdict(job.settings)))
    command = [sys.executable, "-m", "tests.impatient_worker", str(path), str(retry_for_s)]
    with (job.folder / "impatient.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_redis_away_for_too_long(make_job: MakeJob, own_redis: Service) -> None:
    """After the time to retry the worker ends with code 75 and says what to do; the next one goes on from there."""
    job = make_job(own_redis.url)
    job.more(500)
    with impatient_worker(job, 2.0) as worker:
        job.wait_until(300, worker)
        own_redis.halt()
        job.more(500)
        assert worker.wait(60) == os.EX_TEMPFAIL
    said = (job.folder / "impatient.log").read_text()
    assert "worker crashed" in said and "it cannot be reached: see that it runs and that the address is right" in said
    own_redis.start()
    with job.process() as worker:
        job.rest(worker)
    job.equals_a_clean_run()


def test_redis_frozen_for_five_seconds(make_job: MakeJob, own_redis: Service) -> None:
    """Redis hangs for 5 s (SIGSTOP), longer than a call may take, with commits on the way: each is applied once."""
    job = make_job(own_redis.url, timeout_s=1.0)
    job.more(500)
    with job.process() as worker:
        for at in (200, 900):
            job.wait_until(at, worker)
            job.more(600)
            own_redis.pause()
            try:
                seconds(5)
            finally:
                own_redis.resume()
        job.rest(worker)
        assert "did not answer in time" in job.logs()
    job.equals_a_clean_run()


def test_redis_full(make_job: MakeJob, own_redis: Service) -> None:
    """A full Redis refuses commits whole: the worker says so and waits, nothing is evicted; with room it goes on."""
    job = make_job(own_redis.url)
    job.more(500)
    with redis.Redis.from_url(own_redis.url) as raw, job.process() as worker:
        job.wait_until(500, worker)
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] + 30_000)
        job.more(1_500)
        wait_for(lambda: "it is out of memory: raise its maxmemory" in job.logs(), "the worker's warning")

        def waits() -> bool:  # others' partitions may still fit in
            at = job.position()
            seconds(2)
            return job.position() == at

        wait_for(waits, "a worker that waits", 30)
        assert job.position() < 2_000
        assert worker.poll() is None
        states = job.states(job.batch.keys[:500])
        assert all(state is not None for state in states.values())
        assert raw.info("stats")["evicted_keys"] == 0
        raw.config_set("maxmemory", 0)
        job.rest(worker)
    job.equals_a_clean_run()


def test_a_worker_refuses_a_redis_that_evicts(make_job: MakeJob, own_redis: Service) -> None:
    """On a Redis that deletes keys when it is full the worker stops before its first claim, and says what to set."""
    job = make_job(own_redis.url)
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.config_set("maxmemory-policy", "allkeys-lru")
        with job.process() as worker:
            assert worker.wait(60) == 1
        assert "CONFIG SET maxmemory-policy noeviction" in job.said(worker)
        assert raw.dbsize() == 0
        raw.config_set("maxmemory-policy", "volatile-lru")  # no key of ours expires
        job.more(100)
        with job.process() as worker:
            job.finish(worker)
        assert "maxmemory-policy is volatile-lru" in job.said(worker)


def test_a_redis_that_does_not_say_how_it_is_set_up(make_job: MakeJob, own_redis: Service) -> None:
    """Where INFO is denied the worker says what it cannot see, once, and works."""
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.execute_command("ACL SETUSER shy on nopass ~* +@all -info")
    job = make_job(own_redis.url.replace("://", "://shy:x@"))
    job.more(100)
    with job.process() as worker:
        job.finish(worker)
    assert job.said(worker).count("whether Redis evicts states cannot be seen") == 1


def test_a_worker_through_tls_as_an_acl_user(make_job: MakeJob, tmp_path: Path) -> None:
    """With the documented user's rights, and no others, a worker works through TLS; its log holds no password."""
    job = make_job("")
    for secured in start_secured(tmp_path, f"{job.settings.namespace}:{job.settings.clickstream}"):
        job.settings = replace(job.settings, redis_url=secured.url("worker"))
        with job.process() as worker:
            job.rest(worker)
        assert "cannot be seen" not in job.logs()
        assert PASSWORD not in job.logs() and QUOTED not in job.logs()
        job.equals_a_clean_run()


class ProxyThread:
    """A cutting proxy in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.proxy = CuttingProxy(url)
        self._thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.proxy.__aenter__(), self.loop).result()
        return self.proxy

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.__aexit__(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def test_connections_cut_in_the_middle_of_commits(make_job: MakeJob, own_redis: Service) -> None:
    """Cut before, within and after the script, once or until the store gives up, or mute: each commit counts once."""
    series = [[Fault.BEFORE], [Fault.HALF], [Fault.AFTER], [Fault.AFTER] * 2, [Fault.AFTER] * 4, [Fault.HALF] * 4]
    series += [[Fault.BEFORE] * 4, [Fault.MUTE], [Fault.AFTER, Fault.HALF, Fault.MUTE, Fault.AFTER]]
    with ProxyThread(own_redis.url) as proxy:
        job = make_job(proxy.url, timeout_s=1.0)
        job.more(200)
        with job.process() as worker:
            for number, faults in enumerate(series):
                job.wait_until(200 + 100 * number, worker)
                proxy.faults = list(faults)
                job.more(100)
                wait_for(lambda: not proxy.faults, "the cuts")
            job.rest(worker)
        assert len(proxy.lost) >= 8
    job.settings = replace(job.settings, redis_url=own_redis.url)
    job.equals_a_clean_run()


def in_turn(*calls: Callable[[], None]) -> Callable[[], None]:
    """Makes one of the calls after another, each time that it is called."""
    left = list(calls)
    return lambda: left.pop(0)()


def another(job: Job, words: str) -> None:
    """Wait until the worker says the words once more."""
    before = job.logs().count(words)
    wait_for(lambda: job.logs().count(words) > before, words)


def test_a_slot_moves_while_a_worker_works(make_job: MakeJob) -> None:
    """On a cluster of three nodes, partitions' slots move while events flow: states and intents are a clean run's."""
    with Cluster() as cluster:
        job = make_job(cluster.url_of(0), timeout_s=1.0)
        keys = [PartitionKey(job.settings.namespace, job.settings.clickstream, number) for number in range(PARTITIONS)]
        job.more(500)
        with job.process() as worker:
            for number, key in enumerate(keys[:4]):
                job.wait_until(400 + 400 * number, worker)
                slot = key_slot(key.prefix.encode())
                source = cluster.owner(slot)
                target = next(node for node in cluster.nodes if node is not source)
                waits = partial(another, job, "moving the partition's slot")
                cluster.move(slot, target, meanwhile=in_turn(lambda: job.more(400), waits))
                assert cluster.owner(slot) is target
            job.rest(worker)
        job.equals_a_clean_run()
