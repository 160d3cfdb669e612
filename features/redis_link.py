"""Calls to Redis: bounded in time, repeated after a cut, and failing by what the caller can do next."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from ssl import SSLError
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from redis import exceptions as faults
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer

from features.redis_nodes import REDIRECTIONS, Node, Nodes
from features.store import NotAllowed, StoreUnavailable

Answered = TypeVar("Answered")

PAUSES_S: Final = (0.05, 0.25)
"""Pauses before a call that was cut is made again: so it is made three times at most."""

MAX_CONNECTIONS: Final = 32
"""Connections at once; a call beyond them waits for one, within its time."""

_REFUSED: Final = (faults.AuthenticationError, faults.AuthorizationError, faults.NoPermissionError)
_UNSETTLED: Final = (faults.AskError, faults.TryAgainError)

_DENIED: Final = "it refuses this user: correct the user, the password or the user's rights (ACL)"
_AWAY: Final = "it cannot be reached: see that it runs and that the address is right (rediss:// where it wants TLS)"
_TLS: Final = (
    "no TLS with it: name the authority of its certificate (?ssl_ca_certs=/path/ca.pem), and see that the host's name "
    "is in it"
)
_FULL: Final = "it is out of memory: raise its maxmemory, or move a namespace to another Redis"
_REPLICA: Final = "it is a read-only replica: use the address of the primary"

_ADVICE: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (_REFUSED, _DENIED),
    ((faults.BusyLoadingError,), "it is still loading its data from disk: wait until it has"),
    ((faults.OutOfMemoryError,), _FULL),
    ((faults.ReadOnlyError,), _REPLICA),
    (_UNSETTLED, "its cluster is moving the partition's slot: wait, else finish that (redis-cli --cluster fix)"),
    ((faults.ClusterDownError,), "its cluster is down, at least in part: bring its nodes back"),
    ((faults.InvalidResponse,), "what answers there does not speak Redis' protocol: correct the address"),
    ((faults.TimeoutError, TimeoutError), "it did not answer in time: look at its load, its slow log and the network"),
    ((faults.ConnectionError, OSError), _AWAY),
)
"""What to do about each error, the first that fits."""

_CODES: Final[dict[str, str]] = {
    "BUSY": "another script keeps it busy: wait, else SCRIPT KILL",
    "MISCONF": "it cannot write to its disk and refuses changes: free space or see its log",
    "NOPERM": _DENIED,
    "NOREPLICAS": "it has too few replicas to accept changes: bring them back or lower min-replicas-to-write",
    "OOM": _FULL,
    "READONLY": _REPLICA,
}
"""What to do about errors that the client does not name, by code; scripts and transactions put words before it."""

_WORDS: Final = (
    ("The user executing the script can't", _DENIED),
    ("EXEC without MULTI", _DENIED),
    ("SELECT is not allowed in cluster mode", "a cluster has database 0 only: end its address with /0"),
)
"""What to do about errors without a code, by their words."""

_CODE: Final = re.compile(rf"(?:^|: -|caused error: \(['\"]|because of: )({'|'.join(_CODES)}) ")


class _Packed:
    """A connection that writes commands as the client's blocking one does, in C: its own way goes value by value."""

    def pack_command(self, *arguments: Any) -> Any:
        """The bytes to send."""
        return HiredisRespSerializer().pack(*arguments)


class RedisLink:
    """The way to one Redis or to a cluster's nodes; each call takes `timeout_s` (seconds) at most."""

    def __init__(self, url: str, *, timeout_s: float, protocol: Literal[2, 3]) -> None:
        self.address: Final = plain_address(url)
        self._timeout_s = timeout_s

        def connect(one: str) -> Redis:
            # The client's own retries are off: only a commit can know what a repetition means.
            pool = BlockingConnectionPool.from_url(
                one,
                max_connections=MAX_CONNECTIONS,
                timeout=timeout_s,
                protocol=protocol,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
            )
            pool.connection_class = type("PackedConnection", (_Packed, pool.connection_class), {})
            return Redis.from_pool(pool)

        self._nodes: Final = Nodes(url, connect, patience_s=timeout_s / 3)

    @property
    def is_one(self) -> bool:
        """Whether this is one Redis, no cluster, as far as is known."""
        return self._nodes.are_one

    async def ask(self, key: str, question: Callable[[Redis], Awaitable[Answered]]) -> tuple[Answered, bool]:
        """The answer of who holds `key`, and whether the question was put again because a connection was cut.

        Raises StoreUnavailable, with what to do, when there is no answer within the time or Redis refuses to work. A
        cluster's refusals because a slot is elsewhere, or on its way, are followed and waited for within the time.
        """
        return await self._ask(lambda: self._nodes.of(key), question)

    async def ask_all(self, question: Callable[[Redis], Awaitable[Answered]]) -> list[tuple[str, Answered]]:
        """The answer of every node that holds keys, with its address."""
        nodes, _ = await self._ask(self._first, lambda _: self._nodes.all())
        answers = []
        for node in nodes:
            answer, _ = await self._ask(partial(_same, node), question)
            answers.append((plain_address(node.url), answer))
        return answers

    async def _first(self) -> Node:
        return (await self._nodes.all())[0]

    async def _ask(
        self, choose: Callable[[], Awaitable[Node]], question: Callable[[Redis], Awaitable[Answered]]
    ) -> tuple[Answered, bool]:
        repeated, pauses = False, iter(PAUSES_S)
        node: Node | None = None
        refusal: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                while True:
                    if limit.expired():  # a client that is cut while it is told to stop says that it was cut, only
                        raise TimeoutError
                    try:
                        node = await choose()
                        return await question(node.client), repeated
                    except REDIRECTIONS as error:
                        assert node is not None
                        await self._nodes.redirected(node, error, again=refusal is not None)
                        refusal = error
                    except faults.ConnectionError as error:
                        pause_s = next(pauses, None)
                        if pause_s is None or isinstance(error, _REFUSED):
                            raise
                        repeated = True
                        if node is not None:
                            self._nodes.failed(node)
                        await asyncio.sleep(pause_s)
        except (faults.RedisError, OSError) as error:
            if node is not None:
                self._nodes.failed(node)
            said = refusal if refusal is not None and isinstance(error, TimeoutError) else error
            advice = advice_on(said)
            if advice is None:
                raise
            kind = NotAllowed if isinstance(said, _REFUSED) or advice is _DENIED else StoreUnavailable
            raise kind(f"Redis at {self.address}: {advice} ({str(said) or type(said).__name__})") from error

    async def close(self) -> None:
        """Close every connection."""
        await self._nodes.close()


async def _same(node: Node) -> Node:
    return node


def advice_on(error: Exception) -> str | None:
    """What to do about `error`, None if it is a mistake of ours or of what lives under our keys."""
    if isinstance(error.__cause__ or error.__context__, SSLError):
        return _TLS
    for kinds, advice in _ADVICE:
        if isinstance(error, kinds):
            return advice
    code = _CODE.search(str(error))
    if code:
        return _CODES[code.group(1)]
    return next((advice for words, advice in _WORDS if words in str(error)), None)


def plain_address(url: str) -> str:
    """`url` without user, password and options, fit for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
