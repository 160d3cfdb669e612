"""The forgotten stay forgotten: whatever comes of theirs again, late, or out of a log that is worked from its start."""

import asyncio
import copy
import random
from typing import Any, Final

import numpy as np
import orjson
import pytest

from features.memory_store import MemoryStore
from features.state import MAGIC, decode, encode
from features.state_v1 import HEADER_V1
from features.store import PartitionKey, StoreUnavailable
from features.tombstones import REBUILD_MS, Tombstones, customer_key
from intents.detect import Setup
from intents.life import Rules
from intents.subjects import Names, subject_hash
from streams.wire import Decoder
from tests.features.building import plain
from tests.intents.naive_detect import NaiveDetect, lines_of
from tests.intents.replaying import MINUTE, Drive, Pair, chunk_of, in_chunks, setup_of
from tests.intents.steered import HORIZON, LATENESS, STEERED, Shop, T, steered_model
from tests.intents.test_adoption import intent, published
from tests.intents.test_detect import same_intents
from tests.streams.working import KEY, Clock, StandIn, TroubledStore, clean, run, worker

DAY: Final = 24 * 60 * MINUTE
KEPT: Final = b"micro-intents"
"""The hash key of the engine in these tests."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The worker's clock."""
    return Clock.of_worker(monkeypatch)


def bytes_of(store: MemoryStore, key: PartitionKey = KEY) -> bytes:
    """Everything that a store holds of a partition, its keys too."""
    held = store._partitions[key]
    parts: list[object] = [held.cursor, held.states, held.names, held.forgotten, held.outbox]
    return repr([*parts, held.deadlines.due(2**52, 10**6)]).encode()


def forgotten_shop() -> list[Pair]:
    """Anna's wishes, two of them open when she asks to be forgotten; ben's stay."""
    shop = Shop()
    shop.view(0, "tea", 0.4, "ben")
    for n, subject in enumerate(("tea", "rum")):
        shop.view(1_000 * n, subject, 0.4, "anna-4711")
    shop.do("forget", MINUTE, None, "anna-4711")
    return shop.records


# Nothing of theirs is left


@pytest.mark.parametrize("size", [1, 1_000])
def test_nothing_of_a_forgotten_customer_is_left(size: int) -> None:
    """After a forget no key and no value of the store holds the id, though the partition is quiet from then on."""
    app, store = StandIn(forgotten_shop()), TroubledStore()
    run(app, store, size)
    assert app.said()[-2:] == [("forgotten", "anna-4711", name) for name in ordered("tea", "rum")]
    assert b"anna-4711" not in bytes_of(store) and b"'ben'" in bytes_of(store)
    assert store._partitions[KEY].forgotten == {customer_key("anna-4711", KEPT): T + MINUTE}


def ordered(*subjects: str) -> list[str]:
    """Subjects as they are published."""
    return sorted(subjects, key=subject_hash)


def test_killed_between_commit_and_publish() -> None:
    """The outbox of a forget is published by the next claim, and then replaced, though nothing else ever comes."""
    records = forgotten_shop()
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 3)]))

    def die(record: object) -> Exception:
        return TypeError("killed")

    app.refuse = die
    app.sought = 3
    with pytest.raises(Exception, match="killed"):
        asyncio.run(made.work([app.chunk(3, 4)]))
    assert b"anna-4711" in bytes_of(store)  # committed, and still to be said
    app.refuse = lambda _: None
    app.seek(4)
    asyncio.run(worker(app, store).tick())
    assert (app.said(), b"anna-4711" in bytes_of(store)) == (clean(records)[0], False)


def test_killed_between_publish_and_the_commit_that_clears() -> None:
    """What was published is published again, in the same words, and then replaced."""
    records = forgotten_shop()
    app, store = StandIn(records), TroubledStore()
    made = worker(app, store)
    asyncio.run(made.work([app.chunk(0, 3)]))
    app.sought = 3

    async def nothing() -> None:
        pass

    async def die() -> None:
        raise SystemExit

    store.before.extend([nothing, die])
    with pytest.raises(SystemExit):
        asyncio.run(made.work([app.chunk(3, 4)]))
    assert b"anna-4711" in bytes_of(store)
    app.seek(4)
    asyncio.run(worker(app, store).tick())
    assert (app.said(), b"anna-4711" in bytes_of(store)) == (clean(records)[0], False)


def test_clearing_waits_for_redis() -> None:
    """A Redis that is away for a moment then does not keep the id."""
    app, store = StandIn(forgotten_shop()), TroubledStore()

    async def nothing() -> None:
        pass

    store.before.extend([nothing, StoreUnavailable("away")])
    run(app, store)
    assert b"anna-4711" not in bytes_of(store)


