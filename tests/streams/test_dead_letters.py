"""What is refused is told once, before it is passed; and so much of it only, before the worker stops."""

import asyncio

import numpy as np
import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from sinks.records import Record
from streams.dead_letters import MINUTE_S, DeadLetters, TooManyDeadLetters
from streams.retry import CannotPublish
from streams.wire import Records
from tests.intents.replaying import MINUTE, Pair
from tests.intents.steered import Shop
from tests.streams.working import DEAD, Clock, StandIn, TroubledStore, run, worker

BAD: tuple[bytes, bytes] = (b"c", b"{")


def records(start: int = 0, end: int = 10, partition: int = 3) -> Records:
    """Raw records of one partition."""
    offsets = np.arange(start, end)
    values = [b"value %d" % offset for offset in offsets]
    return Records("clickstream", partition, start, end, [b"key"] * len(offsets), values, offsets, offsets)


def offsets_of(letters: DeadLetters, found: Records, *offsets: int) -> list[int]:
    """Offsets of the dead letters made of these offsets."""
    made = letters.of(found, [(offset, "because") for offset in offsets])
    return [int(dict(record.headers)["offset"]) for record in made]


def mixed() -> list[Pair]:
    """Good records with bad ones among them, at 1 and 4."""
    shop = Shop()
    for n in range(4):
        shop.view(n, "tea", 0.4, f"c{n}")
    good = shop.records
    return [good[0], BAD, good[1], good[2], BAD, good[3]]


def ancient() -> list[Pair]:
    """A customer's log, then one event too old to tell from a duplicate, at 200."""
    shop = Shop()
    for n in range(200):
        shop.view(n * MINUTE, "tea", 0.01)
    shop.view(5, "tea")
    return shop.records


# What is made


def test_a_letter() -> None:
    """A dead letter says where the record was and why, and holds its key and value; holes in the offsets are legal."""
    found = records()
    holed = Records(
        "clickstream", 3, 0, 10, found.keys[::3], found.values[::3], found.offsets[::3], found.timestamps[::3]
    )
    (letter,) = DeadLetters(DEAD, 10).of(holed, [(6, "because")])
    assert (letter.topic, letter.key, letter.value) == (DEAD, b"key", b"value 6")
    said = {"topic": b"clickstream", "partition": b"3", "offset": b"6", "reason": b"because"}
    assert dict(letter.headers) == said


def test_published_ones_are_left_out() -> None:
    """One that is in the topic is not made again; one that was made but not published is."""
    letters = DeadLetters(DEAD, 100)
    assert offsets_of(letters, records(), 2, 5) == [2, 5]
    assert offsets_of(letters, records(), 2, 5) == [2, 5]
    letters.published(3, [2])
    assert offsets_of(letters, records(), 2, 5, 7) == [5, 7]
    assert offsets_of(letters, records(partition=4), 2) == [2]  # another partition's


def test_what_is_passed_is_forgotten() -> None:
    """What was published is remembered no longer than its chunk may be tried again, so that it stays small."""
    letters = DeadLetters(DEAD, 10**9)
    for start in range(0, 10_000, 10):
        found = records(start, start + 10)
        offsets_of(letters, found, start, start + 1)
        letters.published(3, [start, start + 1])
    assert letters._made == {3: {9_990, 9_991}}


# The limit


