"""A watcher hears everything a trainer is asked and learns, in an order in which nothing is known early."""

import numpy as np
import pytest

from features.bundle import F32
from features.log import I64, Bool
from intents.counts import F64
from intents.head import ARRAYS, Head
from intents.lessons import HeadName, Lesson, Pairs
from intents.model import SOON_MS
from intents.questions import Question
from tests.intents.watching import HORIZON_MS, Written, trained, watched


def key(question: Question) -> tuple[int, int]:
    """What tells questions apart."""
    return question.offset, question.place


def test_a_watched_trainer_learns_the_same() -> None:
    """To the bit, both heads and the choice; and it was something."""
    watched_one, alone = watched()[0], trained(None)
    for head in ("now", "soon"):
        mine, other = getattr(watched_one, head).touched, getattr(alone, head).touched
        assert all(getattr(mine, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)
        assert mine.positives == other.positives > 0
    assert watched_one.choice.weights.tobytes() == alone.choice.weights.tobytes()
    assert watched_one.choice.lists == sum(len(pick.score) > 1 for pick in watched()[1].picks) > 100


def test_what_is_learned_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a head is a lesson: its pairs, labels and weights, and what the head had said of them."""
    learned: list[tuple[bytes, ...]] = []

    def learn(head: Head, columns: F32, ranks: I64, labels: Bool, weights: F64) -> F64:
        said = original(head, columns, ranks, labels, weights)
        learned.append(tuple(each.tobytes() for each in (columns, ranks, labels, weights, said)))
        return said

    original = Head.learn
    monkeypatch.setattr(Head, "learn", learn)
    written = Written()
    trained(written)
    lessons = [step for _, step in written.steps if isinstance(step, Lesson)]
    told = [
        tuple(
            each.tobytes()
            for each in (step.pairs.columns, step.pairs.ranks, step.labels, step.weights, step.pairs.said)
        )
        for step in lessons
    ]
    assert told == learned and len(told) > 100


def test_every_question_is_asked_before_its_answer_is_learned() -> None:
    """Each once, of both heads; and the horizons of what was learned before it were over: nothing is known early."""
    heads: tuple[tuple[HeadName, int], ...] = (("now", HORIZON_MS), ("soon", SOON_MS))
    for head, horizon_ms in heads:
        asked: set[tuple[int, int]] = set()
        learned: set[tuple[int, int]] = set()
        over = 0
        for step in watched()[1].of(head):
            if isinstance(step, Pairs):
                keys = {key(question) for question in step.questions}
                assert len(keys) == len(step.questions) and not keys & (asked | learned)
                assert min(question.time for question in step.questions) > over
                asked |= keys
            else:
                keys = {key(question) for question in step.pairs.questions}
                assert keys <= asked and not keys & learned
                over = max(over, *(question.time + horizon_ms for question in step.pairs.questions))
                learned |= keys
        assert len(asked) > 2_000 and len(learned) > 1_000


def test_pairs_are_their_questions() -> None:
    """Columns, ranks, customers and subjects stand in the order of the questions; weights are 1 without a sample."""
    for step in watched()[1].of("now")[:40]:
        pairs = step.pairs if isinstance(step, Lesson) else step
        rows = [(question, n) for question in pairs.questions for n in range(len(question.subjects))]
        assert pairs.customers.tolist() == [question.customer for question, _ in rows]
        assert pairs.subjects.tolist() == [question.subjects[n] for question, n in rows]
        assert pairs.ranks.tolist() == [question.ranks[n] for question, n in rows]
        assert (pairs.columns == np.stack([question.columns[:, n] for question, n in rows], axis=1)).all()
        if isinstance(step, Lesson):
            assert step.labels.tolist() == [question.now[n] for question, n in rows]
            assert (step.weights == 1).all()