def test_only_a_forget_costs_a_second_commit() -> None:
    """Chunks without a forget are one commit each, also in a partition that has tombstones."""
    records = [*forgotten_shop(), *(Shop().records)]
    shop = Shop()
    for n in range(4):
        shop.view(2 * MINUTE + n, "tea", 0.4, "ben")
    records += shop.records
    app, store = StandIn(records), TroubledStore()
    run(app, store, 4)
    assert [(commit.start, commit.position) for commit in store.taken] == [(0, 4), (4, 4), (4, 8)]
    assert [bool(commit.outbox) for commit in store.taken] == [True, False, True]


# Nothing comes back


def resurrecting() -> list[Pair]:
    """A forget, and after it all that could bring the customer back, then a new life."""
    shop = Shop()
    for n in range(5):
        shop.view(n * MINUTE, "tea", 0.4, "anna")
    before = list(shop.records)
    shop.view(30 * MINUTE, "rum", 0.4, "anna")  # ahead of the forget's time
    ahead = shop.records[-1]
    shop.do("forget", 20 * MINUTE, None, "anna")
    forget = shop.records[-1]
    shop.records += [*before, ahead]  # duplicates, near
    shop.do("view", 6 * MINUTE, "books", "anna")  # late
    shop.do("purchase", 30 * MINUTE, "tea", "anna")  # late, at the very moment
    shop.clock(3 * DAY)
    shop.records += [*before, ahead, forget]  # duplicates, far
    shop._sums.clear()
    shop.view(7 * DAY, "tea", 0.4, "anna")
    return shop.records


