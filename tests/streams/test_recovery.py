"""After a loss of Redis states are rebuilt from the log, and what was published stays true, whatever a model says."""

import asyncio
import random

import orjson
import pytest

from features.state import UnreadableState
from features.store import Cursor
from intents.adoption import Published
from intents.examples import unpack
from sinks.records import Record
from streams.recovery import adopt_until, number_of
from streams.retry import CannotPublish
from streams.transport_thread import PositionLost
from tests.intents.replaying import MINUTE
from tests.intents.steered import Shop, T, steered_model
from tests.streams.losing import ENDS, SUBJECTS, Job, busy_shop, logs_of
from tests.streams.working import Clock, StandIn, TroubledStore, clean, run


@pytest.mark.parametrize("seed", range(12))
def test_states_lost_and_rebuilt(seed: int) -> None:
    """Emptied or restored older, noticed at once or by a new worker, twice: logs and intents are a clean run's."""
    dice = random.Random(seed)
    records = busy_shop(seed)
    job = Job(records, size=dice.choice((1, 7, 40)))
    for _ in range(2):
        job.until(job.app.sought + dice.randrange(10, 70))
        at = job.app.sought
        job.lose(dice.choice([0, *job.backups]))
        if dice.random() < 0.5:
            job.restart(acknowledged=dice.choice((-1, at, max(at - 9, 0))))
        else:
            job.app.acknowledged = dice.choice((-1, at))
        job.until(job.app.sought + dice.randrange(1, 30))
    job.until(len(records))
    said, states = clean(records)
    assert sorted(job.app.said()) == sorted(said)
    assert job.logs() == logs_of(states)


@pytest.mark.parametrize("seed", range(12))
def test_another_model_contradicts_nothing(seed: int) -> None:
    """States lost, and a worker with another model rebuilds: what was said stands, and each intent has one end."""
    dice = random.Random(seed)
    records = busy_shop(seed)
    job = Job(records)
    job.until(dice.randrange(30, 140))
    before = list(job.app.of("intents"))
    job.lose(dice.choice([0, *job.backups]))
    job.restart(
        steered_model(ready=dice.random() < 0.7, version="other"), acknowledged=dice.choice((-1, job.app.sought))
    )
    job.worker.steps.engine.model.now.touched.weights[0] *= 0.97  # other probabilities
    job.until(len(records))
    assert job.app.of("intents")[: len(before)] == before
    lives = job.lives()
    assert sum(said[0] == "detected" for said in lives.values()) == len(lives) > 0
    assert all(sum(status in ENDS for status in said) == 1 and said[-1] in ENDS for said in lives.values())
    assert job.logs() == logs_of(clean(records)[1])


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_lost_together_with_half_of_an_outbox(nth: int) -> None:
    """A purchase ends three intents, some of which are published when worker and Redis are lost: the others follow."""
    shop = Shop()
    for n, subject in enumerate(SUBJECTS[:3]):
        shop.view(n * 1_000, subject, 0.4)
    shop.do("purchase", MINUTE, None, items=[{"category": name} for name in SUBJECTS[:3]])
    shop.view(2 * MINUTE, "books", 0.4)
    shop.clock(90 * MINUTE)
    job = Job(shop.records, size=3)
    seen = 0

    def cut(record: Record) -> Exception | None:
        nonlocal seen
        seen += record.topic == "intents"
        return AssertionError("killed") if seen == 3 + nth else None

    job.app.refuse = cut
    with pytest.raises(CannotPublish):
        job.until(6)
    job.app.refuse = lambda _: None
    job.lose(3 if nth % 2 else 0)
    job.restart(acknowledged=3)
    job.until(6)
    assert sorted(job.app.said()) == sorted(clean(shop.records)[0])
    assert sorted(job.lives().values()) == [["detected", "expired"]] * 4 + [["detected", "fulfilled"]] * 3


def test_a_cool_down_is_taken_over_and_ended_by_an_outcome() -> None:
    """An expired intent that was published keeps its subject quiet, unless it was bought since."""
    shop = Shop()
    shop.view(0, "tea", 0.4, "anna")
    shop.view(0, "tea", 0.4, "ben")
    shop.clock(31 * MINUTE)  # both expire
    shop.do("purchase", 20 * MINUTE, "cups", "anna")  # of another subject, and late
    shop.do("purchase", 31 * MINUTE, "tea", "ben")
    shop.view(29 * MINUTE, "cups", None, "anna")
    job = Job(shop.records, size=1)
    job.until(6)
    job.lose(0)
    job.restart(acknowledged=6)
    shop.view(29 * MINUTE + 30_000, "tea", 0.6, "anna")
    shop.view(31 * MINUTE + 30_000, "tea", 0.6, "ben")
    shop.clock(90 * MINUTE)
    job.until(len(shop.records))
    assert sorted(job.app.said()) == sorted(clean(shop.records)[0])
    assert ("detected", "ben", "tea") in job.app.said()[4:] and ("detected", "anna", "tea") not in job.app.said()[4:]


