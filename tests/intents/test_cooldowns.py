"""An alarm sounds where nothing is cooling down, at each threshold by itself, whoever reads it again."""

import asyncio
from random import Random
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.catalog import Catalogue
from intents.cooldowns import MOST, MOST_OF_ONE, CoolDowns
from intents.detect import Setup
from intents.examples import unpack
from intents.life import Rules
from intents.subjects import customer_hash, subject_hash
from intents.targets import GRID
from intents.training import Trainer
from streams.engine import HASH_KEY
from tests.intents.naive_alarms import THRESHOLDS, NaiveCoolDowns
from tests.intents.replaying import MINUTE, Drive, in_chunks
from tests.intents.steered import HORIZON, STEERED, Shop, T, steered_model

HERE: Final = ("clickstream", 0)


def sounds(
    cooling: CoolDowns, time: int, p: float, subject: int = 1, customer: int = 7, partition: int = 0
) -> list[float]:
    """Thresholds at which a question of one candidate sounds an alarm."""
    said = np.array([p], dtype=np.float32)
    found = cooling.ask(("clickstream", partition), customer, T + time, np.array([subject], dtype=np.uint64), said)
    assert found is not None
    return plain(int(found[0]))


def plain(bits: int) -> list[float]:
    """Bits as thresholds."""
    return [threshold for place, threshold in enumerate(THRESHOLDS) if bits >> place & 1]


def up_to(p: float, above: float = 0.0) -> list[float]:
    """The thresholds of the grid in (above, p]."""
    return [threshold for threshold in THRESHOLDS if above < threshold <= p]


def test_the_grid() -> None:
    """The thresholds are the hundredths to .60."""
    assert GRID.tolist() == THRESHOLDS


@pytest.mark.parametrize(
    ("p", "reached"),
    [(0.0099, 0.0), (0.01, 0.01), (0.15, 0.15), (0.14996, 0.15), (0.14994, 0.14), (0.6, 0.6), (1.0, 0.6), (0.0, 0.0)],
)
def test_from_the_threshold(p: float, reached: float) -> None:
    """An alarm sounds at every threshold up to p, which is rounded to 1e-4 as for an intent."""
    assert sounds(CoolDowns(HORIZON), 0, p) == up_to(reached)


@pytest.mark.parametrize(("after", "again"), [(0, False), (1, False), (HORIZON, False), (HORIZON + 1, True)])
def test_it_cools_down(after: int, again: bool) -> None:
    """For one horizon the same customer's subject sounds no alarm again at that threshold, to the millisecond."""
    cooling = CoolDowns(HORIZON)
    sounds(cooling, 0, 0.3)
    assert sounds(cooling, after, 0.3) == (up_to(0.3) if again else [])


def test_each_threshold_by_itself() -> None:
    """A louder one later sounds where the first did not; each then cools down from its own alarm on."""
    cooling = CoolDowns(HORIZON)
    sounds(cooling, 0, 0.1)
    assert sounds(cooling, 20 * MINUTE, 0.3) == up_to(0.3, above=0.1)
    assert sounds(cooling, 40 * MINUTE, 0.5) == up_to(0.1) + up_to(0.5, above=0.3)


def test_a_cool_down_counts_from_the_alarm() -> None:
    """Not from what was loud while it cooled down: in a long session there is an alarm each horizon."""
    cooling = CoolDowns(HORIZON)
    found = [bool(sounds(cooling, n * 20 * MINUTE, 0.3)) for n in range(6)]
    assert found == [True, False, True, False, True, False]


@pytest.mark.parametrize("other", [{"subject": 2}, {"customer": 8}, {"partition": 1}])
def test_of_its_own(other: dict[str, int]) -> None:
    """Another subject, customer or source partition is another alarm's."""
    cooling = CoolDowns(HORIZON)
    sounds(cooling, 0, 0.3)
    assert sounds(cooling, 1, 0.3, **other) == up_to(0.3)
    assert sounds(cooling, 1, 0.3) == []


@pytest.mark.parametrize(
    ("customer", "subject", "at", "ended"), [(7, 1, 6, True), (7, 1, 5, False), (7, 2, 6, False), (8, 1, 6, False)]
)
def test_an_outcome_ends_it(customer: int, subject: int, at: int, ended: bool) -> None:
    """An outcome of the customer and subject that comes after the alarm."""
    cooling = CoolDowns(HORIZON)
    sounds(cooling, 5, 0.3)
    cooling.outcome(HERE, customer, subject, T + at)
    assert sounds(cooling, 9, 0.3) == (up_to(0.3) if ended else [])


