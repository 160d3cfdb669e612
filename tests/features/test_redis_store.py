"""The Redis store keeps the contract, and its keys, measures and advice are as documented."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from features.redis_checkup import Checkup, Usage
from features.redis_store import RedisStore
from features.store import Commit, Verdict
from streams.children import Program, free_port, wait_for
from streams.embedded import redis_answers
from streams.embedded import redis_server as redis_program
from tests.conftest import missing
from tests.features.driven_store import KEY, Driven, after, first
from tests.features.store_contract import ODD_IDS, SHIRTS, SHOES, StoreContract
from tests.services import Service

PREFIX = b"mi:{test:clickstream:0}:v1:"


def dump_of(client: redis.Redis) -> dict[object, object]:
    """Every key with its time to live (-1: for ever) and what it holds."""
    return {key: (client.pttl(key), client.dump(key)) for key in client.scan_iter(count=1000)}


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client on the emptied database."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str, raw: redis.Redis) -> Iterator[Driven]:
    """A store on the emptied database."""
    with asyncio.Runner() as loop:
        kept = RedisStore.from_url(redis_url)
        yield Driven(kept, loop, lambda: dump_of(raw))
        loop.run(kept.close())


class TestRedisStore(StoreContract):
    """The contract, in Redis."""


class TestRedisStoreResp3(StoreContract):
    """The contract, in Redis, over the newer of its two protocols."""

    @pytest.fixture
    def store(self, redis_url: str, raw: redis.Redis) -> Iterator[Driven]:
        """A store that speaks RESP3."""
        with asyncio.Runner() as loop:
            kept = RedisStore.from_url(redis_url, protocol=3)
            yield Driven(kept, loop, lambda: dump_of(raw))
            loop.run(kept.close())


def test_layout(store: Driven, raw: redis.Redis) -> None:
    """A partition's keys are the six documented kinds, and none of them expires."""
    store.claim()
    at = store.done(
        first(states={"anna": b"1", "ben": b"2"}, deadlines={"anna": 7}, names={SHOES: "Schuhe"}, outbox=b"out")
    )
    store.done(after(at, states={"ben": None}, outbox=b"next", forgotten={SHIRTS: 9}))
    meta = {b"token": b"mine", b"sequence": b"2", b"position": b"30", b"watermark": b"1001", b"adopt_until": b"-1"}
    assert raw.hgetall(PREFIX + b"meta") == meta
    assert raw.zrange(PREFIX + b"deadlines", 0, -1, withscores=True) == [(b"anna", 7.0)]
    assert raw.hgetall(PREFIX + b"names") == {SHOES: b"Schuhe"}
    assert raw.hgetall(PREFIX + b"forgotten") == {SHIRTS: b"9"}
    assert raw.mget(PREFIX + b"outbox", PREFIX + b"s:anna") == [b"next", b"1"]
    assert raw.dbsize() == 6
    assert {raw.ttl(key) for key in raw.scan_iter()} == {-1}


def test_one_slot(store: Driven, raw: redis.Redis) -> None:
    """All keys of a partition are in one slot of a cluster, whatever the customers are called."""
    store.claim()
    store.done(first(states=dict.fromkeys(ODD_IDS, b"1"), deadlines=dict.fromkeys(ODD_IDS, 1), names={SHOES: "s"}))
    assert len(keys := list(raw.scan_iter())) == 4 + len(ODD_IDS)
    assert {key_slot(key) for key in keys} == {key_slot(b"test:clickstream:0")} != {key_slot(b"test:clickstream:1")}


@pytest.fixture
def cluster(redis_server: Service) -> Iterator[str]:
    """A Redis in cluster mode that holds every slot and enforces their rules."""
    port, directory = free_port(), Path(tempfile.mkdtemp(prefix="micro-intents-redis-"))
    bus = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    command = [redis_program(), "--bind", "127.0.0.1", "--port", str(port), "--save", "", *bus]
    program = Program(command, directory, lambda: redis_answers(("127.0.0.1", port)))
    program.start()
    try:
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            wait_for(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "the cluster's slots")
        yield url
    finally:
        program.stop()


def test_cluster_mode(cluster: str) -> None:
    """A Redis in cluster mode takes every call of the store: no script or transaction crosses slots."""

    async def calls() -> None:
        kept = RedisStore.from_url(cluster)
        await kept.claim(KEY, "mine")
        names = [*ODD_IDS, *(str(number) for number in range(1_000))]
        answer = await kept.commit(KEY, first(states=dict.fromkeys(names, b"1"), deadlines=dict.fromkeys(names, 1)))
        assert answer.verdict is Verdict.OK
        assert await kept.read(KEY, answer.found, names) == [b"1"] * len(names)
        assert len(await kept.due(KEY, 2, 2_000)) == len(names)
        assert (await kept.commit(KEY, after(answer.found, states=dict.fromkeys(names)))).verdict is Verdict.OK
        await kept.close()

    asyncio.run(calls())