def test_what_was_refused_is_not_refused_again() -> None:
    """Rebuilding passes over refused records: their dead letters are out; later ones get theirs."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.records.append((b"anna", b"{"))
    shop.view(1_000, "tea")
    shop.records.append((b"anna", b"["))
    job = Job(shop.records, size=1)
    job.until(3)
    assert [offset for offset, _ in job.app.dead()] == [1]
    job.lose(0)
    job.restart(acknowledged=3)
    job.until(4)
    assert [offset for offset, _ in job.app.dead()] == [1, 3]


def test_examples_are_not_made_again() -> None:
    """Of acknowledged records the trainer has read everything; of later ones it may not have."""
    shop = Shop()
    for n in range(6):
        shop.view(n * 1_000, "tea" if n < 5 else "cups", 0.4)
    job = Job(shop.records, size=2)
    job.until(6)
    count = len(job.app.of("examples"))
    job.lose(0)
    job.restart(acknowledged=3)
    job.until(6)
    again = [unpack(record.value).asked["offset"].tolist() for record in job.app.of("examples")[count:]]
    assert (count, again) == (3, [[3], [4], [5]])


@pytest.mark.parametrize("seed", range(4))
def test_a_rebuild_that_is_cut_short_begins_again(seed: int) -> None:
    """A worker that dies while it rebuilds, or between two commits of taking over, leaves nothing half taken."""
    records = busy_shop(seed)
    job = Job(records, size=20)
    job.until(100)
    job.lose(0)
    job.restart(acknowledged=100)

    async def nothing() -> None: ...

    deaths = 0
    while job.store.at().adopt_until != -1 or not deaths:
        job.worker.steps.engine.max_customers = 2
        job.store.before.clear()
        job.store.before.extend([nothing] * (2 + deaths % 2) + [UnreadableState("killed")])  # commits that still stand
        with pytest.raises(UnreadableState):
            job.until(len(records))
        deaths += 1
        job.restart(acknowledged=20)
    assert deaths > 10
    job.store.before.clear()
    job.until(len(records))
    said, states = clean(records)
    assert sorted(job.app.said()) == sorted(said)
    assert job.logs() == logs_of(states)


def test_what_was_answered_is_not_asked_again() -> None:
    """The last record for which something was published is worked with another model: its subject stays as told."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.view(1_000, "cups", 0.4)
    job = Job(shop.records, size=1)
    job.until(2)
    before = job.app.said()
    job.lose(1)
    other = steered_model(version="other")
    other.now.touched.weights[0] *= 1.1  # tea's probability is another one, too
    job.restart(other, acknowledged=1)
    job.until(2)
    assert job.app.said() == [*before, ("strengthened", "anna", "tea")]
    assert [orjson.loads(record.value)["sequence"] for record in job.app.of("intents")].count(1) == 1


@pytest.mark.parametrize("acknowledged", [-1, 1, 2])
def test_idle_time_stays_passed(monkeypatch: pytest.MonkeyPatch, acknowledged: int) -> None:
    """The watermark that published deadlines tell is taken over: what idle time ended, no later event fulfils."""
    clock = Clock.of_worker(monkeypatch)
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.view(31 * MINUTE, "tea", 0.4)  # over, but not by the watermark: nothing is said
    job = Job(shop.records)
    job.worker.idle_s = 1
    job.until(2)
    clock.now += 40 * 60
    asyncio.run(job.worker.tick())
    assert [status for status, _, _ in job.app.said()] == ["detected", "expired"]
    job.lose(0)
    job.restart(acknowledged=acknowledged)
    shop.do("purchase", 20 * MINUTE, "tea")
    job.until(3)
    assert [status for status, _, _ in job.app.said()] == ["detected", "expired"]
    assert job.store.at().watermark_ms > T + 30 * MINUTE


def test_a_deadline_says_how_far_its_worker_had_come() -> None:
    """An end that a later record led to is no reason to free its subject for the records before that one."""
    shop = Shop()
    shop.view(0, "tea", 0.4)
    shop.view(31 * MINUTE, "tea", 0.6)  # its time is over, but the watermark is not past it: nothing is said
    shop.clock(40 * MINUTE)  # expires
    job = Job(shop.records, size=3)
    job.until(3)
    assert [status for status, _, _ in job.app.said()] == ["detected", "expired"]
    job.lose(0)
    job.restart()
    job.until(3)
    assert job.app.said() == clean(shop.records)[0]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_quiet_partition_is_rebuilt_too(*, restarted: bool) -> None:
    """Redis is emptied when nothing comes any more: the worker notices by itself, and works the log again."""
    records = busy_shop(5)
    job = Job(records)
    job.until(len(records))
    job.lose(0)
    job.app.acknowledged = len(records)
    if restarted:
        job.restart(acknowledged=len(records))
    for _ in range(2):
        asyncio.run(job.worker.tick())
    job.until(len(records))
    assert job.store.at().position == len(records)
    said, states = clean(records)
    assert sorted(job.app.said()) == sorted(said)
    assert job.logs() == logs_of(states)


