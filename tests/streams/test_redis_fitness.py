"""A worker's look at how its Redis is set up: it stops before states can vanish, and says what else bodes ill."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import redis

from features.redis_store import RedisStore
from features.store import StoreUnavailable
from streams import redis_fitness
from streams.redis_fitness import EvictingRedis, RedisFitness
from tests.services import Service


@pytest.fixture
def raw(own_redis: Service) -> Iterator[redis.Redis]:
    """A plain client of a Redis that may be set up wrongly."""
    with redis.Redis.from_url(own_redis.url) as client:
        yield client


def look(url: str, times: int = 1) -> None:
    """Look this often."""

    async def scene() -> None:
        store = RedisStore.from_url(url)
        fitness = RedisFitness(store)
        for _ in range(times):
            await fitness.look()
        await store.close()

    asyncio.run(scene())


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_evicting(own_redis: Service, raw: redis.Redis, policy: str) -> None:
    """Every policy that may delete keys which do not expire stops the worker, with what to set."""
    raw.config_set("maxmemory-policy", policy)
    with pytest.raises(EvictingRedis, match=f"maxmemory-policy {policy}.: CONFIG SET maxmemory-policy noeviction"):
        look(own_redis.url)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_sparing_ours(own_redis: Service, raw: redis.Redis, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    """Policies that delete only what expires spare our keys: said, but no reason to stop."""
    raw.config_set("maxmemory-policy", policy)
    look(own_redis.url)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"maxmemory-policy is {policy}" in caplog.text


def test_nearly_full(
    own_redis: Service, raw: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than nine tenths of the memory used is said before writes fail, and not at every look."""
    monkeypatch.setattr(redis_fitness, "EVERY_S", 0.0)
    raw.set("ballast", "x" * 5_000_000)
    raw.config_set("maxmemory", int(raw.info("memory")["used_memory"] * 1.05))
    look(own_redis.url, 3)
    assert caplog.text.count("raise maxmemory") == 1


def test_changed_while_it_works(own_redis: Service, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set wrongly later is noticed at the next look, which is a minute later, not at every chunk."""
    monkeypatch.setattr(redis_fitness, "EVERY_S", 0.0)

    async def scene() -> None:
        store = RedisStore.from_url(own_redis.url)
        fitness = RedisFitness(store)
        await fitness.look()
        raw.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(EvictingRedis):
            await fitness.look()
        raw.config_set("maxmemory-policy", "noeviction")
        monkeypatch.setattr(redis_fitness, "EVERY_S", 60.0)
        await fitness.look()
        raw.config_set("maxmemory-policy", "allkeys-lru")
        await fitness.look()  # not yet
        await store.close()

    asyncio.run(scene())


def test_away() -> None:
    """A Redis that is away is waited for like anywhere else: nothing is concluded from silence."""
    with pytest.raises(StoreUnavailable):
        look("redis://127.0.0.1:1/0")
