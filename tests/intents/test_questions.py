"""A question waits for now and for soon at once; each answer counts what came in its own time, to the millisecond."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.model import SOON_MS
from intents.questions import MOST_SOON, Question, Questions
from tests.intents.naive_questions import Answered, Asked, NaiveQuestions

HORIZON: Final = 30 * 60_000
T: Final = 1_700_000_000_000
HERE: Final = ("clickstream", 0)


def question(
    at: int = 0, offset: int = 1, place: int = 0, customer: int = 7, subjects: Sequence[int] = (1,), partition: int = 0
) -> Question:
    """A question asked `at` ms after T."""
    count = len(subjects)
    return Question(
        T + at,
        offset,
        place,
        ("clickstream", partition),
        customer,
        np.array(subjects, dtype=np.uint64),
        np.zeros(count, dtype=np.int64),
        np.zeros((2, count), dtype=np.float32),
        1.0,
        np.zeros(count, dtype=bool),
        np.zeros(count, dtype=bool),
    )


def answers(*outcomes: int, horizon: int = HORIZON) -> tuple[bool, bool]:
    """(now, soon) of a question at T after outcomes of its subject at these ms after T."""
    questions, asked = Questions(horizon), question()
    questions.add(asked)
    for at in outcomes:
        questions.outcome(HERE, 7, 1, T + at)
    return bool(asked.now[0]), bool(asked.soon[0])


# Answers


@pytest.mark.parametrize(
    ("at", "now", "soon"),
    [
        (-1, False, False),
        (0, False, False),
        (1, True, True),
        (HORIZON, True, True),
        (HORIZON + 1, False, True),
        (SOON_MS, False, True),
        (SOON_MS + 1, False, False),
    ],
)
def test_answers_to_the_millisecond(at: int, now: bool, soon: bool) -> None:
    """An outcome answers now in (t, t + horizon], and soon in (t, t + 24 h]."""
    assert answers(at) == (now, soon)


def test_a_horizon_longer_than_a_day() -> None:
    """Where an intent lives for days, now is the longer one."""
    assert answers(SOON_MS, horizon=3 * SOON_MS) == (True, True)
    assert answers(SOON_MS + 1, horizon=3 * SOON_MS) == (True, False)
    assert answers(3 * SOON_MS + 1, horizon=3 * SOON_MS) == (False, False)


def test_an_answer_stays() -> None:
    """A later outcome, or one of another subject, takes no answer back."""
    assert answers(1, HORIZON + 1, SOON_MS + 1) == (True, True)
    assert answers(HORIZON + 1, 1) == (True, True)


def test_answers_of_others() -> None:
    """Only outcomes of the question's own source, customer and subject answer it, each candidate by itself."""
    questions, asked = Questions(HORIZON), question(subjects=(1, 2, 3))
    questions.add(asked)
    questions.outcome(("clickstream", 1), 7, 1, T + 1)
    questions.outcome(HERE, 8, 1, T + 1)
    questions.outcome(HERE, 7, 4, T + 1)
    assert not asked.now.any() and not asked.soon.any()
    questions.outcome(HERE, 7, 2, T + 1)
    questions.outcome(HERE, 7, 3, T + HORIZON + 1)
    assert (asked.now.tolist(), asked.soon.tolist()) == ([False, True, False], [False, True, True])


def test_no_memory_of_outcomes() -> None:
    """What came before a question was read does not answer it: a question is never older than what its customer did."""
    questions, asked = Questions(HORIZON), question()
    questions.outcome(HERE, 7, 1, T + 1)
    questions.add(asked)
    assert not asked.now[0] and not asked.soon[0]


# Due


@pytest.mark.parametrize(("passed", "due"), [(HORIZON, 0), (HORIZON + 1, 1)])
def test_due_when_its_horizon_is_over(passed: int, due: int) -> None:
    """A question is due once its source has passed t + horizon, not at it; once."""
    questions = Questions(HORIZON)
    questions.add(question())
    assert len(questions.due_now(HERE, T + passed)) == due
    assert questions.due_now(HERE, T + passed) == []


@pytest.mark.parametrize(("passed", "due"), [(SOON_MS, 0), (SOON_MS + 1, 1)])
def test_due_soon_when_a_day_is_over(passed: int, due: int) -> None:
    """For soon it is due a day later, not before, whether it was for now or not."""
    for first in (True, False):
        questions = Questions(HORIZON)
        questions.add(question())
        if first:
            assert len(questions.due_now(HERE, T + passed)) == 1
        assert len(questions.due_soon(HERE, T + passed)) == due
        assert questions.due_soon(HERE, T + passed) == []