def test_nothing_is_acknowledged_while_rebuilding() -> None:
    """A claim of a partition that is rebuilt leaves Kafka's committed offset; a claim after that has it committed."""
    shop = Shop()
    for n in range(4):
        shop.view(n * MINUTE, "tea", 0.4)
    job = Job(shop.records, size=2)
    job.until(4)
    job.lose(0)
    job.restart(acknowledged=4)
    job.app.commits.clear()
    job.app.sought = 0
    job.until(2)
    assert (job.store.at().position, job.store.at().adopt_until, job.app.commits, job.app.kept) == (2, 4, [], 4)
    job.until(4)
    job.restart(acknowledged=4)
    asyncio.run(job.worker.tick())
    asyncio.run(job.worker.tick())
    job.restart(acknowledged=4)
    asyncio.run(job.worker.tick())
    assert job.app.commits[-1:] == [4]


def test_no_idle_time_while_rebuilding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that nothing comes of for long leaves the watermark alone: the records to come were all in time."""
    clock = Clock.of_worker(monkeypatch)
    shop = Shop()
    for n in range(4):
        shop.view(n * MINUTE, "tea", 0.4, f"c{n}")
    job = Job(shop.records, size=2)
    job.until(4)
    job.lose(0)
    job.restart(acknowledged=4)
    job.worker.idle_s = 1
    job.app.sought = 0
    job.until(2)
    mark = job.store.at().watermark_ms
    assert job.store.at().adopt_until > job.store.at().position
    clock.now += 40 * 60
    asyncio.run(job.worker.tick())
    assert job.store.at().watermark_ms == mark
    job.until(4)
    asyncio.run(job.worker.tick())
    assert job.logs() == logs_of(clean(shop.records)[1])


def test_a_topic_made_anew() -> None:
    """Intents that speak of records which the log does not have stop the worker: a person must decide."""
    records = busy_shop(1)
    job = Job(records)
    job.until(len(records))
    shorter = StandIn(records[:5], published=job.app.published)
    with pytest.raises(PositionLost, match="made anew"):
        run(shorter, TroubledStore())


@pytest.mark.parametrize(
    ("cursor", "acknowledged", "published", "until"),
    [
        (Cursor("t", 9, 50, 1_000), 50, (49, 1_000, 49), -1),
        (Cursor("t", 9, 50, 1_000), 40, (49, 1_000, 50), -1),
        (Cursor("t", 9, 50, 1_000), -1, (-1, -1, -1), -1),
        (Cursor("t", 9, 50, 1_000), 51, (49, 1_000, -1), 51),
        (Cursor("t", 9, 50, 1_000), 50, (50, 1_000, -1), 50),
        (Cursor("t", 9, 50, 1_000), 50, (49, 1_000, 51), 51),
        (Cursor("t", 9, 50, 1_000), 50, (49, 1_001, -1), 50),
        (Cursor("t", 9, 50, 1_000), 60, (70, 1_000, 65), 70),
        (Cursor("t", 9, 50, 1_000), 60, (70, 1_000, 75), 75),
        (Cursor("t", 9, 50, 1_000, 90), 50, (49, 1_000, -1), 90),
        (Cursor("t", 9, 50, 1_000, 40), 50, (49, 1_000, -1), 50),
        (Cursor("t", 0, -1, -1), 60, (-1, -1, -1), 60),
    ],
)
def test_how_a_loss_is_noticed(cursor: Cursor, acknowledged: int, published: tuple[int, int, int], until: int) -> None:
    """By Kafka's committed offset, by a record or a deadline that was published, or because a rebuild is under way."""
    last, watermark, position = published
    found = Published("t", 0, last, watermark, position)
    assert adopt_until(cursor, max(cursor.position, 0), acknowledged, found) == until


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"1700000000000", 1_700_000_000_000),
        (b"0", 0),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, -1),
        (b"9" * 5_000, -1),
        (b"-1", -1),
        (b"1e3", -1),
        ("²".encode(), -1),
        (b"", -1),
        (None, -1),
    ],
)
def test_watermark_of_any_header(text: bytes | None, said: int) -> None:
    """Anybody may write a header: what is no time in milliseconds is none, and ends nobody."""
    assert number_of([("ce_id", b"a/1"), ("watermark", text)], "watermark") == said
    assert number_of([("ce_id", b"a/1")], "watermark") == -1
