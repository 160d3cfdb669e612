"""The trainer learns each answer once, when it is known, whatever its input repeats and whenever it is killed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from random import Random
from typing import Final

import msgspec
import numpy as np
import pytest

from features.bundle import F32
from features.core_bundle import CORE
from features.log import I64, Bool
from features.memory_store import MemoryStore
from features.store import PartitionKey
from intents.checkpoint import Checkpoint
from intents.counts import F64
from intents.examples import ASKED, OUTCOME, VERSION, Examples, NewerExamples, UnreadableExamples, pack, unpack
from intents.head import Head
from intents.model import NOW_INTERCEPT, SOON_MS, Model, regressed_names
from intents.reading import PATIENCE_MS, Reading
from intents.snapshots import decode, encode
from intents.tables import Tables
from intents.training import Trainer
from streams.engine import Engine
from streams.shop import DEMO_CATALOGUE
from streams.wire import Decoder
from tests.intents.replaying import MINUTE, Drive, chunk_of, disturbed, in_chunks, lanes_of, made_up, setup_of, shuffled
from tests.intents.test_examples import of_version_1

HORIZON: Final = 30 * MINUTE
T: Final = 1_700_000_000_000
FEATURES: Final = len(CORE.features)


# What a commit would have sent


@dataclass(frozen=True)
class Ask:
    """A question at T + `at`: the candidates, of which the first was viewed and `touched` were touched."""

    at: int
    offset: int
    subjects: tuple[int, ...] = (1,)
    customer: int = 7
    touched: int = 1
    viewed: int = 1
    said: tuple[float, ...] = ()  # of the candidates; nothing: by a model that is not ready
    first: int = 0


@dataclass(frozen=True)
class Got:
    """An outcome at T + `at`."""

    at: int
    offset: int
    subject: int = 1
    customer: int = 7
    recent: tuple[int, ...] = ()
    choices: tuple[int, ...] = ()


def lesson(*entries: Ask | Got, watermark: int = 0, partition: int = 0, share: float = 1.0) -> bytes:
    """An examples record with these entries; `watermark` is ms after T."""
    asks = [entry for entry in entries if isinstance(entry, Ask)]
    gots = [entry for entry in entries if isinstance(entry, Got)]
    asked, outcomes = np.zeros(len(asks), dtype=ASKED), np.zeros(len(gots), dtype=OUTCOME)
    for rows, of in ((asked, asks), (outcomes, gots)):
        for name in ("offset", "customer"):
            rows[name] = [getattr(entry, name) for entry in of]
        rows["time"] = [T + entry.at for entry in of]
    asked["viewed"], asked["touched"] = [ask.viewed for ask in asks], [ask.touched for ask in asks]
    asked["candidates"] = [len(ask.subjects) for ask in asks]
    asked["subject"], asked["first"] = [ask.subjects[0] for ask in asks], [ask.first for ask in asks]
    outcomes["subject"] = [got.subject for got in gots]
    outcomes["recent"] = [len(got.recent) for got in gots]
    subjects = [subject for ask in asks for subject in ask.subjects]
    choices = [subject for got in gots for subject in got.choices]
    ranks = [n if n < ask.touched else 64 for ask in asks for n in range(len(ask.subjects))]
    vectors = np.arange(FEATURES * len(subjects), dtype=np.float32).reshape(FEATURES, len(subjects)) % 5
    return pack(
        Examples(
            topic="clickstream",
            partition=partition,
            watermark=T + watermark,
            bundle=CORE.hash,
            share=share,
            names={},
            asked=asked,
            subjects=np.array(subjects, dtype=np.uint64),
            ranks=np.array(ranks, dtype=np.int64),
            vectors=vectors,
            outcomes=outcomes,
            recent=np.array([subject for got in gots for subject in got.recent], dtype=np.uint64),
            choices=np.array([len(got.choices) for got in gots], dtype=np.int64),
            choice_subjects=np.array(choices, dtype=np.uint64),
            choice_vectors=np.arange(FEATURES * len(choices), dtype=np.float32).reshape(FEATURES, len(choices)) % 5,
            said=np.array([p for ask in asks for p in ask.said or [np.nan] * len(ask.subjects)], dtype=np.float32),
            model="5-told",
        )
    )


def taught(*lessons: bytes, trainer: Trainer | None = None) -> Trainer:
    """A trainer after reading records, what is due learned after each."""
    trainer = trainer or Trainer(CORE, HORIZON)
    for record in lessons:
        trainer.read(trainer.position, record)
        trainer.resolve()
    return trainer


def labels(trainer: Trainer) -> tuple[int, int]:
    """How many positive and negative labels of `now` were learned."""
    return trainer.now.positives, trainer.now.negatives


# Labels


@pytest.mark.parametrize(("at", "positive"), [(0, 0), (1, 1), (HORIZON, 1), (HORIZON + 1, 0)])
def test_label(at: int, positive: int) -> None:
    """A question at t is answered yes if an outcome lies in (t, t + horizon]."""
    trainer = taught(lesson(Ask(0, 1), Got(at, 2), watermark=HORIZON + 1))
    assert labels(trainer) == (positive, 1 - positive)


@pytest.mark.parametrize("other", [Got(1, 2, subject=2), Got(1, 2, customer=8)])
def test_outcomes_of_others(other: Got) -> None:
    """Another subject's or customer's outcome is no answer."""
    assert labels(taught(lesson(Ask(0, 1), other, watermark=HORIZON + 1))) == (0, 1)


def test_outcome_of_another_partition() -> None:
    """Nor is one of another source partition."""
    trainer = taught(lesson(Got(1, 2), partition=1), lesson(Ask(0, 1), watermark=HORIZON + 1))
    assert labels(trainer) == (0, 1)


def test_every_candidate_is_a_question() -> None:
    """Each candidate gets its own label; of an outcome of several subjects, each of them counts."""
    trainer = taught(
        lesson(Ask(0, 1, (1, 2, 3), touched=2), Got(5, 2, subject=1), Got(5, 2, subject=3), watermark=HORIZON + 1)
    )
    assert labels(trainer) == (2, 1)
    assert trainer.tables.outcomes == 2


def test_resolved_when_the_watermark_is_greater() -> None:
    """Nothing is learned before the source's watermark is greater than t + horizon, not even a yes that is known."""
    trainer = taught(lesson(Ask(0, 1), Got(1, 2), watermark=HORIZON))
    assert labels(trainer) == (0, 0)
    assert labels(taught(lesson(watermark=HORIZON + 1), trainer=trainer)) == (1, 0)


