"""Record batches, by real worker processes on a real Kafka."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import Producer
from faust.types import TP, StreamT

from streams import transport_chunks
from streams.record_chunk import RecordChunk, joined
from streams.transport import ChunkApp, chunk_app
from streams.transport_chunks import ChunkConsumer, Chunks, ChunkStream, ChunkTransport, SeekFailed
from tests.services import Service
from tests.streams.transport_workers import Make, Worker, assert_contiguous, crash, pauses


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
    assert peak_mb < 200  # about 120 without records; all of them would be 150 more
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
    async def read(stream: StreamT[Chunks]) -> None:
        async for found in stream:
            chunks.extend(found)
            raise EOFError

    assert isinstance(asyncio.run(crash(app)), EOFError)
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
    async def read(stream: StreamT[Chunks]) -> None:
        async for _ in stream:
            pass

    assert isinstance(asyncio.run(crash(app, before_stop=kafka.resume)), SeekFailed)


# Without a Kafka


LANE = TP("lane", 0)


def queued(start: int, end: int, generation: int) -> RecordChunk:
    """A chunk of empty records, of a generation."""
    nothing: list[bytes | None] = [b""] * (end - start)
    offsets, stamps = np.arange(start, end), np.full(end - start, -1)
    return RecordChunk(*LANE, generation, start, end, nothing, nothing, offsets, stamps)


def sought(position: int, generation: int) -> ChunkConsumer:
    """A consumer that never met Kafka, as its seek would have left it."""
    consumer = cast(ChunkConsumer, chunk_app("unmet", broker="127.0.0.1:1").consumer)
    consumer._generations[LANE], consumer._finished[LANE] = generation, position
    return consumer


async def handed_out(consumer: ChunkConsumer, chunks: list[RecordChunk]) -> AsyncIterator[RecordChunk]:
    """What the stream hands the agent of the chunks that come to it."""

    async def coming() -> AsyncIterator[Chunks]:
        for chunk in chunks:
            yield [chunk]

    stream = cast(ChunkStream, consumer.app.stream(coming()))
    async for found in stream._current(coming()):
        for chunk in found:
            yield chunk


def test_a_chunk_is_finished_when_the_agent_comes_back() -> None:
    """What the agent works on is not acknowledged; when it asks for the next chunk, this one is."""

    async def agent() -> list[tuple[int, int | None]]:
        consumer = sought(10, 7)
        work = handed_out(consumer, [queued(10, 20, 7), queued(20, 30, 7)])
        seen = [(chunk.start, consumer._new_offset(LANE)) async for chunk in work]
        return [*seen, (30, consumer._new_offset(LANE))]

    assert asyncio.run(agent()) == [(10, 10), (20, 20), (30, 30)]


@pytest.mark.parametrize("error", [None, ValueError("refused")])
def test_a_chunk_is_finished_when_it_is_published(error: Exception | None) -> None:
    """What the agent left on its way is finished when it is through, or not at all."""

    async def publication(gate: asyncio.Event) -> None:
        await gate.wait()
        if error is not None:
            raise error

    async def agent() -> list[int | None]:
        consumer, gate = sought(10, 7), asyncio.Event()
        task = asyncio.create_task(publication(gate))
        cast(ChunkApp, consumer.app).finish_after(task)
        async for _ in handed_out(consumer, [queued(10, 20, 7)]):
            pass
        before = consumer._new_offset(LANE)
        gate.set()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        return [before, consumer._new_offset(LANE)]

    assert asyncio.run(agent()) == [10, 10 if error else 20]


def test_chunks_are_finished_in_order() -> None:
    """Behind a chunk that is not finished none is, or a commit would pass it."""

    async def agent() -> list[int | None]:
        consumer, seen = sought(10, 7), []
        for chunk in (queued(20, 30, 7), queued(10, 20, 7), queued(20, 30, 7)):
            consumer.finish(chunk)
            seen.append(consumer._new_offset(LANE))
        return seen

    assert asyncio.run(agent()) == [10, 20, 30]


def test_nothing_is_committed_below_what_is_kept() -> None:
    """What is worked again from before the committed offset leaves that; from there on it moves on."""

    async def agent() -> list[int | None]:
        consumer, seen = sought(10, 7), []
        consumer.keep_committed(LANE, 30)
        for chunk in (queued(10, 20, 7), queued(20, 30, 7), queued(30, 31, 7)):
            consumer.finish(chunk)
            seen.append(consumer._new_offset(LANE))
        return seen

    assert asyncio.run(agent()) == [None, 30, 31]


def test_acknowledged_where_it_was_sought() -> None:
    """An offset that no chunk of this worker's ended at is committed only where this very seek has gone to."""

    async def agent() -> list[int | None]:
        consumer, seen = sought(10, 7), []
        for generation, offset in ((6, 10), (7, 11), (7, 10)):
            consumer._committed_offset[LANE] = 10
            consumer.acknowledge(LANE, generation, offset)
            seen.append(consumer._committed_offset[LANE])
        return seen

    assert asyncio.run(agent()) == [10, 10, None]  # Faust commits where it knows of no commit


def test_chunks_of_an_earlier_seek_are_dropped() -> None:
    """What was queued before a seek is neither handed out nor finished, also where it begins at the same offset."""

    async def agent() -> tuple[list[int], int | None]:
        consumer = sought(10, 7)
        old = queued(10, 20, 6)
        work = [chunk.generation async for chunk in handed_out(consumer, [old, queued(10, 15, 7)])]
        consumer.finish(replace(old, start=15))
        return work, consumer._new_offset(LANE)

    assert asyncio.run(agent()) == ([7], 15)


