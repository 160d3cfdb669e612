"""Whatever goes wrong on the way, each record is worked once, and what is committed is published."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
import orjson
import pytest
from aiokafka.errors import InvalidTopicError, MessageSizeTooLargeError
from faust.types import TP

from features.log import ENTRY, RAW_LIMIT
from features.state import decode, encode
from features.store import NotOwner, StoreUnavailable
from intents.examples import unpack
from sinks.records import Record
from streams.retry import RETRY_FOR_S, CannotPublish, lasting
from streams.transport_publish import PublishAgain
from tests.intents.replaying import MINUTE, Pair
from tests.intents.steered import HORIZON, LATENESS, STEERED, Shop, T
from tests.streams.working import KEY, LANE, Clock, StandIn, TroubledStore, clean, run, worker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The worker's clock."""
    return Clock.of_worker(monkeypatch)


def wishes(count: int = 4) -> list[Pair]:
    """Views of as many customers, each of which makes an intent."""
    shop = Shop()
    for n in range(count):
        shop.view(n * 1_000, "tea", 0.4, f"c{n:03}")
    return shop.records


def refused(topic: str, error: Exception) -> Callable[[Record], Exception | None]:
    """A Kafka that refuses a topic."""
    return lambda record: error if record.topic == topic else None


# What is committed is published


@pytest.mark.parametrize("error", [AssertionError("Unrecognized partition"), InvalidTopicError(), TypeError("None")])
def test_an_outbox_that_cannot_be_published(error: Exception) -> None:
    """It stops the worker and stays in the store; the next claim publishes it before anything else."""
    records = wishes()
    app, store = StandIn(records, refuse=refused("intents", error)), TroubledStore()
    with pytest.raises(CannotPublish, match="doctor"):
        run(app, store, size=2)
    assert (store.at().position, len(store.taken)) == (2, 1)  # no later commit has overwritten it
    assert app.published == []
    left = store.outbox()
    assert [record.topic for record in left] == ["intents", "intents", "examples"]
    app.refuse = lambda _: None
    app.seek(0)  # Kafka's committed offset is older
    run(app, store, size=2)
    assert app.published[:3] == left
    assert (app.said(), store.states()) == clean(records)
    assert len(app.of("intents")) == 4  # a seek of our own is no new claim: nothing is published twice


def test_an_outbox_that_was_found_cannot_be_published() -> None:
    """It stops the next worker too, in its chunk and in its tick alike, and is still there for the one after it."""
    app, store = StandIn(wishes(), refuse=refused("intents", MessageSizeTooLargeError())), TroubledStore()
    with pytest.raises(CannotPublish):
        run(app, store)
    left = store.outbox()
    app.seek(0)
    with pytest.raises(CannotPublish):
        run(app, store)
    with pytest.raises(CannotPublish):
        asyncio.run(worker(app, store).tick())
    assert store.outbox() == left != []


def test_a_quiet_tick_after_a_publication_that_failed(clock: Clock) -> None:
    """What could not be published is published before the partition's next commit, though a tick comes in between."""
    app, store = StandIn(wishes(), refuse=refused("intents", MessageSizeTooLargeError())), TroubledStore()
    made = worker(app, store, idle_s=60)
    with pytest.raises(CannotPublish):
        asyncio.run(app.deliver(made.work))
    left = store.outbox()
    app.refuse, app.sought = lambda _: None, len(app.records)
    for _ in range(3):
        clock.now += 61
        asyncio.run(made.tick())
    assert app.published[: len(left)] == left != []


def test_published_before_the_next_commit() -> None:
    """Of each piece everything is published before the next one is committed."""
    app, store, seen = StandIn(wishes(6)), TroubledStore(), []

    async def look() -> None:
        seen.append((len(app.of("intents")), len(store.taken)))

    store.before.extend([look] * 3)
    run(app, store, size=2)
    assert seen == [(0, 0), (2, 1), (4, 2)]


# Who owns the partition


def test_continues_at_the_stores_position() -> None:
    """A chunk that does not begin where the store ends is not worked: the worker goes there, back or forth."""
    records = wishes()
    for start in (0, 3):
        app, store = StandIn(records), TroubledStore()
        made = worker(app, store)
        asyncio.run(made.work([app.chunk(0, 2)]))
        app.seek(start)
        asyncio.run(app.deliver(worker(app, store).work))
        assert app.rewinds == [2]
        assert (app.said(), store.states()) == clean(records)