def test_resolved_by_its_own_source() -> None:
    """Another partition's watermark answers no question of this one."""
    trainer = taught(lesson(Ask(0, 1), watermark=0), lesson(watermark=9 * HORIZON, partition=1))
    assert labels(trainer) == (0, 0)


@pytest.mark.parametrize(("ahead", "answered"), [(HORIZON + 1, 0), (PATIENCE_MS + 10, 0), (PATIENCE_MS + 11, 1)])
def test_a_silent_source(ahead: int, answered: int) -> None:
    """A source of which nothing came for a day is silent for good: its questions are answered with what is known."""
    trainer = taught(lesson(Ask(0, 1), Got(5, 2), watermark=10), lesson(watermark=ahead, partition=1))
    assert labels(trainer) == (answered, 0)
    continued = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
    for offset in range(continued.position, 2):
        taught(
            [lesson(Ask(0, 1), Got(5, 2), watermark=10), lesson(watermark=ahead, partition=1)][offset],
            trainer=continued,
        )
    assert labels(taught(lesson(watermark=2 * PATIENCE_MS, partition=1), trainer=continued)) == (1, 0)


DAY: Final = PATIENCE_MS


@pytest.mark.parametrize("stamped", [True, False])
def test_a_source_that_is_behind_is_not_silent(stamped: bool) -> None:
    """Another one may be days ahead in event time, as when a recording is replayed: it waits for its own watermark."""
    records = [
        lesson(watermark=3 * DAY, partition=1),
        lesson(Ask(0, 1), watermark=0),
        *([lesson(watermark=9 * DAY, partition=1)] if stamped else []),
        lesson(Got(5, 2), watermark=HORIZON),
    ]
    trainer = Trainer(CORE, HORIZON)
    for second, record in enumerate(records):
        trainer.read(trainer.position, record, T + 1_000 * second if stamped else -1)
        trainer.resolve()
    assert labels(trainer) == (0, 0)
    assert labels(taught(lesson(watermark=HORIZON + 1), trainer=trainer)) == (1, 0)


