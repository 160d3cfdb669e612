"""What worker and trainer tell is what they did: counted when it is done, once, and by chunk, not by event."""

import asyncio
import sys
from collections import Counter
from dataclasses import replace
from types import FrameType
from typing import Any, cast

import numpy as np
import pytest

from features.memory_store import MemoryStore
from features.store import StoreUnavailable
from intents.alarms import Curve
from intents.counts import F64
from intents.life import Rules
from intents.model import Model
from intents.model_store import ModelStore
from intents.targets import Target
from streams import metrics
from streams.dead_letters import TooManyDeadLetters
from streams.engine import Engine
from streams.models import ModelWatch
from streams.observed_store import observed
from streams.observer import Observer
from streams.record_chunk import RecordChunk
from streams.train import Training, resume
from streams.worker import Worker
from streams.worker_app import take_up
from tests.intents.replaying import Pair, setup_of
from tests.intents.steered import HORIZON, LATENESS, Shop, steered_model
from tests.intents.test_training import turning
from tests.streams.test_dead_letters import BAD, ancient, mixed
from tests.streams.test_train import kafka
from tests.streams.test_train import topic as lessons
from tests.streams.working import KEY, LANE, Clock, StandIn, TroubledStore, worker


class Seen:
    """A worker on a stand-in for Kafka, and its observer."""

    def __init__(self, records: list[Pair], limit: int = 1_000, idle_s: float = 0.0) -> None:
        self.app, self.store = StandIn(records), TroubledStore()
        self.observer = Observer(clock=lambda: 1_000.0)
        store = cast(MemoryStore, observed(self.store, self.observer))
        self.worker: Worker = worker(self.app, store, limit=limit, idle_s=idle_s)
        self.worker.steps.observer = self.observer

    def work(self, size: int = 1_000) -> "Seen":
        """Work all there is."""
        asyncio.run(self.app.deliver(self.worker.work, size))
        return self

    def count(self, metric: Any, label: str = "") -> float:
        """What a metric shows."""
        return self.observer.meter.value(metric, label)

    def intents(self) -> dict[str, float]:
        """Intents counted, by status, as far as there are any."""
        counts = {status: self.count(metrics.INTENTS, status) for status in metrics.INTENTS.values}
        return {status: count for status, count in counts.items() if count}

    def refusals(self) -> dict[str, float]:
        """Refusals counted, by reason, as far as there are any."""
        counts = {reason: self.count(metrics.REFUSALS, reason) for reason in metrics.REFUSALS.values}
        return {reason: count for reason, count in counts.items() if count}