OTHER = TP("lane", 1)


def taken(fetches: list[list[RecordChunk]], most: int = 100, stale: int = -1) -> list[list[tuple[int, int, int]]]:
    """Chunks (partition, start, end) that the agent gets of what was queued by fetches, each time that it comes.

    The fetch `stale` is of an assignment before.
    """

    async def agent() -> list[list[tuple[int, int, int]]]:
        consumer = sought(10, 7)
        consumer._generations[OTHER], consumer._finished[OTHER] = 7, 50
        app = consumer.app
        cast(ChunkTransport, app.transport).max_records = most
        app.flow_control.resume()
        app.consumer_generation_id = 3
        stream = cast(ChunkStream, app.topic("lane").stream())
        queue = cast(Any, stream.channel).queue
        for number, fetched in enumerate(fetches):
            message = consumer._to_message(LANE, fetched)
            message.generation_id = 2 if number == stale else 3
            queue.put_nowait(await cast(Any, stream.channel).decode(message))

        async def fetched_first() -> AsyncIterator[Chunks]:
            while queue.qsize():
                yield queue.get_nowait().value

        return [[(it.partition, it.start, it.end) for it in found] async for found in stream._current(fetched_first())]

    return asyncio.run(agent())


def other(start: int, end: int, generation: int = 7) -> RecordChunk:
    """A chunk of the other partition."""
    return replace(queued(start, end, generation), partition=1)


def test_all_that_is_queued_is_taken_at_once() -> None:
    """Of each partition one chunk, of all that several fetches brought, each continuing the one before it."""
    fetches = [[queued(10, 20, 7), other(50, 51)], [queued(20, 21, 7)], [other(51, 60), queued(21, 30, 7)]]
    assert taken(fetches) == [[(0, 10, 30), (1, 50, 60)]]


def test_no_more_than_may_be_taken_at_once() -> None:
    """More than `max_records` wait for the next time, in their order; a chunk is never cut."""
    fetches = [[queued(10, 20, 7), other(50, 55)], [queued(20, 26, 7)], [queued(26, 30, 7), other(55, 60)]]
    assert taken(fetches, 15) == [[(0, 10, 20), (1, 50, 55)], [(0, 20, 30), (1, 55, 60)]]
    assert taken(fetches, 10) == [[(0, 10, 20)], [(1, 50, 55)], [(0, 20, 30)], [(1, 55, 60)]]


def test_what_was_overtaken_by_a_seek_is_not_taken() -> None:
    """Chunks of an earlier seek are dropped in the middle of a queue, too; what follows a hole stands for itself."""
    fetches = [[queued(10, 20, 7)], [queued(20, 25, 6), other(50, 51)], [queued(20, 30, 7)]]
    assert taken(fetches) == [[(0, 10, 30), (1, 50, 51)]]
    assert taken([[queued(10, 20, 7)], [queued(20, 30, 7)], [other(50, 51)]], stale=1) == [[(0, 10, 20), (1, 50, 51)]]
    missing = replace(queued(20, 30, 7), missing=5)
    assert taken([[queued(10, 20, 7)], [missing, other(50, 51)]]) == [[(0, 10, 20)], [(0, 20, 30), (1, 50, 51)]]
    assert taken([[queued(10, 20, 7)], [queued(25, 30, 7)]]) == [[(0, 10, 20)], [(0, 25, 30)]]


def test_joined_chunks_are_the_records_in_their_order() -> None:
    """All columns of chunks that are joined are there, those that had to be said of the first, too."""
    parts = []
    for first in (10, 12, 14):
        part = replace(queued(first, first + 2, 7), keys=[b"k%d" % first] * 2, values=[b"v%d" % first, None])
        part.timestamps[:] = part.offsets * 7
        parts.append(replace(part, missing=3 if first == 10 else 0))
    whole = joined(parts)
    assert (whole.start, whole.end, whole.missing, whole.generation) == (10, 16, 3, 7)
    assert whole.offsets.tolist() == list(range(10, 16))
    assert whole.keys == [b"k10", b"k10", b"k12", b"k12", b"k14", b"k14"]
    assert whole.values == [b"v10", None, b"v12", None, b"v14", None]
    assert whole.timestamps.tolist() == [7 * at for at in range(10, 16)]


def test_the_start_is_the_stores(embedded_broker: str) -> None:
    """A partition is read from the position that its store tells, not from its beginning."""
    producer = Producer({"bootstrap.servers": embedded_broker})
    for value in range(10):
        producer.produce("started", str(value).encode(), partition=0)
    assert producer.flush(10) == 0
    chunks: list[RecordChunk] = []

    async def start_positions(partitions: frozenset[TP]) -> dict[TP, int]:
        return {tp: 6 if tp.partition == 0 else -1 for tp in partitions}

    async def go() -> BaseException | None:
        app = chunk_app("started", broker=embedded_broker, start_positions=start_positions)

        @app.agent(app.topic("started"), name="test.read")
        async def read(stream: StreamT[Chunks]) -> None:
            async for found in stream:
                chunks.extend(found)
                raise EOFError

        return await crash(app)

    assert isinstance(asyncio.run(go()), EOFError)
    assert [(chunk.start, chunk.values) for chunk in chunks] == [(6, [b"6", b"7", b"8", b"9"])]
