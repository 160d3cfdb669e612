"""Calls of one turn are one to Redis, and each gets its own answer, whatever becomes of the others."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
import redis

from features.redis_store import RedisStore
from features.redis_together import Together
from features.store import Answer, Commit, Cursor, NotOwner, PartitionKey, StoreUnavailable, Verdict

_T = TypeVar("_T")
KEYS = [PartitionKey("test", "clickstream", number) for number in range(6)]


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client on the emptied database."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def with_store(url: str, work: Callable[[RedisStore], Coroutine[Any, Any, _T]], **options: Any) -> _T:
    """What `work` makes of a store whose partitions are claimed, and which has found out that it is no cluster."""

    async def go() -> _T:
        store = RedisStore.from_url(url, **options)
        for key in KEYS:
            await store.claim(key, "mine")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(go())


def commit(sequence: int, number: int, token: str = "mine") -> Commit:
    """A commit of ten records."""
    start = 10 * sequence
    return Commit(token, sequence, start, start + 10, 1_000 + start, states={"anna": b"%d of %d" % (sequence, number)})


async def all_commit(store: RedisStore, commits: Sequence[Commit]) -> list[Answer | BaseException]:
    """What is answered to these, of a partition each, put in one turn."""
    calls = [store.commit(key, one) for key, one in zip(KEYS, commits, strict=True)]
    return await asyncio.gather(*calls, return_exceptions=True)


def calls_of(raw: redis.Redis, *names: str) -> dict[str, int]:
    """How often Redis was asked for each command."""
    told = raw.info("commandstats")
    return {name: int(told.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in names}


def test_one_call_for_all(redis_url: str, raw: redis.Redis) -> None:
    """Reads of a turn are one transaction, commits one script call each; every partition gets its own."""

    async def work(store: RedisStore) -> None:
        found = await all_commit(store, [commit(0, n) for n in range(6)])
        assert [answer.verdict for answer in found if isinstance(answer, Answer)] == [Verdict.OK] * 6
        raw.config_resetstat()
        cursor = Cursor("mine", 1, 10, 1_000)
        states = await asyncio.gather(*(store.read(key, cursor, ["anna", "nobody"]) for key in KEYS))
        assert states == [[b"0 of %d" % n, None] for n in range(6)]
        assert calls_of(raw, "multi", "exec", "mget") == {"multi": 1, "exec": 1, "mget": 6}
        await all_commit(store, [commit(1, n) for n in range(6)])
        assert calls_of(raw, "evalsha", "script|load", "script|exists") == {
            "evalsha": 6,
            "script|load": 0,
            "script|exists": 0,
        }

    with_store(redis_url, work)


def test_each_has_its_own_answer(redis_url: str) -> None:
    """One is fenced, one finds a gap, one is applied already: the others are applied."""

    async def work(store: RedisStore) -> None:
        await all_commit(store, [commit(0, n) for n in range(6)])
        await store.claim(KEYS[1], "thief")
        odd = [commit(1, n) for n in range(6)]
        odd[3], odd[4] = commit(7, 3), commit(0, 4)
        found = await all_commit(store, odd)
        verdicts = [answer.verdict for answer in found if isinstance(answer, Answer)]
        assert verdicts == [Verdict.OK, Verdict.FENCED, Verdict.OK, Verdict.GAP, Verdict.ALREADY, Verdict.OK]
        cursors = [await store.cursor(key) for key in KEYS]
        reads = [store.read(key, replaced(cursor, "mine"), ["anna"]) for key, cursor in zip(KEYS, cursors, strict=True)]
        states = await asyncio.gather(*reads, return_exceptions=True)
        assert isinstance(states[1], NotOwner)
        assert [states[n] for n in (0, 2, 3, 5)] == [[b"1 of 0"], [b"1 of 2"], [b"0 of 3"], [b"1 of 5"]]

    with_store(redis_url, work)


def replaced(cursor: Cursor, token: str) -> Cursor:
    """The cursor with a token."""
    return Cursor(token, cursor.sequence, cursor.position, cursor.watermark_ms)


def test_one_that_redis_refuses(redis_url: str, raw: redis.Redis) -> None:
    """Something else lives under one partition's key: its commit is refused with its word; the others are applied."""

    async def work(store: RedisStore) -> None:
        raw.set(f"{KEYS[2].prefix}deadlines", "no sorted set")
        found = await all_commit(store, [commit(0, n) for n in range(6)])
        assert [isinstance(answer, Answer) for answer in found] == [True, True, False, True, True, True]
        assert "WRONGTYPE" in str(found[2])
        assert [(await store.cursor(key)).position for key in KEYS] == [10, 10, -1, 10, 10, 10]

    with_store(redis_url, work)