def lives() -> list[Pair]:
    """Intents that begin, change, are fulfilled, expire and are forgotten."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.view(1, "tea", 0.7)
    shop.view(2, "tea", 0.3)
    shop.do("purchase", 3, "tea")
    shop.view(4, "soap", 0.5, "bert")
    shop.view(5, "bread", 0.5, "cora")
    shop.do("forget", 6, None, "cora")
    shop.clock(HORIZON + 10)
    return shop.records


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_events_and_intents(size: int) -> None:
    """Events are those committed, intents those published by status, however the records come."""
    seen = Seen(lives()).work(size)
    assert seen.count(metrics.EVENTS) == len(lives())
    assert seen.intents() == Counter(status for status, _, _ in seen.app.said())
    assert set(seen.intents()) == {"detected", "strengthened", "weakened", "fulfilled", "expired", "forgotten"}
    assert seen.count(metrics.COMMIT) == len(seen.store.taken)
    written = sum(len(state) for commit in seen.store.taken for state in commit.states.values() if state is not None)
    assert seen.count(metrics.STATE_BYTES) == written > 0
    assert seen.count(metrics.CLAIMS) == 1
    assert seen.refusals() == {}


def test_counted_once_though_tried_again() -> None:
    """What is tried again, waited for, or found done already counts once; each wait counts as one."""
    seen = Seen(lives())
    seen.store.before.extend([RuntimeError("once"), StoreUnavailable("away")])
    seen.store.after.append(StoreUnavailable("the answer was cut off"))
    seen.work(3)
    assert seen.count(metrics.EVENTS) == len(lives())
    assert seen.intents() == Seen(lives()).work().intents()
    assert seen.count(metrics.WAITS, "redis") == 2


def test_fenced() -> None:
    """A commit that another claim fences is counted as such, and its events when they are committed."""
    seen = Seen(lives())

    async def steal() -> None:
        await seen.store.claim(KEY, "thief")

    seen.store.before.append(steal)
    seen.work(3)
    assert (seen.count(metrics.LOST, "fenced"), seen.count(metrics.LOST, "read")) == (1, 0)
    asyncio.run(seen.store.claim(KEY, "thief"))
    seen.app.records = [*lives(), lives()[-1]]
    seen.work()
    assert seen.count(metrics.LOST, "read") == 1
    assert seen.count(metrics.EVENTS) == len(lives()) + 1
    assert seen.count(metrics.CLAIMS) == 3


@pytest.mark.parametrize("commits", [0, 1])
def test_deleted_unread(commits: int) -> None:
    """What retention took is counted with the first commit behind it, once, though the claim is lost soon after."""
    seen = Seen(lives())
    seen.worker.steps.engine.max_customers = 2  # so that it takes several commits

    async def nothing() -> None:
        pass

    async def steal() -> None:
        await seen.store.claim(KEY, "thief")

    seen.store.before.extend([*([nothing] * commits), steal])
    asyncio.run(seen.worker.work([replace(seen.app.chunk(2), start=0, missing=2)]))
    assert (seen.count(metrics.GONE), len(seen.app.rewinds)) == (2 * commits, 1)
    if not commits:
        asyncio.run(seen.worker.work([replace(seen.app.chunk(2), start=0, missing=2)]))
        seen.app.sought = len(lives())
    seen.work()
    assert seen.count(metrics.GONE) == 2
    assert seen.store.at().position == len(lives())


def test_refusals_and_dead_letters() -> None:
    """Refusals are counted by why, once however often the chunk is tried; dead letters when they are published."""
    seen = Seen(mixed())
    seen.store.before.extend([RuntimeError("not yet")] * 4)
    seen.work()
    assert (seen.refusals(), seen.count(metrics.DEAD_LETTERS)) == ({"not_json": 2}, 2)
    seen = Seen(ancient()).work()
    assert seen.refusals() == {"unverifiable_late": 1}
    seen = Seen(lives())
    seen.store.poison = "bert"
    seen.work()
    assert seen.refusals() == {"bug": 1}
    seen = Seen([BAD] * 5, limit=3)
    with pytest.raises(TooManyDeadLetters):
        seen.work(2)
    assert seen.count(metrics.DEAD_LETTERS) == 2


def stamped(chunk: RecordChunk, *stamps: int) -> RecordChunk:
    """The chunk with the broker's timestamps (UTC ms)."""
    return replace(chunk, timestamps=np.array(stamps))


def test_from_event_to_intent() -> None:
    """A record with intents counts once, by the broker's timestamp and the clock given; deadlines do not count."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.view(1, "soap", 0.001)
    shop.view(2, "bread", 0.4)
    shop.do("purchase", 3, "bread")
    shop.view(4, "jam", 0.4)
    shop.clock(HORIZON + 10)
    seen = Seen(shop.records)
    seen.observer.clock = lambda: 1_700_000_000.0
    at = 1_700_000_000_000
    stamps = (at - 40, at - 9_999, at - 2_000, at - 300, -1)
    asyncio.run(seen.worker.work([stamped(seen.app.chunk(0, 5), *stamps)]))
    asyncio.run(seen.worker.work([stamped(seen.app.chunk(5, 6), at + HORIZON + LATENESS)]))
    assert ("expired", "anna", "tea") in seen.app.said()
    buckets = {
        sample.labels["le"]: sample.value
        for family in seen.observer.meter.registry.collect()
        for sample in family.samples
        if sample.name == "micro_intents_event_to_intent_seconds_bucket"
    }
    assert (buckets["0.025"], buckets["0.05"], buckets["0.25"], buckets["0.5"], buckets["1.0"]) == (0, 1, 1, 2, 2)
    assert buckets["2.5"] == buckets["+Inf"] == 3


def test_a_broker_whose_clock_is_ahead() -> None:
    """Intents are never earlier than their records."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    seen = Seen(shop.records)
    asyncio.run(seen.worker.work([stamped(seen.app.chunk(), 1_005_000)]))
    registry = seen.observer.meter.registry
    assert registry.get_sample_value("micro_intents_event_to_intent_seconds_sum") == 0