def test_what_came_after_now_is_for_soon_alone() -> None:
    """A question that was learned for now goes on waiting, and hears of later outcomes."""
    questions, asked = Questions(HORIZON), question()
    questions.add(asked)
    (due,) = questions.due_now(HERE, T + HORIZON + 1)
    assert due is asked and not asked.now[0] and questions.now() == [] and questions.later() == [asked]
    questions.outcome(HERE, 7, 1, T + HORIZON + 2)
    (due,) = questions.due_soon(HERE, T + SOON_MS + 1)
    assert due is asked and asked.soon.tolist() == [True] and asked.now.tolist() == [False]
    assert questions.later() == []


def test_nothing_is_left_behind() -> None:
    """When both answers are known nothing of a question or its customer is kept."""
    questions = Questions(HORIZON)
    for n in range(20):
        questions.add(question(n, n, customer=n % 3))
    questions.due_now(HERE, T + 2 * SOON_MS)
    questions.due_soon(HERE, T + 2 * SOON_MS)
    assert not questions._of and not any(questions._now.values()) and not any(questions._soon.values())
    assert questions._sampled == 0


def test_by_its_own_source() -> None:
    """Another source's time makes nothing due; sources that have been asked about are known."""
    questions = Questions(HORIZON)
    questions.add(question())
    questions.add(question(partition=1))
    assert questions.sources() == [HERE, ("clickstream", 1)]
    assert questions.due_now(HERE, T + SOON_MS) == [question()]
    assert len(questions.now()) == 1 and questions.now()[0].source == ("clickstream", 1)


def test_in_order() -> None:
    """Due and listed in order of (time, offset, place), whatever the order of asking."""
    asked = [question(5, 3), question(5, 2, 1), question(5, 2, 0), question(1, 9), question(0, 1)]
    wanted = sorted(asked, key=lambda q: (q.time, q.offset, q.place))
    questions = Questions(HORIZON)
    for one in asked:
        questions.add(one)
    assert [id(q) for q in questions.now()] == [id(q) for q in wanted]
    assert [id(q) for q in questions.due_now(HERE, T + SOON_MS)] == [id(q) for q in wanted]
    assert [id(q) for q in questions.later()] == [id(q) for q in wanted]
    assert [id(q) for q in questions.due_soon(HERE, T + 2 * SOON_MS)] == [id(q) for q in wanted]


def test_the_oldest_offset_that_waits_for_now() -> None:
    """A restart reads from the lowest offset of a question that waits for now; those for soon need no reading."""
    questions = Questions(HORIZON)
    assert questions.oldest() is None
    for at, offset in ((0, 4), (10, 3), (20, 5)):
        questions.add(question(at, offset))
    assert questions.oldest() == 3
    questions.due_now(HERE, T + HORIZON + 11)
    assert questions.oldest() == 5
    questions.due_now(HERE, T + SOON_MS)
    assert questions.oldest() is None and len(questions.later()) == 3


# The sample


def test_thinned_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most MOST_SOON wait for a day: where it would be more, half of the share stays, those of the lowest chance."""
    assert MOST_SOON == 8_192
    monkeypatch.setattr("intents.questions.MOST_SOON", 50)
    questions = Questions(HORIZON)
    asked = [question(n, n // 7, n % 7, customer=n % 5) for n in range(1_000)]
    for n, one in enumerate(asked):
        questions.add(one)
        stay = [q for q in asked[: n + 1] if q.chance < questions.share]
        assert len(stay) == questions._sampled <= 50
    assert questions.share in (1 / 16, 1 / 32) and len(questions.now()) == 1_000
    questions.due_now(HERE, T + SOON_MS)
    assert [id(q) for q in questions.later()] == [id(q) for q in stay]
    assert sum(map(len, questions._of.values())) == len(stay)  # the others are gone from their customers too
    assert [id(q) for q in questions.due_soon(HERE, T + 2 * SOON_MS)] == [id(q) for q in stay]


def test_thinned_as_often_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half of the share would still be too many, it is halved again."""
    monkeypatch.setattr("intents.questions.MOST_SOON", 1)
    low = [one for one in (question(offset=n) for n in range(200)) if one.chance < 1 / 8][:2]
    questions = Questions(HORIZON)
    for one in low:
        questions.add(one)
    assert questions._sampled <= 1 and questions.share <= 1 / 8


def test_what_leaves_the_sample_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that was learned for now and leaves the sample waits for nothing: no outcome is compared with it."""
    monkeypatch.setattr("intents.questions.MOST_SOON", 10)
    questions = Questions(HORIZON)
    for n in range(9):
        questions.add(question(n, n))
    questions.due_now(HERE, T + 2 * HORIZON)
    for n in range(9, 30):
        questions.add(question(2 * HORIZON, n))
    waiting = questions.later() + questions.now()
    assert sum(map(len, questions._of.values())) == len(waiting) < 30


def test_the_share_stays_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share never rises, so that what has been chosen by it stays chosen; fewer wait then."""
    monkeypatch.setattr("intents.questions.MOST_SOON", 50)
    questions = Questions(HORIZON)
    for n in range(100):
        questions.add(question(n, n))
    share = questions.share
    questions.due_soon(HERE, T + 2 * SOON_MS)
    for n in range(40):
        questions.add(question(n, 1_000 + n))
    assert questions.share == share < 1 and questions._sampled < 40


