"""States rebuilt from a log whose beginning is gone: they say since when they are whole, and count nothing older."""

import asyncio
import random

import orjson
import pytest

from features.log import DAY_MS
from features.state import States, decode
from features.tombstones import REBUILD_MS
from intents.adoption import Published
from intents.catalog import Catalogue
from streams.beginning import complete_since
from streams.inprocess import InProcess
from streams.settings import Settings
from streams.wire import Decoder
from streams.worker_app import _engine
from tests.features.building import judged, plain
from tests.features.naive_log import Entry
from tests.intents.naive_detect import lines_of
from tests.intents.replaying import MINUTE, Pair, chunk_of, setup_of
from tests.intents.steered import LATENESS, Shop, T, steered_model
from tests.streams.losing import ENDS, Job, busy_shop
from tests.streams.working import StandIn, TroubledStore, clean


def states_of(job: Job) -> dict[str, States]:
    """All states of a job."""
    return {name: decode([name], [blob]) for name, blob in job.store.states().items()}


def newest(records: list[Pair]) -> int:
    """The latest event time of records."""
    return max(int(orjson.loads(value or b"")["time"]) for _, value in records)


def lost_beginning(records: list[Pair], cut: int, at: int, *, aged: bool) -> Job:
    """A job whose store is emptied when it is at `at`, and whose log begins, or is young enough, from `cut` on."""
    job = Job(records)
    job.until(at)
    if aged:
        job.app.young = cut
    else:
        job.app.begin = cut
    job.lose(0)
    job.restart(acknowledged=at)
    return job


def noticed(job: Job) -> None:
    """A new worker claims its partition without waiting for a record, and begins to rebuild it."""
    for _ in range(2):
        asyncio.run(job.worker.tick())


@pytest.mark.parametrize("aged", [False, True], ids=["deleted", "too-old"])
@pytest.mark.parametrize("seed", range(12))
def test_rebuilt_from_what_is_left(seed: int, *, aged: bool) -> None:
    """Logs are what the oracle makes of the records that are left, and since `complete_since` those of a clean run.

    Nothing from before is in them, though some of it comes again; what was said is not contradicted.
    """
    dice = random.Random(seed)
    records = busy_shop(seed)
    at = dice.randrange(60, 150)
    cut = dice.randrange(10, at - 20)
    before = Job(records)
    before.until(at)
    job = lost_beginning(records, cut, at, aged=aged)
    said = list(job.app.of("intents"))
    job.until(len(records))
    since = job.store.at().complete_since
    assert newest(records[:cut]) < since <= newest(records[cut : cut + 40]) + LATENESS + 1
    lines = lines_of(chunk_of(Decoder(Catalogue()), 0, cut, records[cut:]))
    _, naive = judged([line.event for line in lines], since)
    logs = {name: plain(states) for name, states in states_of(job).items()}
    assert logs == {name: log.entries for name, log in naive.of.items() if log.entries}
    assert all(state.memory.complete_since.tolist() == [since] for state in states_of(job).values())
    whole = {name: plain(decode([name], [blob])) for name, blob in clean(records)[1].items()}
    recent = {name: [entry for entry in log if entry.time >= since] for name, log in whole.items()}
    assert logs == {name: log for name, log in recent.items() if log}
    assert job.app.of("intents")[: len(said)] == said
    assert all(sum(status in ENDS for status in life) == 1 and life[-1] in ENDS for life in job.lives().values())


def test_a_view_from_before_that_comes_again_asks_nothing() -> None:
    """A view that was counted before the loss, and is repeated after it, makes no intent; it is dead-lettered."""
    shop = Shop()
    shop.view(0, "tea", 0.1, "anna")
    for n in range(8):
        shop.view((30 + n) * MINUTE, "cups", 0.1, f"c{n}")
    again = shop.records[0]
    job = lost_beginning([*shop.records, again], 1, 9, aged=False)
    job.worker.steps.engine.model.now.touched.weights[0] *= 2.0  # now it would be wanted
    job.until(10)
    assert (job.app.said(), job.app.dead()) == ([], [(9, "unverifiable_late")])
    assert "anna" not in job.store.states()


def test_what_was_worked_before_is_not_refused_while_rebuilding() -> None:
    """What the rebuilt states do not count was counted once: no letter says otherwise, whatever Kafka has committed."""
    records = busy_shop(3)
    job = lost_beginning(records, 40, 100, aged=False)
    job.restart(acknowledged=-1)
    dead = len(job.app.dead())
    job.until(100)
    assert job.store.at().complete_since > 0
    assert len(job.app.dead()) == dead


