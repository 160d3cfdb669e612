"""The monitor says whether the process is ready, and ends it when nothing comes of what is there."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from aiokafka.errors import KafkaConnectionError

from features.store import StoreUnavailable
from streams import metrics
from streams.endpoints import Trouble
from streams.meter import Gauge
from streams.monitor import HEALTHY_S, STALE_S, Monitor, Stalled
from streams.observer import Observer
from streams.running import _RETRY
from streams.stall import READY_S, Behind, Place
from tests.streams.working import Clock

HERE: Place = ("clickstream", 3)


@dataclass
class Member:
    """A member of a group, as the test has it."""

    places: frozenset[Place] | None = frozenset({HERE})
    now: Behind = field(default_factory=lambda: Behind(5, 0))
    error: Exception | None = None

    async def behind(self) -> Mapping[Place, Behind]:
        """Where it stands, or the error."""
        if self.error is not None:
            raise self.error
        return {HERE: self.now}


@dataclass
class Setting:
    """A monitor, and all that it looks at."""

    member: Member = field(default_factory=Member)
    clock: Clock = field(default_factory=Clock)
    redis: Exception | None = None
    stall_s: float = 100.0

    def __post_init__(self) -> None:
        self.observer = Observer()
        self.monitor = Monitor(
            self.member, self.observer, self.ask_store, stall_s=self.stall_s, clock=self.clock.monotonic
        )

    async def ask_store(self) -> None:
        """Redis, or the error."""
        if self.redis is not None:
            raise self.redis

    def look(self, seconds: float = 0.0) -> list[str]:
        """Names of what is not well after that many seconds, looking every five."""
        while True:
            asyncio.run(self.monitor.look())
            if seconds <= 0:
                return [trouble.check for trouble in self.monitor.unready()]
            self.clock.now += 5
            seconds -= 5

    def shows(self, gauge: Gauge) -> float:
        """What a gauge shows."""
        return self.observer.meter.value(gauge)


def test_ready() -> None:
    """Joined, Kafka and Redis answer, and there is nothing that nobody works."""
    it = Setting()
    assert [trouble.check for trouble in it.monitor.unready()] == ["start"]
    assert it.look() == []
    assert it.shows(metrics.READY) == 1


def test_not_joined() -> None:
    """While it joins or rebalances it is not ready; without a partition of its own it is."""
    it = Setting()
    it.member.places = None
    assert it.look() == ["group"]
    it.member.places = frozenset()
    assert it.look() == []


@pytest.mark.parametrize("error", [TimeoutError(), KafkaConnectionError("away"), ConnectionResetError()])
def test_kafka_is_away(error: Exception) -> None:
    """Not ready at once, and again when it is back."""
    it = Setting()
    it.member.error = error
    assert it.look() == ["kafka"]
    assert it.shows(metrics.READY) == 0
    it.member.error = None
    assert it.look() == []


def test_redis_is_away() -> None:
    """Not ready at once, in the store's own words, and again when it is back."""
    it = Setting()
    it.redis = StoreUnavailable("Redis at redis://r: it cannot be reached")
    assert it.look() == ["redis"]
    assert it.monitor.unready() == [Trouble("redis", "Redis at redis://r: it cannot be reached")]
    it.redis = None
    assert it.look() == []


def test_a_trainer_needs_no_redis() -> None:
    """Where there is no store to ask, none is missed."""
    monitor = Monitor(Member(), Observer.of_trainer())
    asyncio.run(monitor.look())
    assert monitor.unready() == []


def test_lag_and_stall() -> None:
    """Records without a commit: shown at once, not ready after READY_S, ended after the bound; with commits never."""
    it = Setting()
    it.look()
    it.member.now = Behind(5, 40)
    assert it.look(READY_S - 5) == []
    assert it.observer.meter.value(metrics.LAG, "3") == 40
    assert it.look(5) == ["stall"]
    assert it.shows(metrics.QUIET) == READY_S
    it.observer.committed(*HERE, 0.01, 100)
    assert it.look() == []
    for _ in range(50):
        it.observer.moved(*HERE)
        assert it.look(5) == []


def test_a_stall_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """It raises what asks for a new start; the log says partition, position, lag and seconds, also as fields."""
    it = Setting(stall_s=40)
    it.member.now = Behind(5, 40)
    it.look(35)
    with pytest.raises(Stalled, match=r"clickstream/3 at offset 5 for 40 s, and 40 records are left"):
        it.look(5)
    assert issubclass(Stalled, _RETRY)
    (told,) = (record for record in caplog.records if record.name == "streams.monitor")
    assert told.levelno == logging.CRITICAL and "40 records are left" in told.message
    fields = {name: vars(told)[name] for name in ("topic", "partition", "offset", "lag", "stalled_s")}
    assert fields == {"topic": "clickstream", "partition": 3, "offset": 5, "lag": 40, "stalled_s": 40}


@pytest.mark.parametrize("places", [None, frozenset({HERE})])
def test_silence_of_kafka_ends_the_process_too(places: frozenset[Place] | None) -> None:
    """A group that is never joined, or a Kafka that never answers, is waited for no longer."""
    it = Setting()
    it.member.places, it.member.error = places, TimeoutError()
    it.look(95)
    with pytest.raises(Stalled, match=r"the group was not joined for 100 s|Kafka does not say"):
        it.look(5)


def test_a_standby_waits_for_kafka() -> None:
    """Who has no partition has nothing to lose: it stays, not ready."""
    it = Setting()
    it.member.places, it.member.error = frozenset(), TimeoutError()
    assert it.look(1_000) == ["kafka"]


def test_old_news() -> None:
    """What was found long ago says nothing about now: neither does a loop that does not turn."""
    it = Setting()
    it.look()
    it.clock.now += STALE_S + 1
    assert [trouble.check for trouble in it.monitor.unready()] == ["monitor"]
    assert it.monitor.unhealthy() == []
    for _ in range(int(HEALTHY_S) + 1):
        it.monitor.watchdog.look(1.0)
    assert [trouble.check for trouble in it.monitor.unhealthy()] == ["loop"]
    assert [trouble.check for trouble in it.monitor.unready()] == ["loop", "monitor"]


def test_watching() -> None:
    """It looks and beats by itself until it is cancelled, or the stall is over its bound."""
    stalls = Monitor(Member(now=Behind(0, 1)), Observer(), stall_s=0.05)

    async def watch() -> None:
        with pytest.raises(Stalled):
            await asyncio.wait_for(stalls.watch(), 10)
        calm = Monitor(Member(), Observer())
        watching = asyncio.create_task(calm.watch())
        async with asyncio.timeout(10):
            while calm.unready():  # noqa: ASYNC110  # it has no event for tests
                await asyncio.sleep(0)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(watch())