def test_nothing_said() -> None:
    """Where no model spoke there is nothing to count."""
    said = np.array([np.nan, np.nan], dtype=np.float32)
    assert CoolDowns(HORIZON).ask(HERE, 7, T, np.array([1, 2], dtype=np.uint64), said) is None


def test_nothing_is_left_behind() -> None:
    """What has cooled down, or was ended, is kept no longer than its source needs."""
    cooling = CoolDowns(HORIZON)
    for n in range(20):
        sounds(cooling, n, 0.3, customer=n % 3)
        if n % 5 == 0:
            cooling.outcome(HERE, n % 3, 1, T + n + 1)
    cooling.passed(HERE, T + HORIZON)
    assert cooling.sounded()
    cooling.passed(("clickstream", 1), T + 9 * HORIZON)
    assert cooling.sounded()
    cooling.passed(HERE, T + 9 * HORIZON)
    assert (cooling.sounded(), cooling._of, cooling._count) == ([], {}, 0)


def test_of_too_many_a_share_of_the_customers_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most MOST questions are kept: the share of customers is halved; of the others nothing is counted any more."""
    assert MOST == 16_384
    monkeypatch.setattr("intents.cooldowns.MOST", 50)
    cooling, dice = CoolDowns(HORIZON), Random(1)
    customers = [dice.randrange(2**64) for _ in range(400)]
    for n, customer in enumerate(customers):
        cooling.ask(HERE, customer, T + n, np.array([1], dtype=np.uint64), np.array([0.3], dtype=np.float32))
        assert cooling._count == len(cooling.sounded()) <= 50
    assert cooling.share in (1 / 8, 1 / 16)
    held = [customer for customer in customers if customer < cooling.share * 2**64]
    assert [one.customer for one in cooling.sounded()] == held and len(held) > 10
    asked = [
        cooling.ask(HERE, customer, T + 500, np.array([1], dtype=np.uint64), np.array([0.3], dtype=np.float32))
        for customer in customers
    ]
    assert [found is not None for found in asked] == [customer in held for customer in customers]
    assert not any(found.any() for found in asked if found is not None)


def test_a_flood_costs_nobody_else_s_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one customer the newest questions are kept, so many; others keep theirs."""
    assert MOST_OF_ONE == 64
    monkeypatch.setattr("intents.cooldowns.MOST", 66)
    cooling = CoolDowns(HORIZON)
    for customer in (8, 7):
        for n in range(1, 100 if customer == 7 else 2):
            sounds(cooling, n, 0.3, subject=n, customer=customer)
    assert cooling.share == 1.0
    assert [(one.customer, one.time - T) for one in cooling.sounded()] == [(8, 1), *((7, n) for n in range(36, 100))]
    again = CoolDowns(HORIZON, 1.0, cooling.sounded())
    for each in (cooling, again):
        assert sounds(each, 100, 0.3, subject=35) == up_to(0.3) and sounds(each, 100, 0.3, subject=37) == []
    cooling.passed(HERE, T + 9 * HORIZON)
    assert (cooling.sounded(), cooling._of, cooling._count) == ([], {}, 0)


ACTS: Final = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "outcome", "passed", "again"]),
    st.sampled_from([0, 1, MINUTE, HORIZON - 1, HORIZON, HORIZON + 1]),
    st.integers(0, 1),  # partition
    st.integers(1, 2),  # customer
    st.integers(1, 3),  # subject
    st.sampled_from([0.005, 0.0101, 0.15, 0.14996, 0.3, 0.7, float("nan")]),
    st.sampled_from([0.005, 0.149, 0.31, 0.6]),
)