def test_a_forget_from_before_keeps_its_effect() -> None:
    """A forget that is not in the log any more: an event from before it that came later stays out of the states."""
    shop = Shop()
    shop.view(0, "tea", 0.4, "anna")
    shop.do("forget", MINUTE, None, "anna")
    for n in range(8):
        shop.view((2 + n) * MINUTE, "cups", 0.1, f"c{n}")
    shop.records.append(shop.records[0])
    shop.do("view", MINUTE - 1, "tea", "anna")
    job = lost_beginning(shop.records, 2, 12, aged=False)
    noticed(job)
    job.until(12)
    assert job.store.at().position == 12
    assert "anna" not in job.store.states()


def test_a_whole_log_says_nothing() -> None:
    """Where the log reaches back to its beginning nothing is missing, and no state claims it."""
    records = busy_shop(2)
    job = lost_beginning(records, 0, 100, aged=False)
    job.until(len(records))
    assert job.store.at().complete_since == -1
    assert {int(state.memory.complete_since[0]) for state in states_of(job).values()} == {-1}


def test_a_log_that_is_cut_while_it_is_rebuilt(caplog: pytest.LogCaptureFixture) -> None:
    """Retention goes on during a rebuild: states say anew since when they are whole; nothing of it was unread."""
    records = busy_shop(8)
    job = lost_beginning(records, 10, 120, aged=False)
    noticed(job)
    job.until(40)
    assert 40 <= job.store.at().position < 50
    earlier = job.store.at().complete_since
    job.app.begin = 80
    job.until(len(records))
    since = job.store.at().complete_since
    assert earlier <= newest(records[:40]) + LATENESS < newest(records[:80]) < since
    whole = {name: plain(decode([name], [blob])) for name, blob in clean(records)[1].items()}
    for name, state in states_of(job).items():
        assert recent(plain(state), since) == recent(whole[name], since)
    assert "before they were read" not in caplog.text


def test_a_quiet_log_that_ends_before_it_is_rebuilt() -> None:
    """All that was to be worked again is gone, and nothing new comes: intents are taken over all the same."""
    records = busy_shop(5)[:100]
    job = Job(records)
    job.until(100)
    job.lose(35)
    job.app.begin = 100
    job.restart(acknowledged=100)
    noticed(job)
    assert (job.store.at().position, job.store.at().adopt_until) == (100, -1)
    assert job.store.at().complete_since > newest(records)


