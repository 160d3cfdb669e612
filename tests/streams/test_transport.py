"""Record batches: real worker processes on a real Kafka. What they finish they write down, and that is judged."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from faust.types import TP, StreamT

from sinks.records import Record
from streams import transport_chunks
from streams.children import free_port, wait_for
from streams.partitioner import partition_for
from streams.transport import ChunkApp, PublishAgain, RecordChunk, SeekFailed, chunk_app
from streams.transport_chunks import ChunkConsumer
from tests.conftest import TopicFactory
from tests.services import Service

ROOT = Path(__file__).parents[2]


class Worker:
    """A worker process of `transport_program`, in a directory of its own, and what it wrote down."""

    def __init__(self, directory: Path, **options: Any) -> None:
        directory.mkdir()
        self.out, self.log = directory / "out.jsonl", directory / "log"
        self.out.touch()
        self.home = directory / "home"
        self.home.mkdir()
        given = json.dumps({**options, "out": str(self.out)})
        command = [sys.executable, "-m", "tests.streams.transport_program", given]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Lines that have `kind` in them: end (finished chunks), began, assigned, revoked."""
        lines = [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if kind in line]

    def values(self) -> list[int]:
        """Values in the order in which they were finished."""
        return [int(value) for chunk in self.lines("end") for value in chunk["values"]]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for `condition`, or fail with the log when the process ends."""

        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return condition()

        wait_for(holds, what, 40.0)

    def wait_for_end(self, end: int) -> None:
        """Wait until the last chunk finished ends there."""
        self.wait(lambda: [chunk["end"] for chunk in self.lines("end")][-1:] == [end], f"a chunk that ends at {end}")

    def code(self) -> int:
        """Exit code of a process that is ending."""
        return self.process.wait(20.0)

    def stop(self) -> None:
        """End it as a supervisor does; it must be clean, and quick."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.code() == 0, self.log.read_text()[-3000:]
        assert time.monotonic() - began < 5.0

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


class Setting:
    """One topic, one group, the workers on them, and a feed of records whose values count up from 0."""

    def __init__(self, bootstrap: str, topic: str, directory: Path, partitions: int) -> None:
        self.bootstrap, self.topic, self.directory, self.partitions = bootstrap, topic, directory, partitions
        self.fed = 0
        self.workers: list[Worker] = []

    def feed(self, count: int, pad: int = 0) -> None:
        """Write `count` more records, to the partitions in turn, keyed k0 to k9; `pad` adds leading zeros."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 1})
        for value in range(self.fed, self.fed + count):
            while len(producer) > 50_000:
                producer.poll(0.05)
            producer.produce(self.topic, b"%0*d" % (pad, value), b"k%d" % (value % 10), value % self.partitions)
        assert producer.flush(30) == 0
        self.fed += count

    def worker(self, **options: Any) -> Worker:
        """Start a worker of the group."""
        directory = self.directory / f"worker{len(self.workers)}"
        given = {"broker": self.bootstrap, "topic": self.topic, "group": self.topic}
        self.workers.append(Worker(directory, **given | options))
        return self.workers[-1]

    def all_values(self) -> list[int]:
        """What all workers finished."""
        return [value for worker in self.workers for value in worker.values()]

    def committed(self) -> list[int]:
        """The group's committed offset of each partition, -1 where there is none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.topic})
        partitions = [TopicPartition(self.topic, number) for number in range(self.partitions)]
        offsets = [max(partition.offset, -1) for partition in consumer.committed(partitions, 10.0)]
        consumer.close()
        return offsets


