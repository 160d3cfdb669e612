"""Calls to one Redis: bounded in time, repeated after a cut, and failing by what the caller can do next."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

from redis import exceptions as faults
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.store import StoreUnavailable

Answered = TypeVar("Answered")

PAUSES_S: Final = (0.05, 0.25)
"""Pauses before a call that was cut is made again: so it is made three times at most."""

MAX_CONNECTIONS: Final = 32
"""Connections at once; a call beyond them waits for one, within its time."""

_REFUSED: Final = (faults.AuthenticationError, faults.AuthorizationError, faults.NoPermissionError)
_ELSEWHERE: Final = (faults.MovedError, faults.AskError)
_UNSETTLED: Final = (faults.ClusterDownError, faults.MasterDownError, faults.TryAgainError)

_FULL: Final = "it is out of memory: raise its maxmemory, or move a namespace to another Redis"
_REPLICA: Final = "it is a read-only replica: use the address of the primary"

_ADVICE: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (_REFUSED, "it refuses this user: correct the user, the password or the user's rights (ACL)"),
    ((faults.BusyLoadingError,), "it is still loading its data from disk: wait until it has"),
    ((faults.OutOfMemoryError,), _FULL),
    ((faults.ReadOnlyError,), _REPLICA),
    (_ELSEWHERE, "it holds only a part of a cluster's slots: use the address of one Redis that holds all"),
    (_UNSETTLED, "its cluster is changing or down: wait, else repair it"),
    ((faults.InvalidResponse,), "what answers there does not speak Redis' protocol: correct the address"),
    ((faults.TimeoutError, TimeoutError), "it did not answer in time: look at its load, its slow log and the network"),
    ((faults.ConnectionError, OSError), "it cannot be reached: see that it runs and that the address is right"),
)
"""What to do about each error, the first that fits."""

_CODES: Final[dict[str, str]] = {
    "BUSY": "another script keeps it busy: wait, else SCRIPT KILL",
    "MISCONF": "it cannot write to its disk and refuses changes: free space or see its log",
    "NOREPLICAS": "it has too few replicas to accept changes: bring them back or lower min-replicas-to-write",
    "OOM": _FULL,
    "READONLY": _REPLICA,
}
"""What to do about errors that the client does not name, by code; scripts and transactions put words before it."""

_CODE: Final = re.compile(rf"(?:^|: -|caused error: \(['\"]|because of: )({'|'.join(_CODES)}) ")


class RedisLink:
    """A client, its address without credentials, and the time (seconds) that any one call may take."""

    def __init__(self, url: str, *, timeout_s: float, protocol: Literal[2, 3]) -> None:
        self.address: Final = plain_address(url)
        self._timeout_s = timeout_s
        # The client's own retries are off: only a commit can know what a repetition means.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            protocol=protocol,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        self.client: Final = Redis.from_pool(pool)

    async def ask(self, question: Callable[[], Awaitable[Answered]]) -> tuple[Answered, bool]:
        """The answer, and whether the question was put more than once because a connection was cut.

        Raises StoreUnavailable, with what to do, when there is no answer within the time or Redis refuses to work.
        """
        repeated = False
        try:
            async with asyncio.timeout(self._timeout_s):
                for pause_s in PAUSES_S:
                    try:
                        return await question(), repeated
                    except faults.ConnectionError as error:
                        if isinstance(error, _REFUSED):
                            raise
                    repeated = True
                    await asyncio.sleep(pause_s)
                return await question(), repeated
        except (faults.RedisError, OSError) as error:
            advice = advice_on(error)
            if advice is None:
                raise
            raise StoreUnavailable(
                f"Redis at {self.address}: {advice} ({str(error) or type(error).__name__})"
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()


def advice_on(error: Exception) -> str | None:
    """What to do about `error`, None if it is a mistake of ours or of what lives under our keys."""
    for kinds, advice in _ADVICE:
        if isinstance(error, kinds):
            return advice
    code = _CODE.search(str(error))
    return _CODES[code.group(1)] if code else None


def plain_address(url: str) -> str:
    """`url` without user, password and options, fit for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
