"""Each kind of fault, made to happen."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from redis import Redis, RedisError

from tests.services import Service
from tests.soak.crew import Crew, Member
from tests.soak.feed import Feed
from tests.soak.patience import until

POINT_TIMEOUT_S: Final = 40.0
"""How long a worker may live under an order to die."""
WORKER_S: Final = 60.0
"""How long there may be no worker fit for a fault."""
_SAVE: Final = """
local saved = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  saved[#saved + 1] = key
  saved[#saved + 1] = redis.call('DUMP', key)
end
return saved
"""
_RESTORE: Final = """
redis.call('FLUSHALL')
for at = 1, #ARGV, 2 do
  redis.call('RESTORE', ARGV[at], 0, ARGV[at + 1])
end
"""


@dataclass
class Faults:
    """What faults are made with; `dice` chooses among workers."""

    crew: Crew
    feed: Feed
    kafka: Service
    redis: Service
    client: Redis
    dice: Random
    session_s: float

    async def happen(self, name: str, length_s: float) -> None:
        """Let a fault of a kind begin, last and end."""
        act: Callable[[float], Awaitable[None]] = getattr(self, f"_{name}")
        await act(length_s)

    async def _worker(self) -> Member:
        await until(lambda: bool(self.crew.workers()), WORKER_S)
        return self.dice.choice(self.crew.workers())

    async def _worker_kill(self, _: float) -> None:
        (await self._worker()).signal(signal.SIGKILL)

    async def _worker_zombie(self, _: float) -> None:
        await self._stopped(await self._worker(), self.session_s + 2.0)

    async def _worker_replace(self, _: float) -> None:
        (await self._worker()).signal(signal.SIGTERM)

    async def _worker_burst(self, length_s: float) -> None:
        joined = []
        for _ in range(max(2, round(length_s))):
            joined.append(self.crew.start(replaced=False))
            await asyncio.sleep(1.0)
        for member in joined:
            member.signal(signal.SIGTERM)
            await asyncio.sleep(1.0)

    async def _trainer_kill(self, _: float) -> None:
        self.crew.trainer().signal(signal.SIGKILL)

    async def _trainer_pause(self, length_s: float) -> None:
        await self._stopped(self.crew.trainer(), length_s)

    async def _stopped(self, member: Member, length_s: float) -> None:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(length_s)
        member.signal(signal.SIGCONT)

    async def _redis_kill(self, length_s: float) -> None:
        await asyncio.to_thread(self.redis.kill)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.redis.start)

    _redis_away = _redis_kill

    async def _redis_pause(self, length_s: float) -> None:
        await self._paused(self.redis, length_s)

    async def _paused(self, service: Service, length_s: float) -> None:
        service.pause()
        await asyncio.sleep(length_s)
        service.resume()

    async def _redis_cut(self, length_s: float) -> None:
        for _ in range(10):
            await asyncio.to_thread(self.client.client_kill_filter, _type="normal", skipme=True)
            await asyncio.sleep(length_s / 10)

    async def _redis_full(self, length_s: float) -> None:
        await asyncio.to_thread(self.client.config_set, "maxmemory", 1)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.client.config_set, "maxmemory", 0)

    async def _redis_emptied(self, _: float) -> None:
        await asyncio.to_thread(self.client.flushall)

    async def _redis_older(self, length_s: float) -> None:
        kept = await asyncio.to_thread(self.client.eval, _SAVE, 0)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.client.eval, _RESTORE, 0, *kept)

    async def _kafka_kill(self, length_s: float) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.kafka.start)

    async def _kafka_away(self, length_s: float) -> None:
        await self._paused(self.kafka, length_s)

    async def _duplicate_delivery(self, _: float) -> None:
        await self.feed.start_again()

    async def reach(self, point: str) -> None:
        """Have one worker die at a fault point, and another if that one was ended by something else before."""
        before = self.crew.points[point]
        while self.crew.points[point] == before:
            member = await self._doomed(point)
            if point == "during_rebuild":
                await self._lose_all()
            await until(lambda: member not in self.crew.members, POINT_TIMEOUT_S)  # noqa: B023  # called at once
            member.ordered = False
            if not member.replaced:
                member.signal(signal.SIGTERM)

    async def _lose_all(self) -> None:
        """Empty Redis, as soon as it answers."""
        while True:
            try:
                await asyncio.to_thread(self.client.flushall)
                return
            except RedisError:
                await asyncio.sleep(0.5)

    async def _doomed(self, point: str) -> Member:
        if point == "during_claim":  # they claim when they come
            return self.crew.start(die_at=f"{point}:1", replaced=False)
        order = f"{point}:{self.dice.randint(1, 3)}"
        member = await self._worker()
        member.orders.write_text(order)
        member.ordered = True
        return member