@pytest.mark.parametrize("size", [1, 7, 5_000])
def test_nothing_is_resurrected(size: int) -> None:
    """Duplicates near and far, and late events, change nothing; what happens after the forget begins a new life."""
    records = resurrecting()
    drive = asyncio.run(Drive(steered(), steered_model(), [records]).run(in_chunks([records], size)))
    held: list[Any] = asyncio.run(drive.held())
    ((_, _, states, _, _, _),) = held
    (entry,) = plain(decode(["anna"], [states["anna"]]))
    assert entry.time == T + 7 * DAY
    said = [(intent.status, intent.intent, (intent.updated_at - T) // MINUTE) for intent in drive.intents[0]]
    assert said[:2] == [("detected", "tea", 0), ("detected", "rum", 30)]
    assert sorted(said[2:]) == [("detected", "tea", 7 * 24 * 60), ("forgotten", "rum", 20), ("forgotten", "tea", 20)]


def steered() -> Setup:
    """What detect is set up with where the test says what the model thinks."""
    plain_setup = setup_of()
    return Setup(STEERED, plain_setup.catalogue, plain_setup.names)


def test_another_worker_knows_who_is_forgotten() -> None:
    """A worker that claims the partition after a forget drops what the one before it would have dropped."""
    records = resurrecting()
    cut = 1 + max(n for n, (_, value) in enumerate(records[:8]) if b'"forget"' in (value or b""))
    app, store = StandIn(records), TroubledStore()
    asyncio.run(worker(app, store).work([app.chunk(0, cut)]))
    app.sought = cut
    run(app, store)
    assert (app.said(), store.states()) == clean(records)


@pytest.mark.parametrize("seed", range(6))
def test_a_lost_store_forgets_nobody_forgotten(seed: int) -> None:
    """Emptied anywhere after the forgets, and the log worked from its beginning: who was forgotten still is."""
    records = random_records(random.Random(seed))
    whole = asyncio.run(Drive(steered(), steered_model(), [records]).run(in_chunks([records], 5_000)))
    again = asyncio.run(Drive(steered(), steered_model(), [records]).run(in_chunks([records], 7)))
    assert asyncio.run(again.held()) == asyncio.run(whole.held())
    for n in (len(records) // 2, len(records)):
        part = [records[:n]]
        drive = asyncio.run(Drive(steered(), steered_model(), part).run(in_chunks(part, 5_000)))
        check_forgotten(drive, part[0])


def check_forgotten(drive: Drive, records: list[Pair]) -> None:
    """Assert, event by event and without the judge, that no state and no deadline holds the forgotten."""
    held: list[Any] = asyncio.run(drive.held())
    ((position, watermark, states, due, _, buried),) = held
    assert position == len(records)
    last: dict[str, int] = {}
    for _, value in records:
        event = orjson.loads(value)
        if event["kind"] == "forget":
            last[event["customer_id"]] = max(event["time"], last.get(event["customer_id"], -1))
    for customer, time in last.items():
        if watermark > time + REBUILD_MS:
            continue  # what comes now is as if there had been no forget
        assert buried[customer_key(customer, KEPT)] >= time
        entries = plain(decode([customer], [states[customer]]))
        assert all(entry.time > time for entry in entries)
        assert entries or customer not in dict(due)


def random_records(dice: random.Random, events: int = 120) -> list[Pair]:
    """Views, baskets, duplicates, late events and forgets of a few customers, over two weeks."""
    shop, at = Shop(), 0
    for _ in range(events):
        at += dice.choice((0, 1_000, MINUTE, 20 * MINUTE, 10 * 60 * MINUTE, 2 * DAY if dice.random() < 0.1 else 0))
        customer, roll = f"c{dice.randrange(4)}", dice.random()
        if roll < 0.5:
            shop.view(at, dice.choice(("tea", "rum")), dice.choice((0.05, 0.2, 0.6)), customer)
        elif roll < 0.6:
            shop.do("purchase", at, "tea", customer)
        elif roll < 0.75:
            shop.do("view", max(at - dice.choice((1, MINUTE, DAY, 6 * DAY)), 0), "rum", customer)
        elif roll < 0.88 and shop.records:
            shop.records.append(dice.choice(shop.records))
        else:
            shop.do("forget", max(at - dice.choice((0, 0, MINUTE, DAY, 8 * DAY)), 0), None, customer)
    return shop.records


@pytest.mark.parametrize("seed", range(100, 112))
def test_forgets_in_any_chunks(seed: int) -> None:
    """Chunks of 1, 7 and 5,000 give the same records, states and tombstones, and the intents of the slow judge."""
    records = random_records(random.Random(seed), 60)
    drives = [
        asyncio.run(Drive(steered(), steered_model(), [records]).run(in_chunks([records], size)))
        for size in (5_000, 7, 1)
    ]
    held = [asyncio.run(drive.held()) for drive in drives]
    assert drives[0].records == drives[1].records == drives[2].records
    assert held[0] == held[1] == held[2]
    check_forgotten(drives[0], records)
    setup = steered()
    naive = NaiveDetect(setup, steered_model())
    for line in lines_of(chunk_of(Decoder(setup.catalogue), 0, 0, records)):
        naive.take(line)
    same_intents(drives[0], [naive])


# Tombstones


def test_tombstones_of_earlier_releases_survive() -> None:
    """One in a stored state is honoured, moves to the partition at the customer's next event, and leaves no state."""
    shop = Shop()
    shop.view(0, "tea", 0.4, "anna")
    app, store = StandIn(shop.records), TroubledStore()
    head = np.zeros(1, dtype=HEADER_V1)
    head["magic"], head["version"], head["tombstone"] = MAGIC, 1, T + 5
    for name in ("newest", "floor", "complete_since"):
        head[name] = -1
    asyncio.run(store.claim(KEY, "older"))
    store._partitions[KEY].states["anna"] = head.tobytes()
    run(app, store)
    assert (app.of("intents"), store.states()) == ([], {})
    assert store._partitions[KEY].forgotten == {customer_key("anna", KEPT): T + 5}


@pytest.mark.parametrize("window", [REBUILD_MS, 2 * DAY])
def test_tombstones_end_with_a_later_commit(clock: Clock, window: int) -> None:
    """When the watermark is more than the rebuild window past one, the next commit takes it out, an idle one too."""
    app, store = StandIn(forgotten_shop()), TroubledStore()
    made = run(app, store, idle_s=60, rebuild_ms=window)
    clock.now += (window + LATENESS) / 1000
    asyncio.run(made.tick())
    assert store.at().watermark_ms == T + MINUTE + window
    assert len(store._partitions[KEY].forgotten) == 1
    clock.now += 60
    asyncio.run(made.tick())
    assert store._partitions[KEY].forgotten == {} == dict(made.claims.held[0].partition.tombstones.times)


def test_hashes_are_keyed_and_only_made_where_there_are_tombstones() -> None:
    """Another key gives other hashes; a partition without tombstones hashes nobody."""
    assert customer_key("anna", b"a") != customer_key("anna", b"b")
    assert len(customer_key("anna", b"a")) == 16
    assert Tombstones(b"x" * 999).of(["anna", "ben"]).tolist() == [-1, -1]  # a key that blake2b would refuse
    with pytest.raises(ValueError, match="key"):
        Tombstones(b"x" * 999, {b"h": 1}).of(["anna"])


def test_intents_that_were_forgotten_are_not_taken_over() -> None:
    """After a loss of states, a cool-down from before a forget does not bring the customer's state back."""
    shop = Shop()
    shop.view(0, "tea", 0.4, "anna")
    shop.clock(HORIZON + 1)
    shop.do("forget", HORIZON + 2, None, "anna")
    shop.view(HORIZON + 3, "rum", 0.4, "ben")
    app, store = StandIn(shop.records), TroubledStore()
    empty = copy.deepcopy(store._partitions)
    run(app, store, 1)
    assert ("expired", "anna", "tea") in app.said()
    store._partitions = empty
    app.acknowledged = len(shop.records)
    app.seek(len(shop.records))
    made = worker(app, store)
    asyncio.run(made.tick())
    app.seek(store.at().position)
    asyncio.run(app.deliver(made.work, 1))
    asyncio.run(made.tick())
    assert store.at().position == len(shop.records)
    assert "anna" not in store.states() and b"'anna'" not in bytes_of(store)


def test_a_cool_down_without_a_log_is_not_taken_over() -> None:
    """Who has no event in the log any more, forgotten before it begins, gets no state from an expired intent."""
    states = decode(["anna"], [None])
    published(intent(), intent("expired", 1)).install(states, Rules(), Names())
    assert encode(states, STEERED.hash) == [None]