@pytest.mark.parametrize(("after", "answered"), [(DAY, 0), (DAY + 1, 2)])
def test_silence_is_measured_by_the_log(after: int, answered: int) -> None:
    """A day without a record of a source, by when Kafka took the others', answers its questions, for both horizons."""
    trainer = Trainer(CORE, HORIZON)
    trainer.read(0, lesson(Ask(0, 1), Got(5, 2), Ask(6, 3), watermark=10), T)
    for offset, at in enumerate((DAY // 2, after), 1):
        trainer.read(offset, lesson(watermark=10, partition=1), T + at)
        trainer.resolve()
    assert sum(labels(trainer)) == answered and len(trainer.checkpoint().later) == 0
    assert trainer.soon.positives + trainer.soon.negatives == answered


def test_a_day_without_anybody_is_nobodys_silence() -> None:
    """After a long outage the first source to be read again answers nothing of the others."""
    trainer = Trainer(CORE, HORIZON)
    trainer.read(0, lesson(Ask(0, 1), watermark=10), T)
    trainer.read(1, lesson(watermark=10, partition=1), T + 3 * DAY)
    trainer.resolve()
    assert labels(trainer) == (0, 0)
    trainer.read(2, lesson(Got(11, 2), watermark=HORIZON + 1), T + 3 * DAY + 5)
    trainer.resolve()
    assert labels(trainer) == (1, 0)


def stamped_silence() -> list[tuple[bytes, int]]:
    """Records and when Kafka took them: a source falls silent for days, and comes back where it was in event time.

    Another one goes on slowly, so that a restart reads again from its first question on.
    """
    slow = [(lesson(Ask(n, n, (3,)), watermark=n, partition=1), n * DAY // 2) for n in range(9)]
    asks = [(lesson(Ask(n * MINUTE, n, (1, 2), customer=n), watermark=n * MINUTE), n * MINUTE) for n in range(50)]
    back = [
        (lesson(Ask(60 * MINUTE, 60), watermark=60 * MINUTE), 4 * DAY),
        (lesson(Got(61 * MINUTE, 61), watermark=61 * MINUTE), 4 * DAY + 1),
        (lesson(Ask(5 * DAY, 62), watermark=5 * DAY), 4 * DAY + 2),
    ]
    return [slow[0], *asks, *slow[1:], *back]


@pytest.mark.parametrize("stop", [50, 52, 53, 54, 58, 59, 60, 61])
def test_killed_around_a_silence(stop: int) -> None:
    """What silence answered is not learned again after a restart, and what comes later waits for its own answer."""

    def go_on(trainer: Trainer, end: int) -> Trainer:
        while trainer.position < end:
            trainer.read(trainer.position, *records[trainer.position])
            trainer.resolve()
        return trainer

    records = stamped_silence()
    whole = go_on(Trainer(CORE, HORIZON), len(records))
    snapshot = encode(go_on(Trainer(CORE, HORIZON), stop).checkpoint())
    again = go_on(Trainer(CORE, HORIZON, decode(snapshot, CORE)), len(records))
    assert whole.now.positives == 1 and whole.now.negatives == 100 and whole.checkpoint().base_reading.next == 0
    assert encode(again.checkpoint()) == encode(whole.checkpoint())


def test_outcome_read_later_in_the_same_record() -> None:
    """The outcome may come in a later record than the question, as long as the watermark waits for it."""
    trainer = taught(lesson(Ask(0, 1)), lesson(Got(HORIZON, 2)), lesson(watermark=HORIZON + 1))
    assert labels(trainer) == (1, 0)


def test_an_outcome_answers_every_question_before_it() -> None:
    """An outcome answers all open questions that it concerns, and none that is asked at its own time."""
    first = lesson(Ask(0, 1), Ask(10, 2), Got(20, 3), Ask(20, 4), watermark=0)
    trainer = taught(first, lesson(watermark=HORIZON + 1), lesson(watermark=HORIZON + 11))
    assert labels(trainer) == (2, 0)
    assert labels(taught(lesson(watermark=2 * HORIZON), trainer=trainer)) == (2, 1)


def test_soon_is_learned_a_day_later() -> None:
    """The other head learns the same question when a day has passed, by what came until then."""
    trainer = taught(lesson(Ask(0, 1, said=(0.1,)), Got(HORIZON + 1, 2), watermark=HORIZON + 1))
    assert labels(trainer) == (0, 1)
    untouched = trainer.soon.touched.weights.tobytes()
    taught(lesson(watermark=SOON_MS), trainer=trainer)
    assert (trainer.soon.positives, trainer.soon.negatives) == (0, 0)
    taught(lesson(watermark=SOON_MS + 1), trainer=trainer)
    assert (trainer.soon.positives, trainer.soon.negatives) == (1, 0)
    assert labels(trainer) == (0, 1) and trainer.progress.pairs == 1  # which `now` alone is told by
    assert trainer.soon.touched.weights.tobytes() != untouched
    assert trainer.tables.ranks[0].sum() == 1


def test_what_is_left_of_a_sample_counts_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that stays in the sample of those that wait for a day has the weight of those that left it."""
    monkeypatch.setattr("intents.questions.MOST_SOON", 5)
    told: list[list[float]] = []

    def learn(head: Head, columns: F32, ranks: I64, labels: Bool, weights: F64) -> F64:
        told.append(weights.tolist())
        return original(head, columns, ranks, labels, weights)

    original = Head.learn
    monkeypatch.setattr(Head, "learn", learn)
    trainer = taught(lesson(*(Ask(n, n) for n in range(40)), watermark=HORIZON + 50, share=0.5))
    share = trainer.questions.share
    assert share < 0.5 and told == [[2.0] * 40]
    taught(lesson(watermark=2 * SOON_MS, share=0.5), trainer=trainer)
    assert 0 < len(told[1]) <= 5 and set(told[1]) == {2.0 / share}


# Judged, then learned


def test_judged_before_learned() -> None:
    """What was said is judged beside the fallback as it was before the answer, which is learned then."""
    trainer = taught(lesson(Ask(0, 1, (1, 2), touched=2, said=(0.6, 0.3)), Got(1, 2), watermark=HORIZON + 1))
    told, rates = trainer.progress, (0.01, 0.01)
    assert (told.pairs, told.rate, told.mean) == pytest.approx((2, 0.5, 0.45))
    assert told.loss == pytest.approx(-(np.log(0.6) + np.log(0.7)) / 2)
    assert told.fallback_loss == pytest.approx(-(np.log(rates[0]) + np.log(1 - rates[1])) / 2)
    assert trainer.now.touched.weights[-1] > NOW_INTERCEPT
    taught(lesson(Ask(2, 3, said=(0.2,)), watermark=HORIZON + 3), trainer=trainer)
    assert told.fallback_loss == pytest.approx(-(np.log(0.01) + np.log(0.99) + np.log(1 - 1.1 / 11)) / 3)


def test_nothing_said_is_not_judged() -> None:
    """A model that was not ready, or a record that does not tell, leaves no judgement, and is learned all the same."""
    untold = of_version_1(lesson(Ask(0, 2, said=(0.5,))))
    trainer = taught(lesson(Ask(0, 1)), untold, lesson(watermark=HORIZON + 1))
    assert labels(trainer) == (0, 2) and (trainer.progress.pairs, trainer.progress.clock) == (0, -1)


HOURLY: Final = 60
"""Questions in an hour below, each of four candidates."""


@cache
def turning(right: int = 12, wrong: int = 16, again: int = 20) -> tuple[bytes, ...]:
    """An hour a record: who wants something was told by what was said for some hours, then the others, then they."""
    topic, offset = [], 0
    for hour in range(right + wrong + again + 1):
        entries: list[Ask | Got] = []
        for n in range(HOURLY):
            at, wanted = hour * 60 * MINUTE + n * 1_000, n % 2
            high = wanted if right <= hour < right + wrong else 1 - wanted  # a rank below is said to be likely
            said = tuple(0.5 if rank == high else 0.1 for rank in range(4))
            entries.append(Ask(at, offset, (1, 2, 3, 4), n, touched=4, said=said))
            if n % 3:
                entries.append(Got(at + 1, offset + 1, 2 - wanted, n))
            offset += 2
        topic.append(lesson(*entries, watermark=hour * 60 * MINUTE))
    return tuple(topic)


def test_a_model_that_loses(caplog: pytest.LogCaptureFixture) -> None:
    """Answers turn against a model: hours later it loses, and says so; they turn back, and it is believed again."""
    trainer, losing = Trainer(CORE, HORIZON), list[bool]()
    for record in turning():
        losing.append(taught(record, trainer=trainer).model().losing)
    changes = [hour for hour, (now, then) in enumerate(pairwise(losing), 1) if now != then]
    assert not losing[0] and len(changes) == 2
    assert 12 + 6 < changes[0] <= 28 and 28 + 6 < changes[1] <= 48
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all(record.levelname == "WARNING" for record in caplog.records)
    assert (
        told[0].startswith("at 2023-11-15T17:14:19 UTC of event time")
        and "version 5-told, loses to its fallback, which is served" in told[0]
    )
    assert "wins again, and is served again: log loss" in told[1]
    for hour in (*changes, changes[0] - 1, 48):
        found = decode(encode(taught(*turning()[: hour + 1]).checkpoint()), CORE)
        assert found.model.losing is losing[hour] and found.model.believed is not losing[hour]


@pytest.mark.parametrize("stops", [[16], [19, 20, 21], [26, 44], range(0, 49, 4)], ids=str)
def test_killed_while_it_loses(stops: Sequence[int]) -> None:
    """A trainer killed before, between or after such changes goes on to the same bytes, and counts no pair twice."""
    whole, end = through(turning()), killed(turning(), stops)
    assert encode(end.checkpoint()) == encode(whole.checkpoint())
    assert whole.progress.pairs > 2_000 and end.progress.pairs == whole.progress.pairs


# Alarms


def test_alarms_are_counted_when_they_are_answered() -> None:
    """By threshold, with the answer and the customer's day; what cools down is none, nor what nothing was said of."""
    records = [
        lesson(Ask(0, 1, (1, 2), touched=2, said=(0.3, 0.02), first=1), Ask(5, 2, said=(0.31,)), Got(6, 3)),
        lesson(Ask(7, 4, said=(0.3,)), Ask(8, 5, customer=8, first=1), watermark=HORIZON),
    ]
    trainer = taught(*records)
    assert trainer.curve.alarms.sum() == trainer.curve.customer_days == 0
    told = taught(lesson(watermark=2 * HORIZON), trainer=trainer).model().curve
    places = [0, 1, 2, 29, 30, 31]
    assert told.alarms[places].round(6).tolist() == [3, 3, 2, 2, 1, 0]  # after the outcome there is one more
    assert told.hits[places].round(6).tolist() == [1, 1, 1, 1, 1, 0]
    assert (round(told.customer_days, 6), told.clock) == (1, T + 7)
    weighed = taught(lesson(Ask(0, 1, said=(0.3,), first=1), watermark=HORIZON + 1, share=0.25)).curve
    assert (weighed.alarms[0], weighed.customer_days) == (4, 4)


@cache
def loud(seed: int = 0) -> tuple[bytes, ...]:
    """Sessions of some customers in two partitions, minutes between questions, outcomes now and then."""
    dice, topic, at, offset = Random(seed), [], 0, 0
    for n in range(60):
        entries: list[Ask | Got] = []
        for _ in range(dice.randrange(12)):
            at += dice.choice((0, 1, 2, 9)) * MINUTE
            offset += 1
            who, subjects = (2 * dice.randrange(4) + 1) << 61, tuple(dice.sample((1, 2, 3), 2))
            if dice.random() < 0.8:
                said = (dice.random() / 2, dice.random() / 3) if dice.random() < 0.9 else ()
                entries.append(Ask(at, offset, subjects, who, 2, said=said, first=dice.randrange(2)))
            else:
                entries.append(Got(at, offset, subjects[0], who))
        topic.append(lesson(*entries, watermark=at - 2 * MINUTE, partition=n % 2))
    return tuple(topic)


@pytest.mark.parametrize("most", [6, 16_384])
@pytest.mark.parametrize("stops", [[30], [7, 8, 9], range(0, 60, 4)], ids=str)
def test_killed_while_it_cools_down(stops: Sequence[int], most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cooled down before a snapshot does so after it: a trainer killed and continued counts the same alarms.

    So does one that keeps a share of the customers.
    """
    monkeypatch.setattr("intents.cooldowns.MOST", most)
    whole, end = taught(*loud()), killed(loud(), stops)
    assert encode(end.checkpoint()) == encode(whole.checkpoint())
    assert whole.curve.alarms[0] > (20 if most == 6 else 100) and (whole.checkpoint().cooling_share < 1) == (most == 6)
    assert whole.checkpoint().sounded or most == 6


def test_what_cools_down_is_that_of_before() -> None:
    """A snapshot has what was cooling down before the oldest open question, though its watermark has passed that."""
    records = [lesson(Ask(0, 1, said=(0.3,))), lesson(Ask(2, 2, said=(0.3,))), lesson(watermark=HORIZON + 1)]
    checkpoint = decode(encode(taught(*records).checkpoint()), CORE)
    assert [(one.customer, one.time) for one in checkpoint.sounded] == [(7, T)]
    trainer = taught(*records[1:], lesson(watermark=HORIZON + 3), trainer=Trainer(CORE, HORIZON, checkpoint))
    assert trainer.curve.alarms[0] == pytest.approx(1)


def test_learned_together() -> None:
    """At most 64 questions are learned in one step, the oldest first; each step tells how many they were."""
    trainer = taught()
    trainer.read(0, lesson(*(Ask(n, n, (1, 2)) for n in range(130)), watermark=2 * HORIZON))
    assert list(trainer.resolving()) == [64, 64, 2]
    assert labels(trainer) == (0, 260) and not list(trainer.resolving())
    trainer.read(1, lesson(watermark=2 * SOON_MS))
    assert list(trainer.resolving()) == [64, 64, 2]


def test_in_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due together is learned in order of time, whatever the order of partitions and of arrival."""
    monkeypatch.setattr("intents.training.TOGETHER", 1)
    records = [
        lesson(Ask(50, 1), Ask(0, 2)),
        lesson(Ask(20, 1), Got(30, 2), partition=1),
        lesson(watermark=2 * HORIZON),
        lesson(watermark=2 * HORIZON, partition=1),
    ]
    for order in ((0, 1, 2, 3), (1, 0, 3, 2)):
        trainer = Trainer(CORE, HORIZON)
        for n in order:
            trainer.read(trainer.position, records[n])
        assert [labels(trainer) for _ in trainer.resolving()] == [(0, 1), (1, 1), (1, 2)]


def test_a_sample_stands_for_the_whole() -> None:
    """With a share of 1/4 each question counts four times, in the tables and in the rates; labels count once."""
    trainer = taught(lesson(Ask(0, 1, (1, 2), touched=2), watermark=HORIZON + 1, share=0.25))
    assert trainer.tables.views == 4
    assert trainer.model().tables.ranks[0, :2].tolist() == [4, 4]
    assert labels(trainer) == (0, 2)


def test_rates_by_rank() -> None:
    """Every answered pair counts at its recency rank, those never touched in the last place."""
    trainer = taught(lesson(Ask(0, 1, (1, 2, 3), touched=2), Got(1, 2, subject=2), watermark=HORIZON + 1))
    ranks = trainer.model().tables.ranks
    assert ranks[0].tolist() == [1, 1] + [0] * 13 + [1]
    assert ranks[1].tolist() == [0, 1] + [0] * 14


# Tables


def test_views_and_outcomes_are_counted() -> None:
    """A view counts for its subject, after the latest other; an outcome after the recent others, itself left out."""
    trainer = taught(
        lesson(Ask(0, 1, (5, 6, 9), touched=2), Got(1, 2, subject=6, recent=(5, 6, 7, 8, 9))),
        lesson(Ask(2, 3, (6, 5, 9), touched=2, viewed=2)),
    )
    tables = trainer.tables
    rows = {int(key): n for n, key in enumerate(tables.subjects.keys[: tables.subjects.size])}
    assert (tables.views, tables.outcomes) == (3, 1)  # an event of two subjects is a view of both
    moves = {
        (int(key) >> 32, int(key) & 0xFFFF_FFFF): tables.moves[:, n].tolist()
        for n, key in enumerate(tables.transitions.keys[: tables.transitions.size])
    }
    assert {(list(rows)[a - 1], list(rows)[b - 1]): counts for (a, b), counts in moves.items()} == {
        (6, 5): [1, 0, 0],  # the first view; of the second event's subjects nothing else was before
        (5, 6): [0, 1, 0],
        (7, 6): [0, 1, 0],
        (8, 6): [0, 1, 0],
    }


def with_columns(record: bytes, **columns: Sequence[float]) -> bytes:
    """The same examples with some features of its asked candidates, and of the choices, given."""
    examples = unpack(record)
    vectors, choice_vectors = examples.vectors.copy(), examples.choice_vectors.copy()
    for name, values in columns.items():
        for found in (vectors, choice_vectors):
            found[CORE.names.index(name)] = values[: found.shape[1]]
    return pack(replace(examples, vectors=vectors, choice_vectors=choice_vectors))


def meetings(trainer: Trainer) -> dict[tuple[int, int], float]:
    """How often subjects met in a session, by (one, other)."""
    tables, subjects = trainer.tables, trainer.tables.subjects.keys.tolist()
    return {
        (subjects[(key >> 32) - 1], subjects[(key & 0xFFFF_FFFF) - 1]): float(count)
        for key, count in zip(tables.transitions.keys.tolist(), tables.moves[2].tolist(), strict=True)
        if count
    }


_LONG, _SHORT = float(np.log1p(1_801)), float(np.log1p(1_799))
"""Ages and gaps as columns: a second more than a session's gap, and a second less."""


def test_a_subject_that_is_new_in_the_session_meets_those_that_are_there() -> None:
    """A view meets what was touched in its session, unless it was in it before; what is foreseen is not there."""
    ask = lesson(Ask(0, 1, (1, 2, 3, 9), touched=3), share=0.5)
    new = with_columns(ask, gap=[_LONG, 0, 0, 0], age=[0, _SHORT, _LONG, _SHORT])
    assert meetings(taught(new)) == {(1, 2): 2.0, (2, 1): 2.0}
    assert meetings(taught(with_columns(ask, gap=[_SHORT, _LONG, 0, 0], age=[0, 0, 0, 0]))) == {}


def test_an_outcome_of_a_new_subject_meets_those_that_are_there() -> None:
    """So does an outcome, if its subject was not touched in the session."""
    outcome = lesson(Got(0, 1, subject=5, choices=(1, 2)))
    assert meetings(taught(with_columns(outcome, age=[_SHORT, _LONG]))) == {(5, 1): 1.0, (1, 5): 1.0}
    known = lesson(Got(0, 1, subject=1, choices=(1, 2)))
    assert meetings(taught(with_columns(known, age=[_SHORT, _SHORT]))) == {}


def test_what_was_chosen_is_learned() -> None:
    """Each outcome is a list to learn from, if its subject is one of several that were touched."""
    lists = [(Got(0, 1, subject=2, choices=(1, 2, 3)), 1), (Got(0, 1, subject=9, choices=(1, 2, 3)), 0)]
    for got, learned in [*lists, (Got(0, 1, subject=1, choices=(1,)), 0), (Got(0, 1, subject=1), 0)]:
        trainer = taught(lesson(got))
        assert trainer.choice.lists == trainer.model().choice.lists == learned
    untaught = Trainer(CORE, HORIZON).choice
    trainer = taught(with_columns(lesson(lists[0][0]), fresh_1h=[0.1, 0.9, 0.2]))
    assert trainer.choice.weights[1] > untaught.weights[1]  # the second one, the freshest, was taken


def test_other_bundles_are_not_learned() -> None:
    """Entries of another bundle are passed over; their watermark holds."""
    trainer = taught(lesson(Ask(0, 1)))
    other = unpack(lesson(Ask(1, 2), watermark=HORIZON + 1))
    taught(pack(replace(other, bundle="00000000")), trainer=trainer)
    assert labels(trainer) == (0, 1)
    assert trainer.tables.views == 1


def test_names() -> None:
    """A model knows the names that the examples told, also of subjects that no worker of today has seen."""
    trainer = taught(pack(replace(unpack(lesson(Ask(0, 1))), names={(1).to_bytes(8, "little"): "tea"})))
    assert trainer.model().names == {1: "tea"}


def test_unreadable_record() -> None:
    """What cannot be read is told, and can be passed over: the position has moved on."""
    trainer = taught(lesson(Ask(0, 1)))
    with pytest.raises(UnreadableExamples):
        trainer.read(1, b"nonsense")
    assert trainer.position == 2
    assert labels(taught(lesson(watermark=HORIZON + 1), trainer=trainer)) == (0, 1)


def test_a_record_with_other_features_than_its_bundle() -> None:
    """It says that it is of this bundle, but has one feature less: told, and passed over."""
    trainer = taught(lesson(Ask(0, 1)))
    short = replace(unpack(lesson(Ask(1, 2))), vectors=np.zeros((FEATURES - 1, 1), dtype=np.float32))
    short = replace(short, choice_vectors=np.zeros((FEATURES - 1, 0), dtype=np.float32))
    with pytest.raises(UnreadableExamples, match="another number of features"):
        trainer.read(1, pack(short))
    assert labels(taught(lesson(watermark=HORIZON + 1), trainer=trainer)) == (0, 1)


def test_legal_holes_in_offsets() -> None:
    """Offsets may have holes; a record at an offset read before is nothing new."""
    trainer = Trainer(CORE, HORIZON)
    trainer.read(10, lesson(Ask(0, 1)))
    trainer.read(20, lesson(Ask(1, 2)))
    trainer.read(10, lesson(Ask(2, 3)))
    assert trainer.position == 21
    assert trainer.tables.views == 2


# Nothing twice


@cache
def lessons(partitions: int = 2, seed: int = 0, days: float = 0.3) -> tuple[bytes, ...]:
    """The examples topic after some partitions of a disturbed made-up shop; the seed cuts them into other commits."""
    lanes = lanes_of(disturbed(made_up(seed=15, customers=40, events=900, days=days)), partitions)
    drive = Drive(setup_of(DEMO_CATALOGUE), Model.untrained(CORE), lanes, with_examples=True)
    plan = shuffled(lanes, seed, most=90) if seed else in_chunks(lanes, 15)
    return tuple(asyncio.run(drive.run(plan)).lessons)


def essence(trainer: Trainer) -> bytes:
    """What a trainer has learned, and what it still waits for, wherever it read it."""
    later = [replace(question, offset=0, place=0) for question in trainer.questions.later()]
    return encode(Checkpoint(trainer.model(), Reading(), Tables(), Reading(), later))


@cache
def through(topic: tuple[bytes, ...]) -> Trainer:
    """A trainer that read a topic without ever being stopped."""
    return taught(*topic)


def test_there_is_much_to_learn() -> None:
    """The topic holds thousands of pairs in dozens of records, so that nothing below passes empty."""
    trainer = through(lessons())
    assert trainer.now.positives > 100 and trainer.now.negatives > 2_000
    assert len(lessons()) > 55
    assert trainer.tables.transitions.size > 200


def test_what_is_read_twice_is_learned_once() -> None:
    """Every record twice, at once or later: the same bytes."""
    topic = lessons()
    late = [topic[max(0, n - 5)] for n in range(len(topic))]
    repeated = [record for pair in zip(topic, late, strict=True) for record in pair]
    assert essence(taught(*repeated, *topic)) == essence(through(topic))


@pytest.mark.parametrize("seed", range(4))
def test_two_publishers(seed: int) -> None:
    """An owner that lost its partitions and a new one publish the same outboxes, interleaved: learned once."""
    topic, random = lessons(), Random(seed)
    at, merged = [0, 0], list[bytes]()
    while at[0] < len(topic):
        n = random.random() < 0.5 and at[1] < at[0]  # the second is never ahead: it repeats
        merged.append(topic[at[n]])
        at[n] += 1
    assert len(merged) > 1.3 * len(topic)
    assert essence(taught(*merged)) == essence(through(topic))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rebuild_cuts_otherwise(seed: int) -> None:
    """After a loss of Redis the same events come again, old and new entries in one record: learned once."""
    first, second = lessons(1), lessons(1, seed)
    whole = through(first)
    for stop in (3, len(first) // 2):
        rebuilt = taught(*first[:stop], *second)
        assert rebuilt.tables.views == whole.tables.views
        assert rebuilt.tables.outcomes == whole.tables.outcomes
        assert labels(rebuilt) == labels(whole)
        assert rebuilt.tables.moves.tobytes() == whole.tables.moves.tobytes()


def test_cut_in_the_middle_of_a_batch() -> None:
    """A record of which a part was read before adds only its rest."""
    one, both = lesson(Ask(0, 1), Got(1, 2)), lesson(Ask(0, 1), Got(1, 2), Ask(3, 3), Got(4, 4))
    trainer = taught(one, both, both, lesson(watermark=2 * HORIZON))
    assert (trainer.tables.views, trainer.tables.outcomes) == (2, 2)
    assert labels(trainer) == (2, 0)


def test_lines_of_one_record() -> None:
    """Lines of one basket share the offset; the line's number tells them apart."""
    told = []
    for count in (2, 3):
        lines = unpack(lesson(*[Got(0, 5)] * count))
        outcomes = lines.outcomes.copy()
        outcomes["index"] = range(count)
        told.append(pack(replace(lines, outcomes=outcomes)))
    assert taught(*told).tables.outcomes == 3


# Killed and continued


def killed(topic: Sequence[bytes], stops: Sequence[int]) -> Trainer:
    """A trainer that is stopped at each of `stops` and goes on from the snapshot it has just written."""
    trainer = Trainer(CORE, HORIZON)
    for stop in [*stops, len(topic)]:
        while trainer.position < stop:
            taught(topic[trainer.position], trainer=trainer)
        trainer = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
    while trainer.position < len(topic):
        taught(topic[trainer.position], trainer=trainer)
    return trainer


@pytest.mark.parametrize("stops", [[0], [1], [25], [5, 6, 7, 8], range(0, 60, 3)], ids=str)
def test_killed(stops: Sequence[int]) -> None:
    """A trainer killed and continued from its snapshot ends with the same bytes as one never killed."""
    topic = lessons()
    end = killed(topic, [stop for stop in stops if stop < len(topic)])
    assert encode(end.checkpoint()) == encode(through(topic).checkpoint())
    assert end.position == len(topic)


@pytest.mark.parametrize("most", [20, 8_192])
def test_killed_while_questions_wait_for_a_day(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for days, with what waits for a day in the snapshot, all of it or a sample that shrinks meanwhile."""
    monkeypatch.setattr("intents.questions.MOST_SOON", most)
    topic = lessons(days=3.0)
    whole = taught(*topic)
    assert whole.soon.positives > 5 and 0 < len(whole.questions.later()) <= most
    assert (whole.questions.share < 0.2) == (most == 20)
    for stops in ([len(topic) // 2], [4, len(topic) // 3, len(topic) - 5], range(0, len(topic), 9)):
        assert encode(killed(topic, stops).checkpoint()) == encode(whole.checkpoint())


def test_killed_with_a_horizon_of_days() -> None:
    """Where an intent lives longer than a day, what was learned for soon is not learned again with its question."""
    horizon, records = 3 * SOON_MS, [lesson(Ask(0, 1), Ask(SOON_MS, 2)), lesson(watermark=SOON_MS + 1)]
    trainer = taught(*records, trainer=Trainer(CORE, horizon))
    assert (trainer.soon.negatives, trainer.now.negatives, trainer.checkpoint().later) == (1, 0, [])
    continued = Trainer(CORE, horizon, decode(encode(trainer.checkpoint()), CORE))
    assert continued.position == 0
    taught(*records, trainer=continued)
    assert continued.soon.negatives == 1
    for each in (trainer, continued):
        taught(lesson(watermark=2 * horizon), trainer=each)
        assert (each.soon.negatives, each.now.negatives) == (2, 2)
    assert encode(continued.checkpoint()) == encode(trainer.checkpoint())


def test_killed_long_after_its_snapshot() -> None:
    """What was learned after the snapshot is learned again, from the same records, to the same bytes."""
    topic = lessons()
    first = taught(*topic[:9])
    snapshot = encode(first.checkpoint())
    taught(*topic[9:25], trainer=first)
    second = Trainer(CORE, HORIZON, decode(snapshot, CORE))
    assert second.position <= 9
    for offset in range(second.position, len(topic)):
        second.read(offset, topic[offset])
        second.resolve()
    assert encode(second.checkpoint()) == encode(through(topic).checkpoint())


def test_killed_while_its_input_repeats() -> None:
    """Restarts and repetitions together change nothing either."""
    topic = lessons()
    repeated = tuple(record for n, record in enumerate(topic) for record in (record, topic[n // 2]))
    assert essence(killed(repeated, [7, 20, 33])) == essence(through(topic))


def test_checkpoints_change_nothing() -> None:
    """A trainer that writes snapshots learns what one without them does; the second checkpoint is like the first."""
    topic = lessons()
    trainer = Trainer(CORE, HORIZON)
    for record in topic:
        taught(record, trainer=trainer)
        first = encode(trainer.checkpoint())
    assert encode(trainer.checkpoint()) == first == encode(through(topic).checkpoint())


def test_a_checkpoint_learns_what_is_due() -> None:
    """A checkpoint made before everything due is learned, or half-way through it, loses none of it."""
    topic = lessons()
    counter = Trainer(CORE, HORIZON)
    due = []
    for offset, record in enumerate(topic):
        counter.read(offset, record)
        due.append(counter.resolve())
    stop = due.index(max(due))
    assert due[stop] > 10
    for pauses in (0, 1, 5):
        trainer = Trainer(CORE, HORIZON)
        for offset, record in enumerate(topic):
            trainer.read(offset, record)
            learning = trainer.resolving()
            for _ in range(pauses):
                next(learning, None)
            if offset == stop:
                trainer = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
                for again in range(trainer.position, offset + 1):
                    trainer.read(again, topic[again])
                    trainer.resolve()
            else:
                for _ in learning:
                    pass
        assert encode(trainer.checkpoint()) == encode(through(topic).checkpoint())


def test_what_is_just_not_due_is_not_lost() -> None:
    """A question whose end is the watermark itself is not due, and a restart knows that."""
    trainer = taught(lesson(Ask(0, 1), Got(1, 2), watermark=HORIZON))
    continued = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
    for offset in range(continued.position, 1):
        continued.read(offset, lesson(Ask(0, 1), Got(1, 2), watermark=HORIZON))
    assert labels(taught(lesson(watermark=HORIZON + 1), trainer=continued)) == (1, 0)


def test_a_late_question_after_a_restart() -> None:
    """A question read after the snapshot is learned, though its time was over when the snapshot was made."""
    trainer = taught(lesson(watermark=9 * HORIZON))
    continued = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
    assert labels(taught(lesson(Ask(0, 1)), trainer=continued)) == (0, 1)


def test_an_outcome_read_before_a_restart() -> None:
    """What was marked before the snapshot is marked again when its records are read again."""
    records = [lesson(Ask(1, 1)), lesson(Got(5, 2), watermark=HORIZON)]
    continued = Trainer(CORE, HORIZON, decode(encode(taught(*records).checkpoint()), CORE))
    assert continued.position == 0
    taught(*records, trainer=continued)
    assert labels(taught(lesson(watermark=2 * HORIZON), trainer=continued)) == (1, 0)


def test_a_restart_reads_only_what_is_pending() -> None:
    """A snapshot's trainer reads from the oldest open question on, not from the beginning."""
    topic = lessons()
    trainer = taught(*topic[:40])
    continued = Trainer(CORE, HORIZON, decode(encode(trainer.checkpoint()), CORE))
    assert 10 < continued.position < 40
    refilling = [trainer.refilling]
    for offset in range(continued.position, 40):
        refilling.append(continued.refilling)
        taught(topic[offset], trainer=continued)
    assert [*refilling, continued.refilling] == [False] + [True] * (len(refilling) - 1) + [False]
    assert labels(continued) == labels(trainer)


def test_only_a_durable_trainer_has_checkpoints() -> None:
    """One that remembers less says so instead of leaving a snapshot from which nobody could go on."""
    with pytest.raises(ValueError, match="durable"):
        Trainer(CORE, HORIZON, durable=False).checkpoint()


def test_durable_or_not_it_learns_the_same() -> None:
    """Remembering for checkpoints does not change what is learned."""
    assert essence(taught(*lessons(), trainer=Trainer(CORE, HORIZON, durable=False))) == essence(through(lessons()))


# The same vectors on both sides


def test_trainer_and_worker_see_the_same_vectors() -> None:
    """With one snapshot, the trainer learns the vector that the worker scored: before its own view is counted."""
    records = disturbed(made_up(seed=16, customers=12, events=260, days=0.1))
    trainer, setup = Trainer(CORE, HORIZON), setup_of(DEMO_CATALOGUE)
    engine = Engine(MemoryStore(), setup, trainer.model())
    decoder = Decoder(setup.catalogue)

    async def run() -> int:
        partition, compared = await engine.claim(PartitionKey("test", "clickstream", 0), "mine"), 0
        for offset, record in enumerate(records):
            engine.model = trainer.model()
            piece, _ = await engine.cut(partition, chunk_of(decoder, 0, offset, [record]))
            step, (commit,) = await engine.step([piece])
            await engine.commit(piece, commit)
            (told,) = [found.value for found in step.records[0] if found.topic == "examples"]
            before = {id(question) for question in trainer.questions.now()}
            trainer.read(trainer.position, told)
            new = [question for question in trainer.questions.now() if id(question) not in before]
            scored = [wave for wave in step.detected.scored if not wave.outcome.any()]
            assert len(new) == len(scored)
            for question, wave in zip(new, scored, strict=True):
                columns = wave.columns[CORE.leading :]  # those before are read by a choice alone
                assert question.columns.shape == columns.shape == (len(regressed_names(CORE)), len(wave.p))
                assert question.columns.tobytes() == columns.tobytes()
                compared += 1
            trainer.resolve()
        return compared

    assert asyncio.run(run()) > 150
    assert trainer.tables.transitions.size > 50


def test_a_record_of_a_later_release() -> None:
    """It is not passed over: the position stays before it, for a trainer that can read it."""
    trainer = taught(lesson(Ask(0, 1)))
    wire = msgspec.msgpack.decode(lesson(Ask(1, 2)))
    with pytest.raises(NewerExamples, match="upgrade the trainer"):
        trainer.read(1, msgspec.msgpack.encode([VERSION + 1, *wire[1:]]))
    assert trainer.position == 1