def test_what_is_gone_unread_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Of the records that are gone, those that nobody has worked are missing, and only those."""
    records = busy_shop(7)
    job = Job(records)
    job.until(105)
    job.lose(35)
    job.app.begin = 120
    job.restart(acknowledged=98)  # the last commit was not acknowledged, but published
    job.until(len(records))
    (said,) = [line.getMessage() for line in caplog.records if "before they were read" in line.getMessage()]
    assert "records 105 to 120" in said and "15 are missing" in said


def test_new_events_are_not_refused_for_old_ones() -> None:
    """A few worked records are left, and the new ones are hours later: the old ones tell, and the new ones count."""
    shop = Shop()
    for n in range(6):
        shop.view(n * 1_000, "cups", 0.1, f"c{n % 3}")
    for n in range(9):
        shop.view(120 * MINUTE + n * 1_000, "tea", 0.1, f"n{n}")
    job = lost_beginning(shop.records, 2, 6, aged=False)
    job.until(len(shop.records))
    assert job.store.at().complete_since == T + 3_000 + LATENESS + 1
    assert job.app.dead() == []


def test_a_backup_older_than_the_log() -> None:
    """States restored from before what retention has left: what lies between is missing, and they say so."""
    records = busy_shop(6)
    job = Job(records)
    job.until(100)
    job.lose(35)
    job.app.begin = 70
    job.restart(acknowledged=100)
    job.until(len(records))
    since = job.store.at().complete_since
    assert since > newest(records[:70])
    touched = {key.decode() for key, _ in records[70:] if key}
    whole = {name: plain(decode([name], [blob])) for name, blob in clean(records)[1].items()}
    for name, state in states_of(job).items():
        if name in touched:
            assert state.memory.complete_since.tolist() == [since]
            assert recent(plain(state), since) == recent(whole[name], since)


def recent(log: list[Entry], since: int) -> list[Entry]:
    """What of a log is not older."""
    return [entry for entry in log if entry.time >= since]


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("more", [0, 3])
def test_nothing_is_left_that_was_worked(more: int, *, published: bool) -> None:
    """What was published last tells how far time had come, else the watermark of what came since."""
    shop = Shop()
    shop.view(0, "tea", 0.4 if published else 0.1, "anna")
    job = lost_beginning(shop.records, 1, 1, aged=False)
    for n in range(more):
        shop.view((n + 1) * MINUTE, "cups", 0.1, f"c{n}")
    noticed(job)
    shop.view(5 * MINUTE, "cups", 0.1, "last")
    job.until(len(shop.records))
    expected = T + 1 if published else T if more else -1
    assert job.store.at().complete_since == expected
    assert set(job.store.states()) - {"anna"} == {f"c{n}" for n in range(more)} | {"last"}


def test_a_new_installation_begins_with_what_there_is() -> None:
    """Nobody counted what came before: the states of a topic that has lost its beginning claim nothing."""
    records = busy_shop(4)
    job = Job(records)
    job.app.begin = 50
    job.app.seek(50)
    job.until(len(records))
    assert job.store.at().complete_since == -1


def told_by(*events: tuple[str, int], worked: int = 9_999, published: int | None = None, last: int = -1) -> int:
    """`complete_since`, from T, of a log that is left with these (customer, ms from T) from the offset 7 on."""
    shop = Shop()
    for customer, at in events:
        shop.do("view", at, "tea", customer)
    said = Published("clickstream", 0, last, -1 if published is None else T + published - LATENESS)
    return complete_since(chunk_of(Decoder(Catalogue()), 0, 7, shop.records), worked, said, LATENESS) - T


STEADY = [(f"c{n}", n * 1_000) for n in range(9)]


def test_the_median_customer_tells() -> None:
    """Neither four late customers of nine, nor four that are ahead, nor one who floods, move it by much."""
    assert told_by(*STEADY) == 4_000 + LATENESS + 1
    late = [("l" + name, -999_000) for name, _ in STEADY[:4]]
    assert told_by(*late, *STEADY) == 0 + LATENESS + 1
    ahead = [("a" + name, 299_000) for name, _ in STEADY[:4]]
    assert told_by(*ahead, *STEADY) == 4_000 + LATENESS + 1
    assert told_by(*[("phone", -999_000 + n) for n in range(60)], *STEADY) == 3_000 + LATENESS + 1
    assert told_by(("anna", 5), ("anna", 999_000)) == 5 + LATENESS + 1
    assert told_by(*STEADY, worked=10) == 1_000 + LATENESS + 1


def test_what_was_published_tells() -> None:
    """For a record that is left, it bounds what is gone; for one that is gone, it does so only if nothing is left."""
    assert told_by(*STEADY, published=4_500, last=9) == 4_501
    assert told_by(*STEADY, published=4_500, last=6) == 4_000 + LATENESS + 1
    assert told_by(*STEADY, published=999_000, last=9) == 4_000 + LATENESS + 1
    assert told_by(*STEADY, published=500, last=6, worked=7) == 501
    assert told_by(*STEADY, worked=7) == 4_000 - LATENESS
    assert told_by(published=500, last=6) == 501
    assert told_by() == -1 - T


def test_the_window_is_the_engines() -> None:
    """The log is looked up as far back as the engine's rebuild window goes."""
    asked: list[int] = []

    class Asked(StandIn):
        async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
            asked.append(T - time_ms)
            return 0

    for window in (REBUILD_MS, 3_600_000):
        job = Job(busy_shop(1)[:20])
        job.until(20)
        job.lose(0)
        job.app = Asked(job.records, published=job.app.published)
        job.restart(acknowledged=20)
        job.worker.steps.engine.rebuild_ms = window
        noticed(job)
    assert asked == [REBUILD_MS, 3_600_000]


def test_the_window_is_the_settings() -> None:
    """A worker's engine and a replay's have the window that is set, so both forget for as long."""
    settings = Settings(rebuild_days=3)
    assert _engine(settings, TroubledStore()).rebuild_ms == settings.rebuild_ms == 3 * DAY_MS
    replay = InProcess(setup_of(), steered_model(), rebuild_ms=settings.rebuild_ms)
    assert replay.engine.rebuild_ms == 3 * DAY_MS
    assert Settings().rebuild_ms == REBUILD_MS