def steal(store: TroubledStore, records: list[Pair], upto: int) -> Callable[[], Awaitable[object]]:
    """Another worker claims the partition, and works the records up to an offset."""

    async def thief() -> None:
        app = StandIn(records[:upto])
        await app.deliver(worker(app, store).work) if upto else await store.claim(KEY, "thief")

    return thief


@pytest.mark.parametrize("upto", [0, 2, 4])
def test_fenced_and_still_the_owner(upto: int) -> None:
    """Kafka says it is ours: claimed again, and gone on from the store's position, not from what we thought."""
    records = wishes(6)
    app, store = StandIn(records), TroubledStore()
    store.before.append(steal(store, records, upto))
    run(app, store, size=6)
    assert app.rewinds == [upto or -1]
    assert (app.said(), store.states()) == clean(records)


@pytest.mark.parametrize("assigned", [frozenset({LANE}), frozenset[TP]()])
def test_fenced_and_no_longer_the_owner(assigned: frozenset[TP]) -> None:
    """Kafka says it is another's, or we know it: given up; nothing is published, sought, finished, or claimed again."""
    records = wishes()
    app, store = StandIn(records), TroubledStore()
    take = steal(store, records, 2)

    async def owned_by_another() -> None:
        app.owner, app.assigned = False, assigned
        await take()

    store.before.append(owned_by_another)
    made = worker(app, store)
    asyncio.run(made.work([app.chunk()]))
    token = store.at().token
    asyncio.run(made.tick())
    assert (app.published, app.rewinds, made.claims.held, app.given_up) == ([], [], {}, {LANE})
    assert (store.at().position, store.at().token) == (2, token)


def test_given_up_by_mistake() -> None:
    """A partition that was given up and is ours after all, as Kafka says later, is sought where the store ends."""
    records = wishes()
    app, store = StandIn(records, owner=False), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk()]))
    asyncio.run(made.tick())
    assert (store._partitions, app.given_up, app.rewinds) == ({}, {LANE}, [])
    app.owner = True
    asyncio.run(made.tick())
    assert (app.given_up, app.rewinds) == (set(), [-1])
    asyncio.run(app.deliver(made.work))
    assert (app.said(), store.states()) == clean(records)


def test_a_claim_asks_kafka_first() -> None:
    """A worker that the group has gone on without writes nothing, not even a token, and fences nobody."""
    records = wishes()
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 2)]))
    token = store.at().token
    paused = StandIn(records, owner=False)
    for lively in (worker(paused, store).work([paused.chunk(2, 4)]), worker(paused, store).tick()):
        asyncio.run(lively)
        assert (store.at().token, paused.given_up, paused.published) == (token, {LANE}, [])
        paused.given_up.clear()


def test_a_gap() -> None:
    """A store that was set back, as by a restored backup, under the same token: gone on from where it is now."""
    records = wishes(6)
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 2)]))
    backup = copy.deepcopy(store._partitions)

    async def restore() -> None:
        store._partitions = backup

    async def nothing() -> None:
        pass

    store.before.extend([nothing, restore])
    app.sought = 2
    asyncio.run(app.deliver(made.work, 2))
    assert app.rewinds == [2]
    assert store.states() == clean(records)[1]
    assert app.said() == clean(records)[0]
    assert len(app.of("intents")) == 6 + 2  # the claim repeats the outbox it finds, but nothing that was lost behind it


def test_states_that_are_not_ours_any_more() -> None:
    """Fenced before the states were read is the same as fenced at the commit."""
    records = wishes()
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 2)]))
    asyncio.run(store.claim(KEY, "thief"))
    app.sought = 2
    asyncio.run(app.deliver(made.work))
    assert app.rewinds == [2]
    assert (app.said(), store.states()) == clean(records)