def read_all(bootstrap: str, topic: str, partition: int, count: int) -> list[Message]:
    """The first `count` messages of a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    while len(found) < count:
        messages = consumer.consume(count - len(found), 10.0)
        assert messages, f"only {len(found)} of {count}"
        found.extend(messages)
    consumer.close()
    return found


def pauses(kafka: Service) -> None:
    """Skip the test where Kafka is not a process of ours."""
    if kafka.control is None or not kafka.control.pid:
        pytest.skip("a Kafka that is not ours is neither paused nor killed")


Make = Callable[..., Setting]


@pytest.fixture
def setting(kafka: Service, topic_factory: TopicFactory, tmp_path: Path) -> Iterator[Make]:
    """Makes settings on the real Kafka; their workers end with the test."""
    made: list[Setting] = []

    def make(partitions: int = 1) -> Setting:
        topic = topic_factory("chunks", partitions)
        made.append(Setting(kafka.bootstrap, topic, tmp_path, partitions))
        return made[-1]

    yield make
    for each in made:
        for worker in each.workers:
            worker.kill()


def assert_contiguous(chunks: list[dict[str, Any]], largest: int) -> None:
    """Within a generation, each chunk of a partition starts where the last one ended, and is not too large."""
    ends: dict[tuple[int, int], int] = {}
    for chunk in chunks:
        partition = (chunk["partition"], chunk["generation"])
        assert chunk["start"] == ends.get(partition, chunk["start"])
        assert chunk["start"] <= chunk["offsets"][0]
        assert chunk["offsets"] == sorted(set(chunk["offsets"]))
        assert chunk["end"] == chunk["offsets"][-1] + 1
        assert 0 < len(chunk["values"]) <= largest
        ends[partition] = chunk["end"]


def test_every_record_once_in_order_and_committed(setting: Make) -> None:
    """Chunks of several partitions come whole and in order; a clean stop commits to the end and leaves no trace."""
    at = setting(partitions=4)
    at.feed(20_000)
    worker = at.worker(max_records=700)
    worker.wait(lambda: len(worker.values()) == at.fed, "all records")
    chunks = worker.lines("end")
    assert_contiguous(chunks, 700)
    assert max(len(chunk["values"]) for chunk in chunks) == 700
    for partition in range(4):
        mine = [chunk for chunk in chunks if chunk["partition"] == partition]
        assert mine[0]["start"] == 0
        assert [int(value) for chunk in mine for value in chunk["values"]] == list(range(partition, at.fed, 4))
    assert min(stamp for chunk in chunks for stamp in chunk["stamps"]) > 1_600_000_000_000
    at.feed(1)
    worker.wait(lambda: len(worker.values()) == at.fed, "the last record")
    assert worker.lines("end")[-1]["values"] == ["20000"]  # alone: nothing waits for company
    worker.wait(lambda: at.committed()[0] == 5_001, "a commit while it runs")
    at.feed(1)
    worker.wait(lambda: len(worker.values()) == at.fed, "one more record")
    worker.stop()
    assert at.committed() == [5_001, 5_001, 5_000, 5_000]
    assert list(worker.home.iterdir()) == []


def test_nothing_is_missing_after_a_kill(setting: Make) -> None:
    """What a killed worker had not committed comes again; a static member takes its place at once."""
    at = setting(partitions=2)
    at.feed(6_000)
    first = at.worker(max_records=100, chunk_takes_s=0.05, instance_id="one", session_timeout_s=35.0)
    first.wait(lambda: len(first.values()) > 1_000 and max(at.committed()) > 0, "some chunks and a commit")
    first.kill()
    second = at.worker(max_records=1_000, instance_id="one", session_timeout_s=35.0)
    began = time.monotonic()
    second.wait(lambda: set(at.all_values()) == set(range(at.fed)), "all records")
    assert time.monotonic() - began < 30.0  # sooner than the dead member would have been missed
    assert_contiguous(second.lines("end"), 1_000)
    assert len(second.values()) < at.fed  # it did not begin at the beginning
    second.stop()
    assert at.committed() == [3_000, 3_000]


def test_start_positions_are_honoured(setting: Make) -> None:
    """A worker starts where it is told, before or after the committed offset; where it is told nothing, at that one."""
    at = setting(partitions=1)
    at.feed(100)
    for told, start in (({"0": -1}, 0), ({"0": 40}, 40), ({"0": -1}, 100), ({"0": 103}, 103)):
        at.feed(5 if start >= 100 else 0)
        worker = at.worker(positions=told)
        worker.wait_for_end(at.fed)
        first = worker.lines("end")[0]
        assert (first["start"], first["offsets"][0], int(first["values"][0])) == (start, start, start)
        worker.stop()
        assert at.committed() == [at.fed]


def test_positions_that_take_too_long_are_kafkas(setting: Make) -> None:
    """When the positions' store does not answer within two seconds, the worker starts at Kafka's committed offsets."""
    at = setting(partitions=1)
    at.feed(10)
    worker = at.worker(positions={"0": 7}, positions_take_s=6.0)
    worker.wait(lambda: worker.values() == list(range(10)), "all records")
    assert "no start positions" in worker.log.read_text()


def test_a_position_past_the_end_stops_the_worker(setting: Make) -> None:
    """A topic shorter than what was read of it was made anew: the worker says so and ends, rather than drop records."""
    at = setting(partitions=1)
    at.feed(10)
    worker = at.worker(positions={"0": 11})
    assert worker.code() == 1
    assert "ends at 10, but was read up to 11" in worker.log.read_text()


def test_transaction_markers_leave_no_hole_between_chunks(setting: Make) -> None:
    """Aborted records are not seen; their offsets and the markers' lie inside chunks, and the commit goes past them."""
    at = setting(partitions=1)
    producer = Producer({"bootstrap.servers": at.bootstrap, "transactional.id": at.topic})
    producer.init_transactions(10.0)
    commit, abort = producer.commit_transaction, producer.abort_transaction
    for first, end in ((0, commit), (100, abort), (5, commit)):
        producer.begin_transaction()
        for value in range(first, first + 5):
            producer.produce(at.topic, str(value).encode(), partition=0)
        producer.flush()  # else an abort would take them back before they are sent
        end(10.0)
    worker = at.worker(max_records=3)
    worker.wait(lambda: worker.values() == list(range(10)), "the committed records")
    chunks = worker.lines("end")
    assert_contiguous(chunks, 3)
    assert [offset for chunk in chunks for offset in chunk["offsets"]] == [0, 1, 2, 3, 4, 12, 13, 14, 15, 16]
    worker.stop()
    assert at.committed() == [17]


