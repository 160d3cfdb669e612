"""Watches a worker or trainer from inside its process: is it ready, does it get on, and if not, end it.

Every two seconds it asks Kafka how far each assigned partition is behind, and Redis for an answer. What it finds is
what `/readyz` says; a stall that lasts ends the process with a code that asks for a new start.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from features.store import StoreUnavailable
from streams.endpoints import Endpoints, Trouble
from streams.observer import Observer
from streams.stall import READY_S, STALL_S, Behind, Place, Stall
from streams.watchdog import EVERY_S, Watchdog

LOOK_EVERY_S: Final = 2.0
HEALTHY_S: Final = 10.0
"""An event loop that is silent for longer is not healthy."""
STALE_S: Final = 20.0
"""What was found longer ago says nothing about now."""

_log = logging.getLogger(__name__)


class Stalled(Exception):
    """Nothing came of what is there, for too long: start the process again."""


class Member(Protocol):
    """What is watched: a member of a consumer group."""

    @property
    def places(self) -> frozenset[Place] | None:
        """What is assigned to it; None while it has not joined."""

    async def behind(self) -> Mapping[Place, Behind]:
        """Where each assigned partition stands; raises TimeoutError or KafkaError."""


@dataclass(slots=True)
class Monitor:
    """Looks at a member now and then; `ask_store` gets an answer of Redis, or raises StoreUnavailable."""

    member: Member
    observer: Observer
    ask_store: Callable[[], Awaitable[object]] | None = None
    address: tuple[str, int] | None = None
    stall_s: float = STALL_S
    clock: Callable[[], float] = time.monotonic
    stall: Stall = field(default_factory=Stall)
    watchdog: Watchdog = field(init=False)
    _endpoints: Endpoints | None = None
    _troubles: list[Trouble] = field(default_factory=lambda: [Trouble("start", "not looked at yet")])
    _looked_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Binds the address: raises CannotListen."""
        self.watchdog = Watchdog(self.stall_s)
        self._looked_at = self.clock()
        if self.address is not None:
            self._endpoints = Endpoints(self.address, self.observer.meter.registry, self.unhealthy, self.unready)

    async def watch(self) -> None:
        """Watch until cancelled; raises Stalled."""
        self.watchdog.start()
        if self._endpoints is not None:
            self._endpoints.start()
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                await self.look()
                await asyncio.sleep(min(LOOK_EVERY_S, self.stall_s / 4))
        finally:
            beating.cancel()
            self.watchdog.stop()
            if self._endpoints is not None:
                self._endpoints.stop()

    async def _beat(self) -> None:
        while True:
            self.watchdog.beat()
            await asyncio.sleep(EVERY_S / 2)

    async def look(self) -> None:
        """Look once, and note what was found; raises Stalled."""
        places = self.member.places
        troubles = [] if places is not None else [Trouble("group", "has not joined its consumer group, or rebalances")]
        behind, kafka = await self._kafka() if places is not None else (None, [])
        troubles += kafka + await self._store()
        now = self.clock()
        self.stall.look(now - self._looked_at, places, behind, self.observer.take_moved())
        self._looked_at = now
        if self.stall.seconds >= min(READY_S, self.stall_s / 2):
            troubles.append(Trouble("stall", self.stall.said))
        self._troubles = troubles
        lags = {place[1]: float(it.lag) for place, it in (behind or {}).items() if it.lag is not None}
        self.observer.stands(lags, self.stall.seconds, not troubles)
        if self.stall.seconds >= self.stall_s:
            self._end()

    async def _kafka(self) -> tuple[Mapping[Place, Behind] | None, list[Trouble]]:
        try:
            return await self.member.behind(), []
        except (TimeoutError, KafkaError, OSError) as error:
            return None, [Trouble("kafka", f"does not say where partitions end: {error!r}")]

    async def _store(self) -> list[Trouble]:
        try:
            if self.ask_store is not None:
                await self.ask_store()
        except StoreUnavailable as error:
            return [Trouble("redis", str(error))]
        return []

    def _end(self) -> None:
        fields: dict[str, object] = {"stalled_s": round(self.stall.seconds)}
        if self.stall.worst is not None:
            (topic, partition), silence = self.stall.worst
            fields |= {"topic": topic, "partition": partition, "offset": silence.last.position}
            fields["lag"] = silence.last.lag
        _log.critical("stalled: %s; ending the process", self.stall.said, extra=fields)
        raise Stalled(self.stall.said)

    def unhealthy(self) -> list[Trouble]:
        """What is wrong with the process itself: its event loop stands still."""
        silent = self.watchdog.silent_s
        return [Trouble("loop", f"the event loop is silent for {silent:.0f} s")] if silent > HEALTHY_S else []

    def unready(self) -> list[Trouble]:
        """What keeps the process from working, as of the last look."""
        age = self.clock() - self._looked_at
        stale = [Trouble("monitor", f"the last look is {age:.0f} s old")] if age > STALE_S else []
        return self.unhealthy() + stale + self._troubles