def test_no_work_for_each_event() -> None:
    """A chunk of 900 events that lead to nothing calls the observer, and what it calls, as often as one of 9."""

    def calls(count: int) -> int:
        shop = Shop()
        for n in range(count):
            shop.view(n, "tea", 0.001, f"c{n}")
        seen = Seen(shop.records)
        inside = total = 0

        def profile(frame: FrameType, event: str, _: object) -> None:
            nonlocal inside, total
            ours = frame.f_code.co_filename.endswith(("streams/observer.py", "streams/meter.py"))
            if event == "call":
                inside += ours or inside > 0
                total += inside > 0
            elif event == "return" and inside:
                inside -= 1

        sys.setprofile(profile)
        seen.work()
        sys.setprofile(None)
        assert seen.count(metrics.EVENTS) == count
        return total

    few = calls(9)
    assert 0 < calls(900) == few


def test_progress_is_what_was_committed() -> None:
    """A commit says that its partition moves, also one without events; a claim does not."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    seen = Seen(shop.records, idle_s=60)
    asyncio.run(seen.worker.tick())
    assert (seen.count(metrics.CLAIMS), seen.observer.take_moved()) == (1, set())
    seen.work()
    assert seen.observer.take_moved() == {tuple(LANE)}
    assert seen.observer.take_moved() == set()


def test_idle_time_counts_its_intents(monkeypatch: pytest.MonkeyPatch) -> None:
    """What expires by idle time is counted, and is no event."""
    clock = Clock.of_worker(monkeypatch)
    shop = Shop()
    shop.view(0, "tea", 0.4)
    seen = Seen(shop.records, idle_s=60).work()
    clock.now += (HORIZON + 2 * LATENESS) / 1000
    asyncio.run(seen.worker.tick())
    assert (seen.intents(), seen.count(metrics.EVENTS)) == ({"detected": 1, "expired": 1}, 1)
    assert seen.observer.take_moved() == {tuple(LANE)}


def test_the_trainer(tmp_path: Any) -> None:
    """Records read, those passed over, labels, and the snapshot that was saved, or could not be."""
    observer = Observer.of_trainer()
    app = kafka([*lessons(), b"nonsense"])
    made = Training(
        app.app, resume(ModelStore(str(tmp_path / "models")), HORIZON), ModelStore(str(tmp_path / "models")), 9_999
    )
    made.observer = observer
    value = observer.meter.value
    asyncio.run(app.deliver(made.work, 50))
    assert (value(metrics.EXAMPLES), value(metrics.UNREADABLE)) == (121, 1)
    now = made.trainer.now
    assert (value(metrics.POSITIVES), value(metrics.NEGATIVES)) == (now.positives, now.negatives)
    assert value(metrics.NEGATIVES) > 0
    assert observer.take_moved() == {("examples", 0)}
    wall = tmp_path / "models"
    wall.write_text("in the way of the folder")
    asyncio.run(made.save())
    assert (value(metrics.UNSAVED), value(metrics.MODEL_OFFSET)) == (1, 0)
    wall.unlink()
    asyncio.run(made.save())
    assert (value(metrics.UNSAVED), value(metrics.MODEL_OFFSET)) == (1, 121)


def test_how_good_what_was_said_is(tmp_path: Any) -> None:
    """Fading numbers beside the fallback's, shown from the first pair on, and whether the model loses."""
    app, store = kafka(turning()), ModelStore(str(tmp_path / "models"))
    made = Training(app.app, resume(store, HORIZON), store, 9_999, observer=Observer.of_trainer())
    value, names = made.observer.meter.value, ("micro_intents_auc", "micro_intents_log_loss")
    asyncio.run(made.work([app.chunk(0, 1)]))
    shown = [made.observer.meter.registry.get_sample_value(name) for name in (*names, "micro_intents_model_losing")]
    assert shown == [None, None, 0]
    for start, end in ((1, 13), (13, 25), (25, 49)):
        asyncio.run(made.work([app.chunk(start, end)]))
        told = made.trainer.progress
        area, precision = told.discrimination()
        assert [value(it) for it in (metrics.LOSS, metrics.FALLBACK_LOSS, metrics.SAID, metrics.RATE)] == [
            *(told.loss, told.fallback_loss, told.mean, told.rate)
        ]
        assert (value(metrics.AREA), value(metrics.PRECISION), value(metrics.JUDGED)) == (area, precision, told.pairs)
        assert value(metrics.MODEL_LOSING) == told.losing == (end == 25)
    assert value(metrics.LOSS) > value(metrics.FALLBACK_LOSS) > 0.1


