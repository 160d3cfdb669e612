"""The curve is the fading sum of answered alarms; the threshold in force is the loosest that meets the target by it."""

from random import Random
from typing import Final

import numpy as np
import pytest

from features.log import DAY_MS
from intents.alarms import DEFAULT, HALF_LIFE_MS, LOWEST, Curve
from intents.counts import F64
from intents.targets import GRID, Target
from tests.intents.naive_alarms import THRESHOLDS, Answered, curve

T: Final = 1_700_000_000_000


def noted(found: Curve, questions: list[Answered]) -> Curve:
    """The curve after these answered questions, noted at once."""
    bits = [
        [sum(1 << THRESHOLDS.index(threshold) for threshold in sounding) for sounding, _ in question.candidates]
        for question in questions
    ]
    found.note(
        np.array([question.time for question in questions]),
        np.array([question.first for question in questions]),
        np.array([question.weight for question in questions]),
        [np.array(each, dtype=np.uint64) for each in bits],
        [np.array([right for _, right in question.candidates]) for question in questions],
    )
    return found


def made_up(seed: int, count: int = 60) -> list[Answered]:
    """Questions of some days, some of them late."""
    dice, at, found = Random(seed), T, []
    for _ in range(count):
        at += dice.randrange(DAY_MS // 8)
        candidates = [
            (dice.sample(THRESHOLDS, dice.randrange(5)), dice.random() < 0.3) for _ in range(dice.randrange(1, 5))
        ]
        found.append(
            Answered(at - dice.choice((0, 0, DAY_MS)), dice.random() < 0.2, dice.choice((1.0, 4.0)), candidates)
        )
    return found


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_naive_one_says(seed: int, size: int) -> None:
    """Sums in which each question counts by its age, however many are noted at once, in whatever order of time."""
    questions, found = made_up(seed), Curve()
    for start in range(0, len(questions), size):
        noted(found, questions[start : start + size])
    alarms, hits, days = curve(questions, HALF_LIFE_MS)
    np.testing.assert_allclose(found.alarms, alarms)
    np.testing.assert_allclose(found.hits, hits)
    assert found.customer_days == pytest.approx(days) and days > 5
    assert found.clock == max(question.time for question in questions)


def test_half_of_it_after_two_days() -> None:
    """Alarms, right ones and days of customers fade by the time of questions; late ones are what they are: older."""
    one = Answered(T, True, 1.0, [([0.01, 0.02], True)])
    found = noted(noted(Curve(), [one]), [one._replace(time=T + 2 * DAY_MS, candidates=[([0.01], False)])])
    assert HALF_LIFE_MS == 2 * DAY_MS
    assert (found.alarms[:3].tolist(), found.hits[:3].tolist()) == ([1.5, 0.5, 0.0], [0.5, 0.5, 0.0])
    assert found.customer_days == 1.5
    assert noted(found, [one]).alarms[:2].tolist() == [2.0, 1.0]


def test_a_new_beginning() -> None:
    """What an undated curve knows counts whole at its next question, before or after the last one, and fades then."""
    one = Answered(T, True, 1.0, [([0.01], True)])
    for at in (T - 900 * DAY_MS, T + 900 * DAY_MS):
        found = noted(noted(Curve(), [one]).undated(), [one._replace(time=at)])
        assert (found.clock, found.alarms[0], found.customer_days) == (at, 2.0, 2.0)
        assert noted(found, [one._replace(time=at + HALF_LIFE_MS)]).alarms[0] == 2.0


def test_a_copy_is_its_own() -> None:
    """A model keeps the curve that it was made with."""
    found = noted(Curve(), made_up(1))
    copy, before = found.copy(), found.alarms.tolist()
    noted(found, made_up(2))
    assert copy.alarms.tolist() == before != found.alarms.tolist()


# The threshold


def known(scale: float = 1.0, days: float = 100.0) -> Curve:
    """1,000 alarms at .01, fewer at each threshold; from .01 on a share of twice the threshold is right, up to .80."""
    alarms: F64 = scale * 1_000 * 0.9 ** np.arange(60.0)
    return Curve(T, alarms, alarms * np.minimum(2 * GRID, 0.8), days)


@pytest.mark.parametrize(
    ("target", "value", "why"),
    [
        ("precision=0.25", 0.13, "for precision=0.25: 26% of 282 fading alarms were right"),
        ("precision=0.5", 0.25, "for precision=0.5: 50% of 80 fading alarms were right"),
        ("precision=0.9", 0.34, "the nearest to precision=0.9: 68% of 31 fading alarms were right"),
        ("precision=0.01", 0.02, "for precision=0.01: 4% of 900 fading alarms were right"),
        ("alarms=2", 0.17, "for alarms=2: 1.85 alarms per active customer and day, of 185 fading alarms"),
        ("alarms=100", 0.02, "for alarms=100: 9.00 alarms per active customer and day, of 900 fading alarms"),
        ("alarms=0.001", 0.6, "the nearest to alarms=0.001: 0.02 alarms per active customer and day, of 2 fading"),
    ],
)
def test_the_loosest_that_meets_the_target(target: str, value: float, why: str) -> None:
    """Else the nearest to it among those with enough alarms; never one below LOWEST; and it says why."""
    found = known().threshold(Target.parse(target))
    assert (found.value, LOWEST) == (value, 0.02) and found.why.startswith(why)


@pytest.mark.parametrize("target", ["precision=0.25", "alarms=2", "alarms=0.001"])
def test_until_enough_is_known(target: str) -> None:
    """Before thirty alarms at the loosest threshold nothing is chosen, not even where hardly any fit any number."""
    wanted = Target.parse(target)
    for curve_, chosen in ((Curve(), False), (known(29.9 / 900), False), (known(30.1 / 900), True)):
        found = curve_.threshold(wanted)
        assert (found.why == f"until more alarms have been judged, for {target}") is not chosen
        assert chosen or found.value == DEFAULT == 0.15
    assert known(days=0.0).threshold(Target("alarms", 2)).value == DEFAULT


def test_targets_are_written_as_they_are_read() -> None:
    """What is no target, or says nothing, is refused."""
    for text in ("precision=0.25", "alarms=2", "alarms=0.5", "f1"):
        assert str(Target.parse(text)) == text
    for text in ("", "0.3", "precision", "precision=0", "precision=1", "alarms=-1", "alarms=inf", "alarms=nan", "f1=1"):
        with pytest.raises(ValueError, match=r"float|^" + text):
            Target.parse(text)