def test_script_forgotten(store: Driven, raw: redis.Redis) -> None:
    """A server that lost its scripts (a restart, SCRIPT FLUSH) is given the commit script again."""
    store.claim()
    at = store.done(first())
    raw.script_flush()
    assert store.commit(after(at)).verdict is Verdict.OK


def test_foreign_type(store: Driven, raw: redis.Redis) -> None:
    """Something of another type under a key of ours fails the commit before it has written anything."""
    store.claim()
    for name in (b"deadlines", b"names"):
        raw.lpush(PREFIX + name, "foreign")
        before = {key: raw.dump(key) for key in raw.scan_iter()}
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            store.commit(first(states={"anna": b"1"}, deadlines={"anna": 1}, names={SHOES: "s"}))
        assert {key: raw.dump(key) for key in raw.scan_iter()} == before
        raw.delete(PREFIX + name)


def test_unix_socket(store: Driven, raw: redis.Redis) -> None:
    """An address may be a unix socket."""
    path = raw.config_get("unixsocket")["unixsocket"]
    if not path:
        missing("this Redis has no unix socket")
    store.claim()
    at = store.done(first(states={"anna": b"1"}))

    async def read() -> list[bytes | None]:
        kept = RedisStore.from_url(f"unix://{path}?db=0")
        try:
            return await kept.read(KEY, at, ["anna"])
        finally:
            await kept.close()

    assert asyncio.run(read()) == [b"1"]


def test_wrong_scheme() -> None:
    """An address of another kind is refused at once, with the kinds there are."""
    with pytest.raises(ValueError, match="redis://"):
        RedisStore.from_url("http://127.0.0.1:6379")


def test_memory_usage(store: Driven, raw: redis.Redis) -> None:
    """A partition's memory is the sum over its own keys, exact over several pages; neighbours don't count."""
    kept = store.store
    assert isinstance(kept, RedisStore)
    assert store.run(kept.memory_usage(KEY)) == Usage(0, 0, 0)
    store.claim()
    names = [f"customer-{number}" for number in range(2_500)]
    store.done(first(states=dict.fromkeys(names, b"x" * 100), deadlines=dict.fromkeys(names, 1)))
    raw.set("mi:{test:clickstream:1}:v1:s:anna", "x" * 10_000)
    total = sum(raw.memory_usage(key, samples=0) or 0 for key in raw.scan_iter(match=PREFIX + b"*"))
    assert store.run(kept.memory_usage(KEY)) == Usage(customers=2_500, keys=2_503, bytes=total)


def test_check(store: Driven, raw: redis.Redis) -> None:
    """What doctor tells about Redis is what it is set to, and names what would lose states."""
    kept = store.store
    assert isinstance(kept, RedisStore)
    (found,) = store.run(kept.check())
    server = raw.info()
    assert (found.version, found.max_bytes) == (server["redis_version"], server["maxmemory"])
    assert found.maxmemory_policy == raw.config_get("maxmemory-policy")["maxmemory-policy"]
    assert found.aof_enabled == (raw.config_get("appendonly")["appendonly"] == "yes")
    assert any("AOF" in problem for problem in found.problems) != found.aof_enabled


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Checkup("7.0.15", "noeviction", True, 10, 0), []),
        (Checkup("8.0.0", "noeviction", True, 89, 100), []),
        (Checkup("6.0.16", "noeviction", True, 10, 0), ["6.2"]),
        (Checkup("7.2.4", "allkeys-lru", False, 91, 100), ["appendonly yes", "noeviction", "maxmemory"]),
    ],
)
def test_problems(found: Checkup, words: list[str]) -> None:
    """Each problem says what to change, and a sound Redis has none."""
    assert len(found.problems) == len(words)
    for problem, word in zip(found.problems, words, strict=True):
        assert word in problem


def test_more_calls_than_connections(store: Driven) -> None:
    """Calls beyond the number of connections wait for one instead of failing."""
    kept = store.store
    store.claim()
    at = store.done(first(states={"anna": b"1"}))

    async def crowd() -> list[list[bytes | None]]:
        return await asyncio.gather(*(kept.read(KEY, at, ["anna"]) for _ in range(200)))

    assert store.run(crowd()) == [[b"1"]] * 200


def test_lost_memory(store: Driven, raw: redis.Redis) -> None:
    """A Redis that lost everything fences its owner and is not written to until it is claimed again."""
    store.claim()
    at = store.done(first(states={"anna": b"1"}))
    raw.flushdb()
    assert store.commit(after(at, states={"anna": b"2"})).verdict is Verdict.FENCED
    assert raw.dbsize() == 0
    assert store.claim("again").cursor.position == -1
    assert store.commit(Commit("again", 0, 30, 40, 5)).verdict is Verdict.OK
