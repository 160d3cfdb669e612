"""Which Redis to ask: the one at the address, or, where that is part of a cluster, the node that owns the keys' slot.

All keys of a partition are in one slot, so every call has one node; it is asked through an ordinary client. redis-py's
own cluster client is not used: its transactions start a thread a command, follow no MOVED, and send ASKING on another
connection than what it is for.

A slot on its way to another node is waited for (ASK, TRYAGAIN): a commit needs all keys of its partition in one place.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from redis import exceptions as faults
from redis.asyncio import Redis
from redis.crc import key_slot

from features.store import StoreUnavailable

REDIRECTIONS: Final = (faults.AskError, faults.TryAgainError, faults.ClusterDownError)
"""A cluster's answers (MOVED is a kind of ASK) that refuse a call before anything of it was done."""

UNSETTLED_PAUSE_S: Final = 0.1
"""Pause before a cluster that is changing is asked again."""

_CUT: Final = (faults.ConnectionError, faults.TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Node:
    """A Redis: its URL with credentials, and a client of its own."""

    url: str
    client: Redis


class Nodes:
    """The Redis at `url`, or the nodes of the cluster that it is a part of, found out when first asked.

    `url` may name several nodes of a cluster, with commas between them: any of them will do. `connect` makes a client
    of one node's URL; `patience_s` bounds how long one node is asked who owns which slots.
    """

    def __init__(self, url: str, connect: Callable[[str], Redis], patience_s: float) -> None:
        self._seeds: Final = _one_each(url)
        self._connect, self._patience_s = connect, patience_s
        self._nodes: dict[str, Node] = {}
        self._known: list[str] = list(self._seeds)  # whom to ask about slots; who failed last comes last
        self._owners: dict[int, str] = {}  # by slot; empty for a Redis that is no cluster
        self._masters: list[str] = []
        self._stale = True
        self._alone = False  # Redis has said so
        self._learning = asyncio.Lock()
        for seed in self._seeds:
            self._node(seed)  # refuses a wrong URL at once

    @property
    def are_one(self) -> bool:
        """Whether there is no cluster, as far as was found out."""
        return self._alone and not self._owners

    async def of(self, key: str) -> Node:
        """The node that owns a key's slot, as far as is known."""
        await self._learn()
        return self._node(self._owners.get(key_slot(key.encode()), self._seeds[0]))

    async def all(self) -> list[Node]:
        """Every node that owns slots; the one Redis where there is no cluster."""
        await self._learn()
        return [self._node(url) for url in self._masters or self._seeds[:1]]

    def failed(self, node: Node) -> None:
        """A node did not answer: a cluster may have made another one the owner of its slots."""
        if self._owners:
            self._stale = True
            self._ask_last(node.url)

    async def redirected(self, node: Node, error: Exception, *, again: bool) -> None:
        """Learn from one of REDIRECTIONS that `node` gave; with `again`, not the first one, it takes a pause."""
        moved = isinstance(error, faults.MovedError)
        if isinstance(error, faults.MovedError):
            host = error.host or str(urlsplit(node.url).hostname)
            if not self._owners:
                self._stale = True  # a cluster, after all
            self._owners[error.slot_id] = _at(node.url, host, error.port)
        elif isinstance(error, faults.ClusterDownError):
            self._stale = True
        if again or not moved:
            await asyncio.sleep(UNSETTLED_PAUSE_S)

    async def close(self) -> None:
        """Close every connection."""
        for node in self._nodes.values():
            await node.client.aclose()

    def _node(self, url: str) -> Node:
        if url not in self._nodes:
            self._nodes[url] = Node(url, self._connect(url))
        return self._nodes[url]

    def _ask_last(self, url: str) -> None:
        self._known.sort(key=lambda known: known == url)

    async def _learn(self) -> None:
        """Ask who owns which slots, if that may have changed; raises what the last node said if none answers."""
        async with self._learning:
            if not self._stale:
                return
            last: Exception | None = None
            for url in list(self._known):
                try:
                    async with asyncio.timeout(self._patience_s):
                        slots = await _slots(self._node(url).client)
                except _CUT as error:
                    last = error
                    self._ask_last(url)
                    continue
                except faults.ResponseError as error:
                    self._not_told(str(error))
                    return
                await self._adopt(url, slots)
                return
            if last is not None:
                raise last

    def _not_told(self, said: str) -> None:
        """No cluster, or its slots are not told to this user, who then learns from each MOVED."""
        self._stale = said.startswith("BUSY")
        self._alone = "cluster support disabled" in said
        if self._alone and len(self._seeds) > 1:
            raise StoreUnavailable("Redis: several addresses are for a cluster, and these are none: name one")

    async def _adopt(self, asked: str, slots: list[list[object]]) -> None:
        """Take over the ranges that CLUSTER SLOTS gave: first, last, master, replicas; each node begins host, port."""
        owners: dict[int, str] = {}
        masters: dict[str, None] = {}
        replicas: dict[str, None] = {}
        for first, last, *nodes in slots:
            urls = [_at(asked, *_place(asked, cast(list[object], node))) for node in nodes]
            owners.update(dict.fromkeys(range(cast(int, first), cast(int, last) + 1), urls[0]))
            masters[urls[0]] = None
            replicas.update(dict.fromkeys(urls[1:]))
        known = list(dict.fromkeys([*masters, *replicas, *self._seeds]))
        for url in set(self._nodes) - set(known):
            await self._nodes.pop(url).client.aclose()
        self._known, self._owners, self._masters, self._stale = known, owners, list(masters), False


async def _slots(redis: Redis) -> list[list[object]]:
    found = await redis.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # redis-py
    return cast(list[list[object]], found)


def _one_each(url: str) -> list[str]:
    """A URL with one host for each host of `url`."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [url]
    return [parts._replace(netloc=f"{login}{at}{host.strip()}").geturl() for host in hosts.split(",")]


def _at(url: str, host: str, port: int) -> str:
    """`url`, credentials and options included, with another host and port."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{f'[{host}]' if ':' in host else host}:{port}").geturl()


def _place(asked: str, node: list[object]) -> tuple[str, int]:
    """Host and port of a node; one that does not know its own name is the one that was asked."""
    host = cast(bytes | None, node[0])
    return host.decode() if host else str(urlsplit(asked).hostname), cast(int, node[1])