@pytest.mark.parametrize("kept", ["positions in a store", "offsets in Kafka"])
def test_rebalances_lose_nothing(setting: Make, kept: str) -> None:
    """Workers join, leave and die while records flow: all are read; with a store's positions, all are applied once."""
    at = setting(partitions=4)
    store = str(at.directory / "store.sqlite")
    options: dict[str, Any] = {"max_records": 50, "chunk_takes_s": 0.005, "session_timeout_s": 3.0}
    options |= {"store": store} if kept == "positions in a store" else {}

    def flowing(condition: Callable[[], bool]) -> Callable[[], bool]:
        def holds() -> bool:
            at.feed(200)
            return condition()

        return holds

    def assigned(worker: Worker) -> int:
        return len(worker.lines("assigned")[-1]["assigned"]) if worker.lines("assigned") else 0

    def both_at_work() -> bool:
        return {assigned(stays), assigned(at.workers[-1])} == {2} and len(at.workers[-1].values()) > 500

    stays = at.worker(**options)
    stays.wait(flowing(lambda: len(stays.values()) > 1_000), "the first worker at work")
    for end in (Worker.stop, Worker.kill, Worker.stop):
        at.worker(**options).wait(flowing(both_at_work), "both at work")
        end(at.workers[-1])
        stays.wait(flowing(lambda: assigned(stays) == 4), "the partitions' return")
    stays.wait(lambda: set(at.all_values()) == set(range(at.fed)), "all records")
    assert len(stays.lines("revoked")[-1]["revoked"]) == 2
    for worker in at.workers:
        assert_contiguous(worker.lines("end"), 50)
    stays.wait(lambda: at.committed() == [at.fed // 4] * 4, "the commit to the end")
    if kept == "positions in a store":
        applied = sqlite3.connect(store).execute("select partition, cast(value as integer) from applied order by rowid")
        rows = applied.fetchall()
        for partition in range(4):
            assert [value for own, value in rows if own == partition] == list(range(partition, at.fed, 4))


def test_a_slow_agent_holds_the_fetching_back(setting: Make) -> None:
    """With 150 MB to read and an agent that hangs, the worker keeps its memory, and its place in the group."""
    at = setting(partitions=4)
    at.feed(300_000, pad=500)
    worker = at.worker(max_records=1_000, chunk_takes_s=0.5, session_timeout_s=3.0)
    worker.wait(lambda: len(worker.lines("began")) > 10, "ten chunks")
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) // 1024
    assert peak_mb < 160
    assert len(worker.lines("assigned")) == 1


def test_a_full_queue_and_an_idle_partition_do_not_stall(setting: Make) -> None:
    """However small the queue, and with nothing to fetch from a second partition, the agent never waits for long."""
    at = setting(partitions=2)
    producer = Producer({"bootstrap.servers": at.bootstrap})
    for value in range(40_000):
        producer.produce(at.topic, b"%0500d" % value, partition=0)
    producer.flush()
    worker = at.worker(max_records=250, chunk_takes_s=0.02)
    worker.wait(lambda: bool(worker.lines("began")), "the first chunk")
    began = time.monotonic()
    worker.wait_for_end(40_000)
    assert time.monotonic() - began < 12.0  # 160 chunks of 0.02 s


def test_a_chunk_cut_short_by_a_stop_is_not_committed(setting: Make) -> None:
    """The chunk that a stop interrupts comes again, although Faust acknowledges it; those before it do not."""
    at = setting(partitions=1)
    at.feed(100)
    worker = at.worker(max_records=10, chunk_takes_s=0.3)
    worker.wait(lambda: len(worker.lines("began")) > 3, "the fourth chunk")
    worker.stop()
    finished = worker.lines("end")[-1]["end"]
    assert worker.lines("began")[-1]["began"] == finished + 10
    assert at.committed() == [finished]


def test_an_exception_in_the_agent_stops_the_worker(setting: Make) -> None:
    """An exception that leaves the agent ends the worker with code 1, and commits nothing of the chunk or after it."""
    at = setting(partitions=1)
    at.feed(20)
    Producer({"bootstrap.servers": at.bootstrap}).produce(at.topic, b"poison", partition=0)
    producer = Producer({"bootstrap.servers": at.bootstrap})
    producer.produce(at.topic, b"poison", partition=0)
    producer.flush()
    at.feed(20)
    worker = at.worker(max_records=10)
    assert worker.code() == 1
    assert worker.values() == list(range(20))
    assert "ArithmeticError: poison" in worker.log.read_text()
    assert at.committed() == [20]


def test_rewinding_drops_what_is_queued(setting: Make) -> None:
    """After a rewind the next chunk is the one asked for, of a new generation, and the commit ends at the end."""
    at = setting(partitions=1)
    at.feed(60)
    worker = at.worker(max_records=10, rewinds={"30": 10, "50": 5})
    wanted = [10, 20, 30, 20, 30, 40, 50, 15, 25, 35, 45, 55, 60]
    worker.wait(lambda: [chunk["end"] for chunk in worker.lines("end")] == wanted, "the end after two rewinds")
    assert len({chunk["generation"] for chunk in worker.lines("end")}) == 3
    assert_contiguous(worker.lines("end"), 10)
    worker.stop()
    assert at.committed() == [60]


async def _crash(app: ChunkApp, before_stop: Callable[[], None] = lambda: None) -> BaseException | None:
    """Run the app in this process until it crashes; returns why."""
    starting = asyncio.create_task(app.start())
    try:
        await asyncio.wait_for(app.wait_until_stopped(), 30.0)
    finally:
        before_stop()
        await app.stop()
    starting.cancel()
    return app.crash_reason


def test_records_fetched_before_the_seek_are_not_handed_out(setting: Make) -> None:
    """A fetch between assignment and seek finds other records than those sought: it yields nothing."""
    at = setting(partitions=1)
    at.feed(10)
    early: list[dict[TP, list[Any]]] = []
    chunks: list[RecordChunk] = []

    async def start_positions(partitions: frozenset[TP]) -> dict[TP, int]:
        consumer = cast(ChunkConsumer, app.consumer)
        early.append(dict(await consumer._getmany(set(partitions), 1.0)))
        return dict.fromkeys(partitions, 5)

    app = chunk_app(at.topic, broker=at.bootstrap, start_positions=start_positions)

    @app.agent(app.topic(at.topic), name="test.read")
    async def read(stream: StreamT[RecordChunk]) -> None:
        async for chunk in stream:
            chunks.append(chunk)
            raise EOFError

    assert isinstance(asyncio.run(_crash(app)), EOFError)
    assert early == [{}]
    assert [(chunk.start, chunk.offsets.tolist()) for chunk in chunks] == [(5, [5, 6, 7, 8, 9])]


def test_a_seek_that_hangs_ends_the_worker(setting: Make, kafka: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Kafka hangs during the seek, the worker crashes, to be started again: Faust would do nothing for ever."""
    at = setting(partitions=1)
    pauses(kafka)
    monkeypatch.setattr(transport_chunks, "SEEK_TIMEOUT_S", 1.0)

    async def start_positions(partitions: frozenset[TP]) -> dict[TP, int]:
        kafka.pause()
        return {}

    app = chunk_app(at.topic, broker=at.bootstrap, start_positions=start_positions)

    @app.agent(app.topic(at.topic), name="test.read")
    async def read(stream: StreamT[RecordChunk]) -> None:
        async for _ in stream:
            pass

    assert isinstance(asyncio.run(_crash(app, before_stop=kafka.resume)), SeekFailed)


def test_a_worker_outlives_its_broker(setting: Make, kafka: Service, topic_factory: TopicFactory) -> None:
    """When the broker is killed and comes back, the same worker goes on reading, publishing and committing."""
    pauses(kafka)
    at = setting(partitions=2)
    at.feed(1_000)
    copies = topic_factory("copies", 2)
    worker = at.worker(copy_to=copies, max_records=10, chunk_takes_s=0.01)
    worker.wait(lambda: len(worker.values()) > 200, "some records")
    kafka.kill()
    kafka.start()
    at.feed(1_000)
    worker.wait(lambda: set(worker.values()) == set(range(2_000)), "all records")
    worker.stop()
    assert at.committed() == [1_000, 1_000]


def test_an_absent_broker_is_worth_a_retry() -> None:
    """A worker that finds no broker ends with the code that asks for another start."""
    command = "import sys; from streams.transport import *; sys.exit(run_worker(chunk_app('x', broker=sys.argv[1])))"
    arguments = [sys.executable, "-c", command, f"127.0.0.1:{free_port()}"]
    ended = subprocess.run(arguments, cwd=ROOT, timeout=30, check=False)
    assert ended.returncode == os.EX_TEMPFAIL


def test_a_stop_does_not_wait_for_a_hanging_broker(setting: Make, kafka: Service) -> None:
    """With a broker that does not answer, SIGTERM ends the worker within five seconds, and not as a clean stop."""
    pauses(kafka)
    at = setting(partitions=1)
    at.feed(10)
    worker = at.worker()
    worker.wait(lambda: len(worker.values()) == 10, "all records")
    kafka.pause()
    try:
        worker.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert worker.code() == 1
        assert time.monotonic() - began < 5.0
    finally:
        kafka.resume()


async def _publishing(app: ChunkApp, steps: Callable[[], Any]) -> None:
    app.producer_only = True
    await app.start()
    try:
        await steps()
    finally:
        await app.stop()


def test_published_records_are_kept_whole_and_in_order(kafka: Service, topic_factory: TopicFactory) -> None:
    """Key, value, headers, partition and order arrive as given; without a partition, murmur2 of the key decides."""
    topic, hashed = topic_factory("published", 3), topic_factory("hashed", 8)
    app = chunk_app("publisher", broker=kafka.bootstrap)
    records = [Record(topic, i % 3, b"key%d" % i, b"%d" % i, [("a", b"1"), ("b", b"\xff")]) for i in range(3_000)]

    async def steps() -> None:
        await app.publish(records)
        await app.publish([Record(hashed, None, b"customer", b"x")])
        await app.publish([])

    asyncio.run(_publishing(app, steps))
    for partition in range(3):
        found = read_all(kafka.bootstrap, topic, partition, 1_000)
        sent = [(record.key, record.value, record.headers) for record in records[partition::3]]
        assert [(message.key(), message.value(), message.headers()) for message in found] == sent
    assert read_all(kafka.bootstrap, hashed, partition_for(b"customer", 8), 1)[0].key() == b"customer"


def test_a_refused_record_does_not_stop_the_next(kafka: Service, topic_factory: TopicFactory) -> None:
    """A record over the topic's limit surfaces as such; then the same partition takes records again."""
    topic = topic_factory("limited", 1, {"max.message.bytes": "2000"})
    app = chunk_app("publisher", broker=kafka.bootstrap)

    async def steps() -> None:
        await app.publish([Record(topic, 0, None, b"before")])
        with pytest.raises(MessageSizeTooLargeError):
            await app.publish([Record(topic, 0, None, b"x" * 5_000)])
        await app.publish([Record(topic, 0, None, b"after")])

    asyncio.run(_publishing(app, steps))
    assert [message.value() for message in read_all(kafka.bootstrap, topic, 0, 2)] == [b"before", b"after"]


def test_records_not_acknowledged_are_to_be_published_again(kafka: Service, topic_factory: TopicFactory) -> None:
    """While the broker hangs, publishing ends with PublishAgain after its time; when it is back, the retry arrives."""
    pauses(kafka)
    topic = topic_factory("again", 1)
    app = chunk_app("publisher", broker=kafka.bootstrap)

    async def steps() -> None:
        await app.publish([Record(topic, 0, None, b"before")])
        kafka.pause()
        try:
            with pytest.raises(PublishAgain):
                await app.publish([Record(topic, 0, None, b"again")], timeout_s=0.5)
        finally:
            kafka.resume()
        await app.publish([Record(topic, 0, None, b"again")])

    asyncio.run(_publishing(app, steps))
    found = [cast(bytes, message.value()) for message in read_all(kafka.bootstrap, topic, 0, 2)]
    assert found == [b"before", b"again"]


def test_the_embedded_broker_will_do(embedded_broker: str, tmp_path: Path) -> None:
    """Against librdkafka's mock cluster a worker reads, publishes idempotently and commits all the same."""
    at = Setting(embedded_broker, "mocked", tmp_path, 1)
    at.feed(3_000)
    worker = at.worker(copy_to="copies")
    try:
        worker.wait(lambda: len(worker.values()) == 3_000, "all records")
        worker.stop()
    finally:
        worker.kill()
    assert worker.values() == list(range(3_000))
    assert at.committed() == [3_000]
    copies = read_all(embedded_broker, "copies", 0, 3_000)
    assert [int(cast(bytes, message.value())) for message in copies] == list(range(3_000))


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust would take a hundred settings from the environment, over its arguments: an app of ours takes none."""
    for name, value in {"BROKER_URL": "kafka://elsewhere", "PRODUCER_ACKS": "0", "STREAM_WAIT_EMPTY": "1"}.items():
        monkeypatch.setenv(name, value)
    conf = chunk_app("app", broker="one:1, two:2").conf
    assert [str(url) for url in conf.broker] == ["kafka://one:1", "kafka://two:2"]
    assert (conf.producer_acks, conf.stream_wait_empty) == (-1, False)
