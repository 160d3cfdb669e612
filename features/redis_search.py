"""All that a Redis holds, key by key: for those who must be sure that something is not in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis

from features.redis_link import advice_on, plain_address
from features.store import StoreUnavailable

OURS: Final = b"mi:"
"""Every key of ours begins so; of others' keys only the names are looked at."""
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Held:
    """One key, what it holds (members, fields and values; nothing of keys that are not ours), and how far we are.

    `number` counts keys from 1; `total` is how many there were at the beginning.
    """

    key: bytes
    parts: list[bytes]
    number: int
    total: int


def everything(url: str, *, timeout_s: float = 5.0) -> Iterator[Held]:
    """Walk through all keys of a Redis, of all primaries of a cluster; raises StoreUnavailable.

    A key that is there from beginning to end is seen; one may be seen twice.
    """
    limits: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    try:
        with redis.Redis.from_url(url, **limits) as client:
            if not client.info("cluster").get("cluster_enabled"):
                yield from _walk(client)
                return
        with redis.RedisCluster.from_url(url, **limits) as cluster:
            yield from _walk(cluster)
    except (redis.RedisError, OSError) as error:
        advice = advice_on(error) or "it cannot be searched"
        raise StoreUnavailable(f"Redis at {plain_address(url)}: {advice} ({error})") from error


def _walk(client: Any) -> Iterator[Held]:
    sizes = client.dbsize()
    total = sum(sizes.values()) if isinstance(sizes, dict) else int(sizes)
    for number, key in enumerate(client.scan_iter(count=_PAGE), 1):
        yield Held(key, _parts(client, key) if key.startswith(OURS) else [], number, total)


def _parts(client: Any, key: bytes) -> list[bytes]:
    match client.type(key):
        case b"string":
            return [client.get(key) or b""]
        case b"hash":
            return [part for pair in client.hscan_iter(key, count=_PAGE) for part in pair]
        case b"zset":
            return [member for member, _ in client.zscan_iter(key, count=_PAGE)]
        case _:
            return [client.dump(key) or b""]  # no type of ours