def test_already() -> None:
    """A commit of which only the answer got lost stands: it is published once, and the next chunk continues it."""
    records = wishes()
    app, store = StandIn(records), TroubledStore()
    store.after.append(StoreUnavailable("cut"))
    run(app, store, size=2)
    assert [commit.position for commit in store.taken] == [2, 2, 4]
    assert app.rewinds == []
    assert (app.said(), store.states()) == clean(records)
    assert len(app.of("intents")) == 4


# Away


def test_redis_and_kafka_are_waited_for() -> None:
    """A short absence, at the claim, the commit or the publishing, changes nothing."""
    records = wishes()
    errors: Iterator[Exception | None] = iter([PublishAgain("away")])
    app, store = StandIn(records, refuse=lambda _: next(errors, None)), TroubledStore()
    store.claims.append(StoreUnavailable("away"))
    store.before.append(StoreUnavailable("away"))
    run(app, store)
    assert (app.said(), store.states()) == clean(records)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), PublishAgain("away")])
def test_not_for_ever(error: Exception, clock: Clock) -> None:
    """After RETRY_FOR_S the error itself is raised, for it makes the exit code that asks for a new start."""
    calls = []

    async def call() -> None:
        calls.append(clock.now)
        assert len(calls) < 5
        clock.now += RETRY_FOR_S / 2
        raise error

    began = clock.now
    with pytest.raises(type(error), match="away"):
        asyncio.run(lasting(call))
    assert [at - began for at in calls] == [0, RETRY_FOR_S / 2, RETRY_FOR_S]
    assert RETRY_FOR_S == 120