def test_a_worker_shows_a_model_that_loses() -> None:
    """Ready it is, but it loses."""
    observer = Observer()
    for losing in (True, False):
        observer.speaks(replace(steered_model(), losing=losing), 0.2)
        told = [observer.meter.value(it) for it in (metrics.MODEL_READY, metrics.MODEL_LOSING, metrics.THRESHOLD)]
        assert told == [1, losing, 0.2]


def test_a_worker_shows_its_threshold() -> None:
    """As set, or as its target and its model have it, from each model on."""
    alarms: F64 = 1_000 * 0.9 ** np.arange(60.0)
    told = replace(steered_model(), curve=Curve(0, alarms, alarms * 0.2 + 0.1 * alarms * (np.arange(60) > 20), 100.0))
    setup, observer = setup_of(""), Observer()
    for wanted, model, shown in (
        (0.3, steered_model(), 0.3),
        (Target("precision", 0.3), steered_model(), 0.15),
        (Target("precision", 0.3), told, 0.22),
        (Target("alarms", 1.0), told, 0.23),
        (Target("alarms", 1.0), replace(told, losing=True), 0.15),
    ):
        engine = Engine(MemoryStore(), replace(setup, rules=Rules(wanted)), Model.untrained(setup.bundle))
        take_up(model, engine, observer)
        assert engine.model is model and observer.meter.value(metrics.THRESHOLD) == shown


def test_snapshots_that_cannot_be_used(tmp_path: Any) -> None:
    """What a look at the store refuses or finds disputed is shown as long as it is so."""
    store = ModelStore(str(tmp_path / "models"))
    app = kafka(lessons())
    made = Training(app.app, resume(store, HORIZON), store, 0.0)
    asyncio.run(made.work([app.chunk(0, 60)]))
    observer = Observer()
    watch = ModelWatch(store, made.trainer.bundle, observer)
    value = observer.meter.value
    assert watch.newer() is not None
    assert (value(metrics.MODEL_OFFSET), value(metrics.MODEL_READY)) == (60, 0)
    store.save(b"no snapshot", 70)
    store.save(b"nor this", 70)
    assert watch.newer() is None
    assert (value(metrics.REFUSED_SNAPSHOTS), value(metrics.DISPUTED_SNAPSHOTS)) == (2, 1)
    asyncio.run(made.work([app.chunk(60)]))
    assert watch.newer() is not None
    assert (value(metrics.REFUSED_SNAPSHOTS), value(metrics.MODEL_OFFSET)) == (0, 120)
