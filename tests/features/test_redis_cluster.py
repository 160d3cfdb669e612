"""A Redis Cluster keeps the contract; slots that move and nodes that die lose nothing and double nothing."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.crc import key_slot

from features.memory_store import MemoryStore
from features.redis_store import RedisStore
from features.store import Answer, Commit, Cursor, PartitionKey, StoreUnavailable, Verdict
from streams.children import wait_for
from tests.features.driven_store import KEY, Driven, after, first
from tests.features.redis_cluster import Cluster
from tests.features.store_contract import SHOES, StoreContract

SLOT = key_slot(KEY.prefix.encode())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three masters."""
    with Cluster() as started:
        yield started


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Driven]:
    """A store on the emptied cluster."""
    cluster.empty()
    with asyncio.Runner() as loop:
        kept = RedisStore.from_url(cluster.url)
        yield Driven(kept, loop, cluster.dump)
        loop.run(kept.close())


class TestRedisClusterStore(StoreContract):
    """The contract, in a Redis Cluster of three masters."""


def on_each(cluster: Cluster) -> list[PartitionKey]:
    """A partition on each of the three nodes."""
    found: dict[int, PartitionKey] = {}
    for number in range(1_000):
        key = PartitionKey("test", "clickstream", number)
        found.setdefault(cluster.owner(key_slot(key.prefix.encode())).port, key)
        if len(found) == 3:
            return list(found.values())
    raise LookupError("no partition for one of the nodes")


@pytest.mark.parametrize("protocol", [2, 3])
def test_any_node_will_do(cluster: Cluster, protocol: Any) -> None:
    """The address of one node is enough to reach partitions on all of them."""
    cluster.empty()

    async def scene() -> None:
        for number in range(3):
            kept = RedisStore.from_url(cluster.url_of(number), protocol=protocol)
            for key in on_each(cluster):
                assert (await kept.claim(key, f"mine-{number}")).cursor.sequence == number
                done = await kept.commit(key, Commit(f"mine-{number}", number, number, number + 1, 5))
                assert done.verdict is Verdict.OK
            assert sorted(one.address for one in await kept.check()) == sorted(map(cluster.url_of, range(3)))
            await kept.close()

    asyncio.run(scene())


def test_a_cluster_that_tells_nobody_its_slots(cluster: Cluster) -> None:
    """A user who may not ask for the slots is led by MOVED, call by call."""
    cluster.empty()
    for node in cluster.nodes:
        node.raw.execute_command("ACL SETUSER blind on nopass ~* +@all -cluster")  # type: ignore[no-untyped-call]  # redis-py

    async def scene() -> None:
        kept = RedisStore.from_url(cluster.url_of(0).replace("://", "://blind:x@"))
        for key in on_each(cluster):
            await kept.claim(key, "mine")
            assert (await kept.commit(key, first())).verdict is Verdict.OK
        await kept.close()

    asyncio.run(scene())


def nth(cursor: Cursor, number: int) -> Commit:
    """A commit like a worker's: someone new, someone known, deadlines, names and an outbox."""
    states = {f"c{number}": b"%d" % number, f"c{number % 7}": b"%d!" % number}
    names = {number.to_bytes(8, "big"): f"subject {number}"}
    effects = {"states": states, "deadlines": dict.fromkeys(states, number), "names": names, "outbox": b"%d" % number}
    return after(cursor, **effects) if cursor.position >= 0 else replace(first(**effects), token=cursor.token)


async def insist(store: RedisStore, commit: Commit, refusals: list[str]) -> Answer:
    """Commit until it is answered, as a worker does."""
    while True:
        try:
            return await store.commit(KEY, commit)
        except StoreUnavailable as error:
            refusals.append(str(error))


def test_a_slot_moves_while_commits_flow(cluster: Cluster) -> None:
    """Commits wait while their slot is on its way, and each is applied once: as in a memory store beside it."""
    cluster.empty()
    refusals: list[str] = []
    done = 0
    moved = threading.Event()

    def progress(more: int) -> None:
        until = done + more
        wait_for(lambda: done >= until, "commits")

    def a_refusal() -> None:
        before = len(refusals)
        wait_for(lambda: len(refusals) > before, "a refusal")

    def two_moves() -> None:
        try:
            for number in (1, 2):
                source = cluster.owner(SLOT)
                target = next(node for node in cluster.nodes if node is not source)
                target = target if number == 1 else next(n for n in cluster.nodes if n not in (source, target))
                progress(5)
                cluster.move(SLOT, target, meanwhile=a_refusal)
        finally:
            moved.set()

    async def scene() -> None:
        nonlocal done
        kept, memory = RedisStore.from_url(cluster.url_of(0), timeout_s=0.5), MemoryStore()
        cursor = (await kept.claim(KEY, "mine")).cursor
        assert (await memory.claim(KEY, "mine")).cursor == cursor
        moving = asyncio.ensure_future(asyncio.to_thread(two_moves))
        rest = 5
        while rest:
            rest -= moved.is_set()
            commit = nth(cursor, done)
            answer = await insist(kept, commit, refusals)
            assert answer == await memory.commit(KEY, commit)
            cursor, done = answer.found, done + 1
        await moving
        everyone = [f"c{number}" for number in range(done)]
        assert await kept.read(KEY, cursor, everyone) == await memory.read(KEY, cursor, everyone)
        assert await kept.due(KEY, 10**9, 10**6) == await memory.due(KEY, 10**9, 10**6)
        assert await kept.claim(KEY, "next") == await memory.claim(KEY, "next")
        await kept.close()

    asyncio.run(scene())
    assert done >= 15
    assert all("moving the partition's slot" in refusal for refusal in refusals), refusals