def test_limit_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as allowed within a minute are made, one more is not; what is older than a minute does not count."""
    clock = Clock()
    monkeypatch.setattr("streams.dead_letters.time", clock)
    letters = DeadLetters(DEAD, 4)
    offsets_of(letters, records(), 0, 1, 2)
    clock.now += MINUTE_S
    offsets_of(letters, records(), 3)
    clock.now += 0.1
    offsets_of(letters, records(), 4, 5, 6)  # the first three are older than a minute now
    with pytest.raises(TooManyDeadLetters, match="5 records were refused within a minute, more than 4"):
        offsets_of(letters, records(), 7)


def test_published_ones_do_not_count() -> None:
    """A chunk that is tried again and again refuses its records once."""
    letters = DeadLetters(DEAD, 2)
    offsets_of(letters, records(), 0, 1)
    letters.published(3, [0, 1])
    for _ in range(5):
        assert offsets_of(letters, records(), 0, 1) == []


def test_too_many_stop_the_worker() -> None:
    """More than the limit is an outage, not bad records: the worker stops before they are passed, and none is lost."""
    app, store = StandIn([BAD] * 6), TroubledStore()
    with pytest.raises(TooManyDeadLetters):
        run(app, store, size=2, limit=4)
    assert [offset for offset, _ in app.dead()] == [0, 1, 2, 3]
    assert store.at().position == 4
    app.seek(4)
    run(app, store, limit=4)  # who looked at the topic and started again
    assert [offset for offset, _ in app.dead()] == list(range(6))


def test_too_many_bugs_stop_the_worker() -> None:
    """Nor does a bug that spares no record divert the whole topic."""
    shop = Shop()
    for n in range(8):
        shop.view(n, "tea", 0.4)
    app, store = StandIn(shop.records), TroubledStore()
    store.poison = "anna"
    with pytest.raises(TooManyDeadLetters):
        run(app, store, limit=3)
    assert app.dead() == [(n, "bug: ZeroDivisionError") for n in range(3)]
    assert store.at().position == 3


# Through the worker


def test_before_the_commit() -> None:
    """A refused record is in the dead letter topic before the commit that passes it."""
    app, store, seen = StandIn(mixed()), TroubledStore(), []

    async def look() -> None:
        seen.append([offset for offset, _ in app.dead()])

    store.before.append(look)
    run(app, store)
    assert seen == [[1, 4]]
    assert len(app.said()) == 4


@pytest.mark.parametrize(("late", "offsets", "published"), [(False, [1, 4], 0), (False, [1, 4], 1), (True, [200], 0)])
@pytest.mark.parametrize("restart", [True, False])
def test_a_letter_that_cannot_be_published(late: bool, offsets: list[int], published: int, restart: bool) -> None:
    """It stops the worker before the commit that would pass its record; the next one, or the same, publishes it."""

    def refuse(record: Record) -> Exception | None:
        return TopicAuthorizationFailedError(DEAD) if record.topic == DEAD and len(app.dead()) >= published else None

    app, store = StandIn(ancient() if late else mixed(), refuse=refuse), TroubledStore()
    made = worker(app, store)
    with pytest.raises(CannotPublish):
        asyncio.run(app.deliver(made.work))
    assert len(app.dead()) == published
    assert store.at().position == -1
    assert app.of("intents") == []
    app.refuse = lambda _: None
    asyncio.run(app.deliver((worker(app, store) if restart else made).work))
    told = app.dead()
    assert sorted({offset for offset, _ in told}) == offsets
    assert all(reason == "unverifiable_late" for _, reason in told) is late
    assert store.at().position == len(app.records)


@pytest.mark.parametrize(("late", "offsets"), [(False, [1, 4]), (True, [200])])
@pytest.mark.parametrize("tries", [1, 2, 3, 5])
def test_tried_again(late: bool, offsets: list[int], tries: int) -> None:
    """However often a chunk is tried, whole or halved, each of its dead letters is published once."""
    app, store = StandIn(ancient() if late else mixed()), TroubledStore()
    store.before.extend([RuntimeError("not yet")] * tries)
    run(app, store)
    assert [offset for offset, _ in app.dead()] == offsets
    assert store.at().position == len(app.records)


def test_fenced_and_read_again() -> None:
    """Nor is one published again when the partition is claimed again and the chunk comes a second time."""
    app, store = StandIn(mixed()), TroubledStore()
    made = worker(app, store)

    async def steal() -> None:
        await store.claim(made.claims.held[0].partition.key, "thief")

    store.before.append(steal)
    asyncio.run(app.deliver(made.work))
    assert app.rewinds == [-1]  # the store has no position yet: to Kafka's
    assert [offset for offset, _ in app.dead()] == [1, 4]
