"""Each kind of fault, made to happen."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from redis import Redis, RedisError

from tests.services import Service
from tests.soak.crew import STOP_S, Crew, Member
from tests.soak.feed import Feed
from tests.soak.installation import Installation
from tests.soak.patience import until
from tests.soak.retention import Cut, Unread

POINT_TIMEOUT_S: Final = 40.0
"""How long a worker may live under an order to die."""
WORKER_S: Final = 60.0
"""How long there may be no worker fit for a fault."""
EFFECT_S: Final = 20.0
"""How long it may take until a worker says that a fault has reached it."""
FEW_EVENTS: Final = 2
"""What the memory of a starved worker suffices for."""
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


class NotMade(Exception):
    """A fault that could not be made to happen, or that nobody met."""


@dataclass
class Faults:
    """What faults are made with; `dice` chooses among workers."""

    crew: Crew
    feed: Feed
    installation: Installation
    client: Redis
    dice: Random
    session_s: float
    cut: dict[int, Cut] = field(default_factory=dict)

    async def happen(self, name: str, length_s: float) -> None:
        """Let a fault of a kind begin, last and end; raises NotMade."""
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

    async def _worker_starved(self, length_s: float) -> None:
        await self._starved(FEW_EVENTS, "out of memory", length_s)  # halves chunks, and goes on
        await self._starved(0, "not enough memory for one record", 0.0)  # ends, and is replaced

    async def _starved(self, events: int, words: str, length_s: float) -> None:
        """Let the memory of a worker suffice for so many events until it says these words, and `length_s` longer."""
        for _ in range(3):  # something else may have ended it before
            member = await self._worker()
            before = self.crew.times_said(words, member)
            member.starve(events)
            met = await until(lambda: self.crew.times_said(words, member) > before, EFFECT_S)  # noqa: B023  # at once
            await asyncio.sleep(length_s if met else 0.0)
            member.feed()
            if met:
                return
        raise NotMade(f"no worker said {words!r}")

    async def _trainer_kill(self, _: float) -> None:
        self.crew.trainer().signal(signal.SIGKILL)

    async def _trainer_pause(self, length_s: float) -> None:
        await self._stopped(self.crew.trainer(), length_s)

    async def _stopped(self, member: Member, length_s: float) -> None:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(length_s)
        member.signal(signal.SIGCONT)

    async def _redis_kill(self, length_s: float) -> None:
        await asyncio.to_thread(self.installation.redis.kill)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.installation.redis.start)

    _redis_away = _redis_kill

    async def _redis_pause(self, length_s: float) -> None:
        await self._paused(self.installation.redis, length_s)

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
        await asyncio.to_thread(self.installation.kafka.kill)
        await asyncio.sleep(length_s)
        await asyncio.to_thread(self.installation.kafka.start)

    async def _kafka_away(self, length_s: float) -> None:
        await self._paused(self.installation.kafka, length_s)

    async def _produce_errors(self, length_s: float) -> None:
        before = self._refusals()
        await self._stamped("CreateTime", oldest_ms=0)  # every record is older when it comes: Kafka refuses it
        await asyncio.sleep(length_s)
        met = await until(lambda: self._refusals() > before, EFFECT_S)
        await self._stamped("LogAppendTime", oldest_ms=2**63 - 1)
        if not met:
            raise NotMade("no worker's intents were refused")

    async def _stamped(self, kind: str, oldest_ms: int) -> None:
        """Say what the time stamps of intents are, and how old they may be."""
        changes = {"message.timestamp.type": kind, "message.timestamp.before.max.ms": oldest_ms}
        installation = self.installation
        await asyncio.to_thread(installation.configure, installation.settings.intents, changes)

    def _refusals(self) -> int:
        """How often Kafka has refused records of the processes that there are now."""
        return sum(self.crew.times_said("InvalidTimestampError", member) for member in self.crew.members)

    async def _duplicate_delivery(self, _: float) -> None:
        await self.feed.start_again()

    async def _retention(self, length_s: float) -> None:
        if not await self.crew.without_workers(STOP_S):
            raise NotMade("workers do not end")
        await asyncio.sleep(length_s)  # so that records come that nobody has read
        unread = Unread(self.crew.job, self.installation)
        self.cut |= await asyncio.to_thread(unread.delete_some, self.dice)
        self.crew.hiring = True
        if not self.cut:
            raise NotMade("there was nothing that could be deleted")

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
