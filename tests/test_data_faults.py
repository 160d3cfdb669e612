"""What the shop's producers may do to us, through a real Kafka and real worker processes; nobody else pays for it."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from features.events import AHEAD_MS
from features.redis_store import RedisStore
from features.state import decode as decode_states
from features.store import Cursor, PartitionKey
from intents.checkpoint import Checkpoint
from intents.reading import Reading
from intents.snapshots import encode
from intents.tables import Tables
from sinks.events import CUT_BYTES
from streams.children import wait_for
from streams.partitioner import partition_for
from streams.wire import MAX_AHEAD_MS
from tests.conftest import own_settings, with_topics
from tests.features.building import plain
from tests.intents.replaying import MINUTE, handmade
from tests.job import PARTITIONS, KafkaRun, without_repeats
from tests.services import Service

CATEGORIES = ["tents", "boats", "tea", "cake"]
SNAPSHOT = encode(Checkpoint(handmade(CATEGORIES, intercept=1.0), Reading(), Tables(), Reading()))
"""A model that finds everything likely: each first view of a category is an intent."""
Row = tuple[bytes, bytes]


@pytest.fixture
def job(kafka: Service, redis_url: str, tmp_path: Path) -> KafkaRun:
    """An empty job with a frozen model."""
    (tmp_path / "frozen.snapshot").write_bytes(SNAPSHOT)
    own = own_settings(kafka.bootstrap, tmp_path, redis_url=redis_url, model=str(tmp_path / "frozen.snapshot"))
    return KafkaRun(with_topics(own, **{"max.message.bytes": "12000000"}), tmp_path)


def customers(count: int, partition: int = 0) -> list[str]:
    """Customers of one partition."""
    names = (f"c{n}" for n in range(100_000))
    mine = (name for name in names if partition_for(name.encode(), PARTITIONS) == partition)
    return [next(mine) for _ in range(count)]


def view(customer: str, number: int, time: int, **more: Any) -> Row:
    """A view as a record."""
    event = {"event_id": f"{customer}-{number}", "customer_id": customer, "kind": "view", "time": time}
    return customer.encode(), orjson.dumps(event | {"category": CATEGORIES[number % len(CATEGORIES)]} | more)


def send(job: KafkaRun, rows: Sequence[Row], **options: Any) -> list[int]:
    """Send records to their keys' partitions; returns the time at which Kafka wrote each."""
    stamps: list[int] = []
    producer = Producer({"bootstrap.servers": job.settings.broker, "message.max.bytes": 12_000_000, **options})
    for key, value in rows:
        place = partition_for(key, PARTITIONS)
        producer.produce(
            job.settings.clickstream,
            value,
            key,
            partition=place,
            on_delivery=lambda _, m: stamps.append(m.timestamp()[1]),
        )
        job._sent[place] += 1
    producer.flush()
    assert len(stamps) == len(rows)
    return stamps


def cursor(job: KafkaRun, partition: int = 0) -> Cursor:
    """Where a partition stands."""

    async def ask() -> Cursor:
        store = RedisStore.from_url(job.settings.redis_url)
        found = await store.cursor(PartitionKey(job.settings.namespace, job.settings.clickstream, partition))
        await store.close()
        return found

    return asyncio.run(ask())


def statuses(job: KafkaRun) -> Counter[tuple[str, str]]:
    """How often each (customer, status) was published, repeats of a record left out."""
    lanes = job.published(job.settings.intents).values()
    values = [orjson.loads(value) for lane in lanes for value in without_repeats(lane)]
    return Counter((value["customer_id"], value["status"]) for value in values)


def text(value: str | bytes | None) -> str:
    """A header's value."""
    return value.decode() if isinstance(value, bytes) else str(value)


def letters(job: KafkaRun) -> list[dict[str, Any]]:
    """The dead letters: headers, and the body under `value`."""
    found = []
    for message in job.messages(job.settings.dead_letter, 1)[0]:
        headers = {str(name): text(value) for name, value in list(message.headers() or [])}
        found.append({**headers, "value": message.value() or b"", "key": message.key()})
    return found


def logs_of(job: KafkaRun, names: Sequence[str]) -> dict[str, list[int]]:
    """Times of the events in each customer's log."""
    states = job.states(name.encode() for name in names)
    return {name: [entry.time for entry in plain(decode_states([name], [states[name]]))] for name in names}


# Clocks


def test_one_clock_a_day_ahead_ends_nobody_elses_intents(job: KafkaRun) -> None:
    """It counts for its own customer; the watermark goes no further than the broker's clock and five minutes.

    A clock that is more than a day ahead is refused.
    """
    first, *usual, ahead, far = customers(7)
    (now,) = send(job, [view(first, 0, 1_000_000)])
    send(job, [view(name, n, now - MINUTE + n) for n in range(3) for name in usual])
    (stamp,) = send(job, [view(ahead, 1, now + MAX_AHEAD_MS - MINUTE)])
    send(job, [view(far, 1, now + MAX_AHEAD_MS + 10 * MINUTE)])
    send(job, [view(name, 3, now) for name in usual])
    with job.process() as worker:
        job.finish(worker)
    told = statuses(job)
    assert {told[name, "detected"] for name in usual} == {4}
    assert [name for name, status in told if status == "expired"] == [first]
    assert cursor(job).watermark_ms <= stamp + AHEAD_MS - job.settings.lateness_s * 1000 + MINUTE  # others came later
    assert cursor(job).watermark_ms >= stamp + AHEAD_MS - job.settings.lateness_s * 1000
    assert logs_of(job, [ahead]) == {ahead: [now + MAX_AHEAD_MS - MINUTE]}
    (letter,) = letters(job)
    assert letter["key"] == far.encode() and "more than a day after the broker's" in letter["reason"]


