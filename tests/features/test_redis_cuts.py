"""Cut connections, silent, restarted and full servers: the verdict is right, nothing is lost or applied twice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from features.redis_store import RedisStore
from features.store import Answer, Claimed, Commit, Cursor, StoreUnavailable, Verdict
from streams.children import wait_for
from tests.conftest import missing
from tests.features.cutting_proxy import CuttingProxy, Fault
from tests.features.driven_store import KEY
from tests.services import Service, start_redis

START = Cursor("mine", 1, 20, 1_000)
NEXT = Commit("mine", 1, 20, 30, 1_001, {"anna": b"2"}, {"anna": 9}, outbox=b"two")
DONE = Cursor("mine", 2, 30, 1_001)


async def begin(store: RedisStore) -> None:
    """Bring the partition to START, and the commit script into the server."""
    await store.claim(KEY, "mine")
    answer = await store.commit(KEY, Commit("mine", 0, 10, 20, 1_000, {"anna": b"1"}, {"anna": 8}, outbox=b"one"))
    assert answer == Answer(Verdict.OK, START)


async def assert_once(store: RedisStore) -> None:
    """Assert that NEXT was applied, exactly once, and that asking again says so."""
    assert await store.read(KEY, DONE, ["anna"]) == [b"2"]
    assert await store.due(KEY, 100, 10) == [("anna", 9)]
    assert await store.commit(KEY, NEXT) == Answer(Verdict.ALREADY, DONE)
    assert await store.claim(KEY, "next") == Claimed(Cursor("next", 2, 30, 1_001), b"two", {})


def through_proxy(
    url: str, scene: Callable[[RedisStore, CuttingProxy], Coroutine[Any, Any, None]], timeout_s: float = 5.0
) -> None:
    """Play `scene` with a store whose connections go through a proxy, from START."""

    async def play() -> None:
        async with CuttingProxy(url) as proxy:
            store = RedisStore.from_url(proxy.url, timeout_s=timeout_s)
            await begin(store)
            await scene(store, proxy)
            await store.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    "cuts",
    [
        [Fault.BEFORE],
        [Fault.HALF],
        [Fault.AFTER],
        [Fault.BEFORE, Fault.AFTER],
        [Fault.AFTER, Fault.AFTER],
        [Fault.AFTER, Fault.HALF],
    ],
    ids=" ".join,
)
def test_cut(redis_url: str, cuts: list[Fault]) -> None:
    """A commit cut before, within or after its script is applied once and answers OK."""

    async def scene(store: RedisStore, proxy: CuttingProxy) -> None:
        proxy.faults = list(cuts)
        assert await store.commit(KEY, NEXT) == Answer(Verdict.OK, DONE)
        assert not proxy.faults
        assert [b"ok" in answer or b"already" in answer for answer in proxy.lost] == [True] * cuts.count(Fault.AFTER)
        await assert_once(store)

    through_proxy(redis_url, scene)


@pytest.mark.parametrize(("cut", "verdict"), [(Fault.BEFORE, Verdict.OK), (Fault.AFTER, Verdict.ALREADY)])
def test_cut_too_often(redis_url: str, cut: Fault, verdict: Verdict) -> None:
    """After three cuts the store gives up; the same commit again then finds out what became of it."""

    async def scene(store: RedisStore, proxy: CuttingProxy) -> None:
        proxy.faults = [cut] * 3
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.commit(KEY, NEXT)
        assert await store.commit(KEY, NEXT) == Answer(verdict, DONE)
        await assert_once(store)

    through_proxy(redis_url, scene)


@pytest.mark.parametrize(("cut", "state"), [(Fault.BEFORE, b"1"), (Fault.AFTER, b"2")])
def test_claimed_between_cut_and_repetition(redis_url: str, cut: Fault, state: bytes) -> None:
    """Who loses the partition while cut off is fenced; the new owner has what was applied until then."""

    async def scene(store: RedisStore, proxy: CuttingProxy) -> None:
        rival = RedisStore.from_url(redis_url)
        proxy.in_between = lambda: rival.claim(KEY, "theirs")
        proxy.faults = [cut]
        answer = await store.commit(KEY, NEXT)
        assert answer.verdict is Verdict.FENCED
        assert answer.found.token == "theirs"
        assert await rival.read(KEY, answer.found, ["anna"]) == [state]
        await rival.close()

    through_proxy(redis_url, scene)


def test_silence(redis_url: str) -> None:
    """A server that does not answer costs the time-out and no more; its late answer is not taken for another call's."""

    async def scene(store: RedisStore, proxy: CuttingProxy) -> None:
        proxy.faults = [Fault.MUTE]
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await store.commit(KEY, NEXT)
        assert await store.peek(KEY, ["anna", "who"]) == [b"2", None]
        await assert_once(store)

    through_proxy(redis_url, scene, timeout_s=0.5)