def test_a_redis_that_has_forgotten_the_script(redis_url: str, raw: redis.Redis) -> None:
    """After a restart or SCRIPT FLUSH every commit is applied, once."""

    async def work(store: RedisStore) -> None:
        for sequence in range(3):
            raw.script_flush()
            found = await all_commit(store, [commit(sequence, n) for n in range(6)])
            assert [answer.verdict for answer in found if isinstance(answer, Answer)] == [Verdict.OK] * 6

    with_store(redis_url, work)


def test_a_redis_that_is_away() -> None:
    """Everybody is told, and within the time."""

    async def work() -> list[Any]:
        store = RedisStore.from_url("redis://127.0.0.1:1", timeout_s=0.5)
        store._link._nodes._not_told("cluster support disabled")
        reads = [store.read(key, Cursor("mine", 0, -1, -1), ["anna"]) for key in KEYS]
        async with asyncio.timeout(5):
            return await asyncio.gather(*reads, return_exceptions=True)

    assert [type(error) for error in asyncio.run(work())] == [StoreUnavailable] * 6


# Without Redis


@pytest.mark.parametrize(
    ("said", "one"),
    [
        ("This instance has cluster support disabled", True),
        ("NOPERM this user has no permissions to run the 'cluster|slots' command", False),
        ("unknown command 'CLUSTER'", False),
    ],
)
def test_only_a_redis_that_says_so_is_one(said: str, *, one: bool) -> None:
    """Where nobody tells of slots there may be a cluster, whose partitions are not to be asked in one transaction."""
    store = RedisStore.from_url("redis://127.0.0.1:1")
    assert not store._link.is_one
    store._link._nodes._not_told(said)
    assert store._link.is_one is one


def test_turns() -> None:
    """Calls of one turn are put together, later ones by themselves; each gets the answer at its place."""
    asked: list[list[int]] = []

    async def ask(items: Sequence[int]) -> list[int]:
        asked.append(list(items))
        return [-item for item in items]

    async def go() -> None:
        together = Together(ask)
        assert await asyncio.gather(*map(together.call, range(5))) == [0, -1, -2, -3, -4]
        assert await together.call(9) == -9

    asyncio.run(go())
    assert asked == [[0, 1, 2, 3, 4], [9]]


def test_who_does_not_wait_any_more() -> None:
    """One call is cancelled, before or after it was put: the others get their answers."""

    async def go(wait_s: float) -> list[Any]:
        held = asyncio.Event()

        async def ask(items: Sequence[int]) -> list[int]:
            await held.wait()
            return list(items)

        together = Together(ask)
        tasks = [asyncio.create_task(together.call(n)) for n in range(3)]
        await asyncio.sleep(wait_s)
        tasks[1].cancel()
        held.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for wait_s in (0, 0.01):
        found = asyncio.run(go(wait_s))
        assert (found[0], type(found[1]), found[2]) == (0, asyncio.CancelledError, 2)


def test_a_loop_that_ended_too_soon() -> None:
    """Calls that a loop took with it when it was closed are in nobody's way on the next one."""

    async def ask(items: Sequence[int]) -> list[int]:
        return list(items)

    together = Together(ask)
    loop = asyncio.new_event_loop()
    lost = loop.create_task(together.call(1))
    loop.call_soon(loop.stop)
    loop.run_forever()
    lost.cancel()
    loop.run_until_complete(asyncio.gather(lost, *asyncio.all_tasks(loop), return_exceptions=True))
    loop.close()
    assert asyncio.run(asyncio.wait_for(together.call(2), 5)) == 2