def test_away_for_too_long_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that stays away is no bug of a record: nothing is halved or dead-lettered, and nothing is lost."""
    monkeypatch.setattr("streams.retry.RETRY_FOR_S", 0.0)
    records = wishes()
    app, store = StandIn(records), TroubledStore()
    store.before.extend([StoreUnavailable("away")] * 2)
    with pytest.raises(StoreUnavailable):
        run(app, store)
    errors: Iterator[Exception | None] = iter([PublishAgain("away")] * 2)
    app.refuse = lambda _: next(errors, None)
    store.before.clear()
    with pytest.raises(PublishAgain):
        run(app, store)
    assert app.published == []
    app.refuse = lambda _: None
    app.seek(0)
    run(app, store)
    assert (app.said(), store.states(), app.dead()) == (*clean(records), [])


def test_other_errors_are_not_waited_for() -> None:
    """What waiting does not mend comes at once."""
    calls = []

    async def call() -> None:
        calls.append(1)
        raise NotOwner

    with pytest.raises(NotOwner):
        asyncio.run(lasting(call))
    assert calls == [1]


# Bugs


@pytest.mark.parametrize("at", [0, 37, 99])
@pytest.mark.parametrize("size", [100, 7])
def test_one_poisonous_record(at: int, size: int, caplog: pytest.LogCaptureFixture) -> None:
    """One record of a hundred that detect cannot work is dead-lettered as a bug; the others are worked once each."""
    records = wishes(100)
    app, store = StandIn(records), TroubledStore()
    store.poison = f"c{at:03}"
    run(app, store, size=size)
    assert app.dead() == [(at, "bug: ZeroDivisionError")]
    assert app.of("dead")[0].value == records[at][1]
    said, states = clean(records)
    assert app.said() == [it for it in said if it[1] != store.poison]
    del states[store.poison]
    assert store.states() == states
    assert store.at().position == 100
    ids = [dict(record.headers)["ce_id"] for record in app.of("intents")]
    assert len(ids) == len(set(ids)) == 99
    assert "Traceback" in caplog.text  # so that somebody can mend it


def test_an_error_that_goes_away() -> None:
    """A bug that does not come again within three tries costs nothing."""
    records = wishes()
    for tries, dead in ((2, 0), (3, 0)):
        app, store = StandIn(records), TroubledStore()
        store.before.extend([RuntimeError("once")] * tries)
        run(app, store)
        assert len(app.dead()) == dead
        assert (app.said(), store.states()) == clean(records)


def test_an_error_behind_a_commit() -> None:
    """What is committed of a chunk is not tried again with its rest."""
    records = wishes(6)
    app, store = StandIn(records), TroubledStore()

    async def nothing() -> None:
        pass

    store.before.extend([nothing, nothing, RuntimeError("once")])
    run(app, store, most=2)
    assert len(store.taken) > 3
    assert (app.rewinds, len(app.of("intents"))) == ([], 6)
    assert (app.said(), store.states()) == clean(records)


def test_poison_that_was_refused_already() -> None:
    """The one record left may be one that was dead-lettered before: it is passed over with the reason that it had."""
    records = [*wishes(1), (b"c", b"{")]
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 1)]))
    store.before.extend([RuntimeError("thrice")] * 3)
    asyncio.run(made.work([app.chunk(1, 2)]))
    ((offset, reason),) = app.dead()
    assert offset == 1 and reason.startswith("not JSON")
    assert store.at().position == 2


# Without records


def expiring(count: int = 3) -> list[Pair]:
    """Intents that expire a horizon later, unless somebody comes."""
    shop = Shop()
    for n in range(count):
        shop.view(n, "tea", 0.4, f"c{n:03}")
    return shop.records


def test_a_tick_claims_and_publishes() -> None:
    """An outbox is published by whoever is assigned its partition, though no record ever comes again."""
    records = wishes()
    app, store = StandIn(records, refuse=refused("intents", TypeError())), TroubledStore()
    with pytest.raises(CannotPublish):
        run(app, store)
    left, before = store.outbox(), store.at()
    app.refuse = lambda _: None
    made = worker(app, store)
    asyncio.run(made.tick())
    assert app.published == left
    assert made.claims.held[0].generation == app.current
    assert store.at().token not in ("", before.token)
    asyncio.run(made.tick())
    assert app.published == left  # once an assignment
    app.seek(4)
    asyncio.run(made.tick())
    assert app.published == left * 2  # a new assignment: who had it in between is not known


def test_a_tick_leaves_what_is_not_ours() -> None:
    """A partition that was not sought yet, or is not assigned, is not claimed."""
    app, store = StandIn([], assigned=frozenset({TP("clickstream", 1)})), TroubledStore()
    asyncio.run(worker(app, store).tick())
    app.assigned = frozenset()
    asyncio.run(worker(app, store).tick())
    assert store._partitions == {}


def test_an_idle_partition_moves_on(clock: Clock) -> None:
    """When nothing came for idle_s, as much event time has passed: due intents expire, each at its own time."""
    app, store = StandIn(expiring()), TroubledStore()
    made = run(app, store, idle_s=60)
    app.published.clear()
    clock.now += 59.9
    asyncio.run(made.tick())
    assert store.at().watermark_ms == T + 2 - LATENESS
    clock.now += (HORIZON + LATENESS) / 1000 - 59.9
    asyncio.run(made.tick())
    # the deadline of the third is not before the watermark yet
    assert app.said() == [("expired", f"c{n:03}", "tea") for n in range(2)]
    told = [orjson.loads(record.value) for record in app.of("intents")]
    assert [it["updated_at"] for it in told] == [T + n + HORIZON for n in range(2)]
    marks = [int(dict(record.headers)["watermark"]) for record in app.of("intents")]
    assert marks == [T + n + HORIZON for n in range(2)]
    assert (store.at().watermark_ms, store.at().position) == (T + 2 + HORIZON, 3)
    assert unpack(app.of("examples")[-1].value).watermark == T + 2 + HORIZON  # the trainer is told
    asyncio.run(made.tick())
    assert len(store.taken) == 2  # quiet since now


def test_a_record_ends_the_silence(clock: Clock) -> None:
    """The idle time counts from the last record on."""
    shop = Shop()
    shop.clock(0)
    shop.clock(1)
    app, store = StandIn(shop.records), TroubledStore()
    made = run(app, store, size=1, idle_s=60)
    app.records = [*shop.records, shop.records[-1]]
    clock.now += 50
    asyncio.run(app.deliver(made.work))
    clock.now += 50
    asyncio.run(made.tick())
    assert store.at().watermark_ms == T + 1
    clock.now += 10
    asyncio.run(made.tick())
    assert store.at().watermark_ms == T + 1 + 60_000


@pytest.mark.parametrize(("at_end", "idle_s"), [(False, 60.0), (True, 0.0)])
def test_no_idle_advance(clock: Clock, at_end: bool, idle_s: float) -> None:
    """Nothing moves while Kafka has more, or does not answer; nor where idle advance is off."""
    app, store = StandIn(expiring(), at_end=at_end), TroubledStore()
    made = run(app, store, idle_s=idle_s)
    clock.now += 9 * HORIZON
    asyncio.run(made.tick())
    assert len(store.taken) == 1
    app.at_end, made.idle_s = True, 60.0
    asyncio.run(made.tick())
    assert app.said()[-1] == ("expired", "c002", "tea")


def test_an_absent_kafka_is_not_quiet(clock: Clock) -> None:
    """The idle time begins anew when Kafka answers again: what came meanwhile could not arrive."""
    app, store = StandIn(expiring()), TroubledStore()
    made = run(app, store, idle_s=60)
    clock.now += 9 * HORIZON
    app.heard = clock.now - 59
    asyncio.run(made.tick())
    assert len(store.taken) == 1
    clock.now += 1
    asyncio.run(made.tick())
    assert store.at().watermark_ms == T + 2 - LATENESS + 60_000


def test_no_idle_advance_of_a_new_partition(clock: Clock) -> None:
    """A partition that never had a record has no time to go on from."""
    app, store = StandIn([]), TroubledStore()
    made = worker(app, store, idle_s=1)
    asyncio.run(made.tick())
    clock.now += 1_000
    asyncio.run(made.tick())
    assert store.taken == []
    assert (store.at().watermark_ms, store.at().token) == (-1, made.claims.held[0].partition.cursor.token)


def test_many_deadlines(clock: Clock) -> None:
    """More than one commit takes go in several, each published before the next, none left and none twice."""
    app, store = StandIn(expiring(10)), TroubledStore()
    made = run(app, store, idle_s=60, most=3)
    done = len(store.taken)
    app.published.clear()
    clock.now += 2 * HORIZON / 1000
    asyncio.run(made.tick())
    assert app.said() == [("expired", f"c{n:03}", "tea") for n in range(10)]
    idle = store.taken[done:]
    assert [len(commit.states) for commit in idle] == [3, 3, 3, 1]
    assert [commit.watermark_ms for commit in idle] == [T + 9 - LATENESS] * 3 + [T + 9 - LATENESS + 2 * HORIZON]


def test_fenced_while_idle(clock: Clock) -> None:
    """A partition that another claim took while it was quiet: what was to be said is not; Kafka says who goes on."""
    for owner in (False, True):
        app, store = StandIn(expiring()), TroubledStore()
        made = run(app, store, idle_s=60)
        app.published.clear()
        asyncio.run(store.claim(KEY, "thief"))
        app.owner = owner
        clock.now += 2 * HORIZON / 1000
        asyncio.run(made.tick())
        assert (app.published, made.claims.held) == ([], {})
        assert (len(store.taken), app.rewinds, app.given_up) == (1, [3] * owner, set() if owner else {LANE})


# What other releases wrote


def test_a_log_with_more_raw_entries_than_fit() -> None:
    """A log written with a larger limit is folded when it is read: the worker goes on, and the old events count."""
    entries = np.zeros(3 * RAW_LIMIT, dtype=ENTRY)
    entries["time"], entries["id"], entries["count"] = T + np.arange(len(entries)), 1 + np.arange(len(entries)), 1
    states = decode(["anna"], [None])
    states.logs.insert(entries, np.zeros(len(entries), dtype=np.int64), np.arange(len(entries)))
    states.memory.newest[0] = entries["time"][-1]
    (blob,) = encode(states, STEERED.hash)
    assert blob is not None

    shop = Shop()
    for n in range(100):
        shop.view(MINUTE + n, "tea", 0.4)
    app, store = StandIn(shop.records), TroubledStore()
    asyncio.run(store.claim(KEY, "older"))
    store._partitions[KEY].states["anna"] = blob
    run(app, store)
    found = decode(["anna"], [store.states()["anna"]])
    assert found.logs.raw_counts().tolist() <= [RAW_LIMIT]
    assert found.logs.entries["count"].sum() == len(entries) + 100
    assert found.memory.newest.tolist() == [T + MINUTE + 99]
    assert app.said()[0] == ("detected", "anna", "tea")
