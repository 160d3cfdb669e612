"""How the job comes along: positions and lags, sampled, and how long each partition stood though it had work.

A stall is over its bound when it goes on although every fault has ended for as long as its kind may take to get over.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import redis

from features.store import PartitionKey
from streams.settings import Settings
from tests.job import PARTITIONS
from tests.soak.schedule import CALM_S

SAMPLE_S: Final = 0.2
NOTED_S: Final = 1.0
"""Shorter stalls are none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that happened: its kind, when it began and ended (s from the beginning), and its bound after that."""

    name: str
    began: float
    ended: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class Stall:
    """A partition that had work and did not move from `began` to `ended`."""

    partition: int
    began: float
    ended: float

    @property
    def length_s(self) -> float:
        """How long it stood."""
        return self.ended - self.began

    def cause(self, faults: list[Fault]) -> Fault | None:
        """The fault it may be due to that leaves it the most time."""
        before = [fault for fault in faults if fault.began <= self.ended and fault.ended + fault.bound_s >= self.began]
        return max(before, key=lambda fault: fault.ended + fault.bound_s, default=None)

    def over_s(self, faults: list[Fault]) -> float:
        """How long it stood beyond its bound; 0 if it did not. One that began in calm has the time of calm, too."""
        cause = self.cause(faults)
        until = cause.ended + cause.bound_s if cause else 0.0
        calm = not any(it.began - NOTED_S <= self.began <= it.ended + it.bound_s for it in faults)
        return max(0.0, self.ended - max(until, self.began + CALM_S if calm else 0.0))


def read_positions(client: redis.Redis, settings: Settings) -> dict[int, int] | None:
    """Each partition's position in Redis (-1 where it has none); None while Redis does not answer."""
    keys = [PartitionKey(settings.namespace, settings.clickstream, number) for number in range(PARTITIONS)]
    try:
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hget(f"{key.prefix}meta", "position")
        return {number: int(found or -1) for number, found in enumerate(pipe.execute())}
    except (redis.RedisError, OSError):
        return None


@dataclass
class Progress:
    """Positions against the ends of the topic, over time."""

    ends: Mapping[int, int]
    read: Callable[[], dict[int, int] | None]
    clock: Callable[[], float] = time.monotonic
    stalls: list[Stall] = field(default_factory=list)
    lags: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    moved_at: dict[int, float] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            ends = dict(self.ends)
            found = await asyncio.to_thread(self.read)
            self.note(self.clock(), found, ends)
            await asyncio.sleep(SAMPLE_S)

    def note(self, now: float, found: Mapping[int, int] | None, ends: Mapping[int, int]) -> None:
        """Take one sample: a partition that moved, or has nothing to do, stands no longer."""
        for number in ends:
            since = self.moved_at.setdefault(number, now)
            if found is None or (found[number] == self.positions.get(number) and found[number] < ends[number]):
                continue
            if now - since > NOTED_S and self.lags[number] > 0:
                self.stalls.append(Stall(number, since, now))
            self.moved_at[number] = now
        if found is not None:
            self.positions = dict(found)
            self.lags = {number: ends[number] - max(found[number], 0) for number in ends}

    def close(self, now: float) -> None:
        """Count what still stands."""
        for number, since in self.moved_at.items():
            if self.lags[number] > 0 and now - since > NOTED_S:
                self.stalls.append(Stall(number, since, now))

    @property
    def lag(self) -> int:
        """Records not worked yet, when last seen."""
        return sum(self.lags.values())

    def all_moved_since(self, time: float) -> bool:
        """Whether each partition has moved since, or had nothing to do."""
        return all(moved > time for moved in self.moved_at.values())