def test_cancelled(redis_url: str) -> None:
    """A call cancelled while it waits leaves a store that works and an answer that nobody else gets."""

    async def scene(store: RedisStore, proxy: CuttingProxy) -> None:
        proxy.faults = [Fault.MUTE]
        call = asyncio.ensure_future(store.commit(KEY, NEXT))
        await proxy.loss.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await store.peek(KEY, ["anna"]) == [b"2"]
        await assert_once(store)

    through_proxy(redis_url, scene)


def test_frozen_server(redis_server: Service, redis_url: str) -> None:
    """A commit given up on while the server was frozen is applied once, by the late script or by the repetition."""
    if redis_server.control is None or not redis_server.control.pid:
        missing("this Redis is not a process that the tests may freeze")

    async def scene() -> None:
        store = RedisStore.from_url(redis_url, timeout_s=0.3)
        await begin(store)
        redis_server.pause()
        try:
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await store.commit(KEY, NEXT)
        finally:
            redis_server.resume()
        assert (await store.commit(KEY, NEXT)).verdict in (Verdict.OK, Verdict.ALREADY)
        await assert_once(store)
        await store.close()

    asyncio.run(scene())


def test_restart() -> None:
    """With AOF a killed and restarted Redis has every commit that was answered, and the same store works on."""
    with start_redis(appendonly=True) as service:
        if service.control is None:
            missing("this Redis is not ours to restart")

        async def scene() -> None:
            store = RedisStore.from_url(service.url)
            await begin(store)
            service.kill()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.commit(KEY, NEXT)
            service.start()
            assert await store.cursor(KEY) == START
            assert await store.commit(KEY, NEXT) == Answer(Verdict.OK, DONE)
            service.kill()
            service.start()
            await assert_once(store)
            await store.close()

        asyncio.run(scene())


def test_out_of_memory(redis_url: str) -> None:
    """A full Redis refuses the whole commit, and says what to do; with room again the same commit goes through."""

    async def scene() -> None:
        store = RedisStore.from_url(redis_url)
        await begin(store)
        with redis.Redis.from_url(redis_url) as raw:
            before = {key: raw.dump(key) for key in raw.scan_iter()}
            raw.config_set("maxmemory", 1)
            try:
                with pytest.raises(StoreUnavailable, match="raise its maxmemory"):
                    await store.commit(KEY, NEXT)
                assert await store.peek(KEY, ["anna"]) == [b"1"]
            finally:
                raw.config_set("maxmemory", 0)
            assert {key: raw.dump(key) for key in raw.scan_iter()} == before
        assert await store.commit(KEY, NEXT) == Answer(Verdict.OK, DONE)
        await store.close()

    asyncio.run(scene())


def test_busy(redis_url: str) -> None:
    """While another's script keeps Redis busy, every call says so instead of hanging or failing as a bug of ours."""

    async def scene() -> None:
        store = RedisStore.from_url(redis_url)
        await begin(store)
        async with endless_script(redis_url):
            calls = (
                store.commit(KEY, NEXT),
                store.claim(KEY, "theirs"),
                store.read(KEY, START, ["anna"]),
                store.peek(KEY, ["anna"]),
            )
            for call in calls:
                with pytest.raises(StoreUnavailable, match="another script"):
                    await call
        assert await store.commit(KEY, NEXT) == Answer(Verdict.OK, DONE)
        await store.close()

    asyncio.run(scene())


@asynccontextmanager
async def endless_script(url: str) -> AsyncIterator[None]:
    """A Redis kept busy by a script until the end of the block."""

    def run() -> None:
        with (
            redis.Redis.from_url(url, socket_timeout=None) as client,
            pytest.raises(redis.ResponseError, match="killed"),
        ):
            client.eval("while true do end", 0)

    def busy() -> bool:
        try:
            return not raw.ping()
        except redis.ResponseError as error:
            return "BUSY" in str(error)

    with redis.Redis.from_url(url) as raw:
        limit = raw.config_get("lua-time-limit")["lua-time-limit"]
        raw.config_set("lua-time-limit", 1)
        script = asyncio.ensure_future(asyncio.to_thread(run))
        await asyncio.to_thread(wait_for, busy, "the endless script")
        yield
        raw.script_kill()
        await script
        raw.config_set("lua-time-limit", limit)