def test_claims_and_reads_wait_for_a_slot_too(cluster: Cluster) -> None:
    """Nothing is read as missing, nor written beside, while its key is on its way or has gone ahead."""
    cluster.empty()
    source = cluster.owner(SLOT)
    target = next(node for node in cluster.nodes if node is not source)

    async def scene() -> None:
        kept = RedisStore.from_url(cluster.url, timeout_s=0.3)
        await kept.claim(KEY, "mine")
        at = (await kept.commit(KEY, first(states={"anna": b"1"}, deadlines={"anna": 9}, names={SHOES: "s"}))).found
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1
            calls = [kept.claim(KEY, "next"), kept.commit(KEY, after(at, states={"ben": b"2"}))]
            for call in calls:
                with pytest.raises(StoreUnavailable, match="moving the partition's slot"):
                    await call
            reads = [(kept.read(KEY, at, ["anna"]), [b"1"]), (kept.peek(KEY, ["anna"]), [b"1"])]
            for read, right in reads:
                (said,) = await asyncio.gather(read, return_exceptions=True)
                assert said == right or "moving the partition's slot" in str(said)

        def meanwhile() -> None:
            asyncio.run_coroutine_threadsafe(look(), loop).result()

        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: cluster.move(SLOT, target, meanwhile=meanwhile, page=1))
        assert looks == 2
        assert await kept.read(KEY, at, ["anna"]) == [b"1"]
        assert (await kept.commit(KEY, after(at, states={"ben": b"2"}))).verdict is Verdict.OK
        await kept.close()

    asyncio.run(scene())
    assert cluster.owner(SLOT) is target


def test_a_master_is_killed() -> None:
    """Without a replica its partitions, and soon all, are unavailable, with what to do; restarted, they go on."""
    with Cluster() as own:
        victim = own.owner(SLOT)
        other = next(key for key in on_each(own) if own.owner(key_slot(key.prefix.encode())) is not victim)

        async def scene() -> None:
            kept = RedisStore.from_url(own.url, timeout_s=1.0)
            await kept.claim(KEY, "mine")
            at = (await kept.commit(KEY, first(states={"anna": b"1"}))).found
            victim.program.kill()
            with pytest.raises(StoreUnavailable, match="cannot be reached: see that it runs"):
                await kept.commit(KEY, after(at))
            down = [node for node in own.nodes if node is not victim]
            await asyncio.to_thread(
                wait_for, lambda: all("cluster_state:fail" in str(n.cluster("INFO")) for n in down), "the failure"
            )
            with pytest.raises(StoreUnavailable, match="cluster is down, at least in part: bring its nodes back"):
                await kept.claim(other, "mine")
            await asyncio.to_thread(victim.program.start)
            await asyncio.to_thread(own.wait_until_well)
            assert await kept.read(KEY, at, ["anna"]) == [b"1"]
            assert (await kept.commit(KEY, after(at))).verdict is Verdict.OK
            assert (await kept.claim(other, "mine")).cursor.sequence == 0
            await kept.close()

        asyncio.run(scene())


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_replica_takes_over(how: str) -> None:
    """When a master is gone, or hangs, and its replica takes its slots, the same store goes on there."""
    with Cluster(replica=True) as own:
        victim = own.nodes[0]
        key = next(key for key in on_each(own) if own.owner(key_slot(key.prefix.encode())) is victim)

        async def scene() -> None:
            kept = RedisStore.from_url(own.url_of(0), timeout_s=1.5)
            await kept.claim(key, "mine")
            at = (await kept.commit(key, first(states={"anna": b"1"}))).found
            assert victim.raw.wait(1, 5_000) == 1
            if how == "killed":
                victim.program.kill()
            else:
                own.freeze(victim)
            refusals: list[str] = []
            while True:
                try:
                    assert (await kept.commit(key, after(at, states={"ben": b"2"}))).verdict is Verdict.OK
                    break
                except StoreUnavailable as error:
                    refusals.append(str(error))
                    assert len(refusals) < 50, refusals
            assert refusals
            assert await kept.peek(key, ["anna", "ben"]) == [b"1", b"2"]
            await kept.close()

        try:
            asyncio.run(scene())
        finally:
            if how == "frozen":
                own.thaw(victim)