@settings(max_examples=200, derandomize=True, database=None)
@given(st.lists(ACTS, max_size=50))
def test_as_the_naive_ones_say(acts: list[tuple[str, int, int, int, int, float, float]]) -> None:
    """Whatever is asked and comes, in any order, and whoever goes on from a copy: the same alarms at each threshold."""
    cooling, naive, now = CoolDowns(HORIZON), NaiveCoolDowns(HORIZON), T
    for act, step, partition, customer, subject, p, other in acts:
        now, source = now + step, ("clickstream", partition)
        if act == "ask":
            subjects = np.array([subject, subject + 1], dtype=np.uint64)
            found = cooling.ask(source, customer, now, subjects, np.array([p, other], dtype=np.float32))
            said = {subject: 0.0 if np.isnan(p) else p, subject + 1: other}
            assert found is not None
            told = naive.ask(str(source), customer, now, said)
            assert [plain(bits) for bits in found.tolist()] == [told[each] for each in subjects.tolist()]
        elif act == "outcome":
            cooling.outcome(source, customer, subject, now)
            naive.outcome(str(source), customer, subject, now)
        elif act == "passed":
            cooling.passed(source, now)
        else:
            cooling = CoolDowns(HORIZON, cooling.share, cooling.sounded())


def test_a_copy_is_its_own() -> None:
    """What happens after a copy was made changes neither the copy nor the original through it."""
    cooling = CoolDowns(HORIZON)
    sounds(cooling, 0, 0.3)
    copy = cooling.sounded()
    cooling.outcome(HERE, 7, 1, T + 1)
    other = CoolDowns(HORIZON, 1.0, copy)
    other.outcome(HERE, 7, 1, T + 1)
    assert (cooling.sounded(), other.sounded()) == ([], []) and copy[0].alarms.any()


# The same as intents


@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.35])
@pytest.mark.parametrize("seed", range(4))
def test_alarms_are_the_intents_that_a_worker_detects(threshold: float, seed: int) -> None:
    """With one threshold a worker detects an intent at exactly the questions at which the trainer counts its alarm."""
    dice, shop, at = Random(seed), Shop(), 0
    for _ in range(200):
        at += dice.choice((0, 1, 3)) * 5 * MINUTE  # an intent is open until its deadline fires, after two minutes more
        customer, subject = f"c{dice.randrange(4)}", dice.choice(("tea", "cups", "honey"))
        if dice.random() < 0.7:
            shop.view(at, subject, dice.choice((0.04, 0.1, 0.2, 0.4)), customer)
        else:
            shop.do(dice.choice(("cart_add", "purchase")), at, subject, customer)
    catalogue = Catalogue()
    setup = Setup(STEERED, catalogue, catalogue.names, Rules(threshold))
    drive = Drive(setup, steered_model(), [shop.records], with_examples=True)
    asyncio.run(drive.run(in_chunks(drive.lanes, 9)))
    trainer = Trainer(STEERED, HORIZON)
    for offset, lesson in enumerate(drive.lessons):
        trainer.read(offset, lesson)
    bit = np.uint64(THRESHOLDS.index(threshold))
    counted = [
        (question.customer, subject, question.time)
        for question in trainer.questions.now()
        if question.alarms is not None
        for subject, alarms in zip(question.subjects.tolist(), question.alarms, strict=True)
        if alarms >> bit & np.uint64(1)
    ]
    detected = [
        (customer_hash(intent.customer_id, HASH_KEY), subject_hash(intent.intent), intent.detected_at)
        for intent in drive.intents[0]
        if intent.status == "detected"
    ]
    assert sorted(counted) == sorted(detected) and len(detected) > 15


# The first question of a day


@pytest.mark.parametrize("size", [1, 7, 400])
def test_the_first_question_of_a_customer_s_day(size: int) -> None:
    """Of each customer's questions of a UTC day the first one says so, whatever else happened before, in any chunks."""
    dice, shop, at = Random(5), Shop(), 0
    for n in range(400):
        at += dice.choice((0, MINUTE, 40 * MINUTE, 100 * MINUTE))
        customer, kind = (
            f"c{dice.randrange(3)}",
            dice.choice(("view", "view", "search", "favorite", "cart_add", "click")),
        )
        if kind == "view" or n % 4:
            shop.do(kind, at, dice.choice(("tea", "cups")), customer)
    catalogue = Catalogue()
    setup = Setup(STEERED, catalogue, catalogue.names)
    drive = Drive(setup, steered_model(), [shop.records], with_examples=True)
    asyncio.run(drive.run(in_chunks(drive.lanes, size)))
    asked = [entry for lesson in drive.lessons for entry in unpack(lesson).asked]
    seen: set[tuple[int, int]] = set()
    for entry in asked:
        day = int(entry["customer"]), int(entry["time"]) // 86_400_000
        assert bool(entry["first"]) == (day not in seen)
        seen.add(day)
    assert len(seen) > 25 and len(asked) > 2 * len(seen)