# Sizes


def peak_bytes(pid: int) -> int:
    """The most memory that a process had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_records_of_10_mb_are_refused_and_the_rest_goes_on(job: KafkaRun) -> None:
    """Larger than a fetch, plain or unpacked from a small batch, each arrives and is dead-lettered cut, with its hash.

    What is between them is worked, and the worker does not grow by more than a few of them.
    """
    names = customers(3)
    rows = [view(name, n, 1_000_000 + n) for n in range(40) for name in names]
    with job.process() as worker:
        send(job, rows[:60])
        job.finish(worker)
        before = peak_bytes(worker.pid)
        huge = [(names[0].encode(), os.urandom(10_000_000 + n)) for n in range(6)]
        small = [(names[0].encode(), b"[%d," % n + b"0," * 5_000_000 + b"0]") for n in range(3)]
        send(job, huge[:3])
        send(job, small, **{"compression.type": "gzip"})
        send(job, huge[3:])
        send(job, rows[60:])
        job.finish(worker)
        assert peak_bytes(worker.pid) - before < 25 * 10_000_000
    told = letters(job)
    assert [letter["value"] for letter in told] == [value[:CUT_BYTES] for _, value in huge[:3] + small + huge[3:]]
    for letter, (_, value) in zip(told, huge[:3] + small + huge[3:], strict=True):
        assert (letter["length"], letter["sha256"]) == (str(len(value)), sha256(value).hexdigest())
        assert f"{len(value)} bytes, more than 1000000" in letter["reason"]
    assert {name: len(times) for name, times in logs_of(job, names).items()} == dict.fromkeys(names, 40)


# Dead letters


def test_a_flood_of_dead_letters_stops_the_worker_until_it_is_mended(job: KafkaRun) -> None:
    """Over the limit it ends with the reason and a code that asks for no new start; then it goes on where it was.

    Every bad record is dead-lettered once, every good one counted once.
    """
    names = [name for partition in range(3) for name in customers(10, partition)]
    rows: list[Row] = []
    for n in range(30):
        rows += [view(name, n, 1_000_000 + n) for name in names]
        rows += [(name.encode(), b"{bad %d %s" % (n, name.encode())) for name in names if n >= 10]
    bad = [value for _, value in rows if value.startswith(b"{bad")]
    job.settings = replace(job.settings, dead_letters_per_minute=250)
    send(job, rows)
    for _ in range(2):  # whoever starts it again before anything is mended changes nothing for the worse
        with job.process() as worker:
            assert worker.wait(60) == 1, job.logs()
            assert job.has_logged("records were refused within a minute, more than 250", worker)
            assert job.has_logged("Mend the input, then start again", worker)
        assert job.position() < len(rows)
    job.settings = replace(job.settings, dead_letters_per_minute=10_000)
    with job.process() as worker:
        job.finish(worker)
    assert Counter(letter["value"] for letter in letters(job)) == Counter(bad)
    assert {name: len(times) for name, times in logs_of(job, names).items()} == dict.fromkeys(names, 30)


# Transactions


@contextmanager
def transaction(job: KafkaRun, rows: Sequence[Row]) -> Iterator[Producer]:
    """A producer with an open transaction that has sent `rows`."""
    producer = Producer({"bootstrap.servers": job.settings.broker, "transactional.id": job.settings.group})
    producer.init_transactions(20.0)
    producer.begin_transaction()
    for key, value in rows:
        producer.produce(job.settings.clickstream, value, key, partition=partition_for(key, PARTITIONS))
    producer.flush()  # else an abort would take them back before they are sent
    yield producer


def test_aborted_transactions_upstream_count_for_nothing(job: KafkaRun) -> None:
    """What was aborted is not counted; the worker goes past it, and knows the end of a partition that ends with it.

    While a transaction is open that end is not reached: what it holds back is not late when it comes.
    """
    job.settings = replace(job.settings, horizon_s=4, lateness_s=1)
    (name, other), (elsewhere,) = customers(2), customers(1, 1)
    with transaction(job, [view(name, 0, 1_000_000)]) as producer:
        producer.commit_transaction(20.0)
    for number in range(1, 4):
        with transaction(job, [view(name, n, 1_500_000) for n in range(10 * number, 10 * number + 9)]) as producer:
            producer.abort_transaction(20.0)
    with job.process():
        send(job, [view(other, 1, 1_000_001), view(elsewhere, 1, 1_000_001)])
        wait_for(lambda: cursor(job).position == 33 and cursor(job, 1).position == 1, "all worked", 60)  # with markers
    assert statuses(job) == dict.fromkeys([(who, "detected") for who in (name, other, elsewhere)], 1)
    with transaction(job, [view(name, 50, 1_000_002)]) as producer:
        producer.abort_transaction(20.0)
    job.settings = replace(job.settings, idle_s=1)
    with transaction(job, [view(name, 62, 1_000_003)]) as producer, job.process():
        wait_for(lambda: statuses(job)[elsewhere, "expired"] == 1, "an idle partition's intent to expire", 60)
        assert statuses(job)[other, "expired"] == 0  # as idle, but not at its end
        assert cursor(job).watermark_ms == 1_000_001 - 1_000
        producer.commit_transaction(20.0)
        wait_for(lambda: statuses(job)[name, "expired"] == 2, "the end of the intents", 60)
    told = statuses(job)
    assert told[name, "detected"] == 2 and told[other, "expired"] == 1
    assert logs_of(job, [name, other]) == {name: [1_000_000, 1_000_003], other: [1_000_001]}
    assert letters(job) == []
