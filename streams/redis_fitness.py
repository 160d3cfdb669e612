"""Whether a worker may run on its Redis: not on one that makes room by deleting states; looked at every minute."""

import logging
import time
from typing import Final

from features.redis_store import RedisStore
from features.store import NotAllowed

EVERY_S: Final = 60.0
"""How often Redis is asked how it is set up."""

_log = logging.getLogger(__name__)


class EvictingRedis(Exception):
    """Redis would delete states, silently, when it is full: the worker stops, and the message says what to set."""


class RedisFitness:
    """Looks at how a store's Redis is set up, at the first call and then every minute."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._next = 0.0
        self._told: set[str] = set()

    async def look(self) -> None:
        """Raise EvictingRedis where states may vanish; say once what else does not bode well."""
        if time.monotonic() < self._next:
            return
        try:
            checkups = await self._store.check()
        except NotAllowed as error:
            self._warn(f"whether Redis evicts states cannot be seen; see that it is set to noeviction: {error}")
            checkups = []
        self._next = time.monotonic() + EVERY_S
        for checkup in checkups:
            if checkup.evicts:
                raise EvictingRedis(
                    f"Redis at {checkup.address} would delete customers' states when it is full (maxmemory-policy "
                    f"{checkup.maxmemory_policy}): CONFIG SET maxmemory-policy noeviction there and in its redis.conf, "
                    "then start again"
                )
            for problem in checkup.problems_of_memory:
                self._warn(f"Redis at {checkup.address}: {problem}")

    def _warn(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s", what)