def test_chance_is_of_the_questions_place_alone() -> None:
    """A question's chance depends on offset and place, on nothing that the answer could depend on, and is even."""
    one = question(0, 17, 3)
    others = [question(9, 17, 3, customer=8, subjects=(5, 6)), replace(one, weight=9.0, soon=~one.soon)]
    assert {other.chance for other in others} == {one.chance}
    assert len({question(offset=n, place=p).chance for n in range(100) for p in range(9)}) == 900
    chances = np.array([question(offset=n, place=p).chance for n in range(700) for p in range(10)])
    assert chances.min() >= 0 and chances.max() < 1
    assert (np.abs(np.histogram(chances, 10, (0, 1))[0] - 700) < 100).all()
    assert abs(np.corrcoef(chances, np.arange(7_000))[0, 1]) < 0.05


def test_an_answered_question_may_leave_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the answer is known by then changes nothing of who stays in the sample."""
    monkeypatch.setattr("intents.questions.MOST_SOON", 20)
    kept = []
    for answered in (False, True):
        questions = Questions(HORIZON)
        for n in range(100):
            questions.add(question(n, n))
            if answered and n % 3 == 0:
                questions.outcome(HERE, 7, 1, T + n + 1)
        questions.due_now(HERE, T + SOON_MS)
        kept.append([q.offset for q in questions.later()])
    assert kept[0] == kept[1] and 5 < len(kept[0]) <= 20


# As the naive one


SMALL: Final = 3
STEPS: Final = [0, 1, HORIZON - 1, HORIZON, HORIZON + 1, SOON_MS // 2, SOON_MS - HORIZON, SOON_MS, SOON_MS + 1]
ACTS: Final = st.one_of(
    st.tuples(st.just("ask"), st.just(0), st.integers(0, 1), st.integers(1, 2), st.integers(1, 3)),
    st.tuples(st.just("ask"), st.sampled_from(STEPS), st.integers(0, 1), st.integers(1, 2), st.integers(1, 3)),
    st.tuples(st.just("outcome"), st.sampled_from(STEPS), st.integers(0, 1), st.integers(1, 2), st.integers(1, 3)),
    st.tuples(st.just("due"), st.sampled_from([0, 1]), st.integers(0, 1), st.booleans(), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0), st.just(0), st.just(0)),
)


@settings(max_examples=150, derandomize=True, database=None)
@given(st.lists(ACTS, max_size=60))
def test_as_the_naive_questions_say(acts: list[tuple[str, int, int, int, int]]) -> None:
    """Whatever is asked, comes, and is due in any order: the same questions, answers and sample; restarts included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intents.questions.MOST_SOON", SMALL)
        questions, naive, now = Questions(HORIZON), NaiveQuestions(HORIZON, SMALL), 0
        for n, (act, step, partition, who, what) in enumerate(acts):
            source = ("clickstream", partition)
            if act == "ask":
                now += step
                subjects = tuple(range(what, what + 2))
                asked = question(now, n, 0, who, subjects, partition)
                naive.ask(Asked(T + now, n, 0, str(source), who, subjects), asked.chance)
                questions.add(asked)
            elif act == "outcome":
                naive.outcome(str(source), who, what, T + now + step)
                questions.outcome(source, who, what, T + now + step)
            elif act == "due":
                soon, passed = bool(who), T + now + step
                due = (questions.due_soon if soon else questions.due_now)(source, passed)
                assert [plain(one, soon=soon) for one in due] == naive.due(str(source), passed, soon=soon)
            else:
                questions = restarted(questions)
            assert questions.share == naive.share
            assert questions._sampled == len(naive.waiting()) <= SMALL
        for passed in (now + HORIZON, now + 2 * SOON_MS):
            for partition in (0, 1):
                source = ("clickstream", partition)
                for soon in (True, False):
                    due = (questions.due_soon if soon else questions.due_now)(source, T + passed)
                    assert [plain(one, soon=soon) for one in due] == naive.due(str(source), T + passed, soon=soon)
        assert not questions._of


def plain(one: Question, *, soon: bool) -> Answered:
    """A question that is due, in the naive one's words."""
    subjects = tuple(one.subjects.tolist())
    labels = tuple((one.soon if soon else one.now).tolist())
    return Answered(Asked(one.time, one.offset, one.place, str(one.source), one.customer, subjects), labels)


def restarted(questions: Questions) -> Questions:
    """As a trainer goes on: what waits for a day alone is kept, the others are asked again, and answered again."""
    later = [replace(one, now=one.now.copy(), soon=one.soon.copy()) for one in questions.later()]
    again = Questions(HORIZON, questions.share, later)
    for one in questions.now():
        again.add(replace(one, now=one.now.copy(), soon=one.soon.copy()))
    return again
