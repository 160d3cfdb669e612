"""What a model knows across customers: counts as by hand, columns by the formulas, the likeliest next in front."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.core_bundle import CORE
from intents.model import Model
from intents.tables import COMPANIONS, MODEL_FEATURES, OUTCOME_WEIGHT, RANKS, SUCCESSORS, Tables, previous_subject
from tests.intents.naive_model import NaiveModel

SUBJECTS = st.integers(1, 12)


def naive(tables: Tables) -> NaiveModel:
    """The slow reader of some tables."""
    return NaiveModel(replace(Model.untrained(CORE), tables=tables))


def busy(seed: int = 5, subjects: int = 40, counted: int = 3_000) -> Tables:
    """Tables in which much was counted."""
    random, tables = Random(seed), Tables()
    for _ in range(counted):
        subject = random.randrange(1, subjects) * 0x9E37_79B9_7F4A_7C15 % 2**64
        other = random.randrange(1, subjects) * 0x9E37_79B9_7F4A_7C15 % 2**64
        if random.random() < 0.8:
            tables.count_view(subject, other if random.random() < 0.7 else 0, random.choice([1.0, 2.5]))
        else:
            tables.count_outcome(subject, [other, subject, 77])
    return tables


@settings(max_examples=100, derandomize=True, database=None)
@given(st.lists(st.tuples(st.booleans(), SUBJECTS, st.lists(st.integers(0, 12), min_size=1, max_size=6)), max_size=120))
def test_counting(acts: list[tuple[bool, int, list[int]]]) -> None:
    """Views, outcomes and transitions are what counting by hand gives; the successors are the most counted ones."""
    tables = Tables()
    views, outcomes = Counter[int](), Counter[int]()
    moves: tuple[Counter[tuple[int, int]], ...] = (Counter(), Counter(), Counter())
    for outcome, subject, others in acts:
        met = [other for other in others[3:] if other and other != subject]
        tables.count_together(subject, met, 2.0)
        for other in met:
            moves[2][subject, other] += 2
            moves[2][other, subject] += 2
        if outcome:
            recent = [other for other in others if other]
            tables.count_outcome(subject, recent)
            outcomes[subject] += 1
            moves[1].update((other, subject) for other in [o for o in recent if o != subject][:3])
        else:
            tables.count_view(subject, others[0], 2.0)
            views[subject] += 2
            if others[0]:
                moves[0][others[0], subject] += 2
    slow = naive(tables)
    assert (tables.views, tables.outcomes) == (views.total(), outcomes.total())
    subjects = list(slow.rows)
    for subject in range(1, 13):
        assert (slow.total(0, subject), slow.total(1, subject)) == (views[subject], outcomes[subject])
        for kind in (0, 1, 2):
            assert slow.total(2 + kind, subject) == sum(n for (a, _), n in moves[kind].items() if a == subject)
        after = Counter({b: moves[0][subject, b] + OUTCOME_WEIGHT * moves[1][subject, b] for b in range(1, 13)})
        best = sorted((n for n in after.values() if n), reverse=True)[:SUCCESSORS]
        total = slow.total(2, subject) + OUTCOME_WEIGHT * slow.total(3, subject) + 8
        found = slow.nexts(subject)
        assert sorted((share * total for _, share in found), reverse=True) == pytest.approx(best)
        assert all(share * total == pytest.approx(after[to]) for to, share in found)
        together = sorted((moves[2][subject, b] for b in range(1, 13) if moves[2][subject, b]), reverse=True)
        total, found = slow.total(4, subject) + 8, slow.met(subject, COMPANIONS)
        assert [share * total for _, share in found] == pytest.approx(together[:COMPANIONS])
        assert all(share * total == pytest.approx(moves[2][subject, to]) for to, share in found)
    assert slow.moves == {
        (subjects.index(a), subjects.index(b)): tuple(kind[a, b] for kind in moves)
        for a, b in {key for kind in moves for key in kind}
    }


def test_likely_next() -> None:
    """Shares are of all transitions and 8 more, those into an outcome weighing more; what leads nowhere has none."""
    tables = Tables()
    for _ in range(6):
        tables.count_view(2, 1, 1.0)
    tables.count_outcome(3, [1])
    targets, shares = tables.likely_next(np.array([1, 2, 99], dtype=np.uint64))
    assert targets.shape == shares.shape == (3, SUCCESSORS)
    assert dict(zip(targets[0].tolist(), shares[0].tolist(), strict=True)) == {
        2: 6 / (14 + OUTCOME_WEIGHT),
        3: OUTCOME_WEIGHT / (14 + OUTCOME_WEIGHT),
        0: 0.0,
    }
    assert OUTCOME_WEIGHT >= 1
    assert not shares[1:].any() and not targets[1:].any()


def test_columns_by_the_formulas() -> None:
    """The model-side columns are those of the slow model, for known and unknown subjects, with and without a before."""
    tables = busy()
    slow = naive(tables)
    random = Random(1)
    subjects = [*list(slow.rows)[:12], 5, 6]
    asked = [(random.choice(subjects), random.choice([*subjects, 0]), random.random() * 3) for _ in range(300)]
    columns = tables.columns(
        np.array([s for s, _, _ in asked], dtype=np.uint64),
        np.array([b for _, b, _ in asked], dtype=np.uint64),
        np.array([x for _, _, x in asked], dtype=np.float32),
        np.array([x / 2 for _, _, x in asked], dtype=np.float32),
    )
    assert columns.shape == (len(MODEL_FEATURES), 300)
    for i, (subject, before, x) in enumerate(asked):
        own = np.expm1([float(np.float32(x)), float(np.float32(x / 2))]).tolist()
        assert columns[:, i].tolist() == pytest.approx(slow.columns(subject, before, *own), abs=1e-12)


def test_tables_that_are_full_to_the_last_place() -> None:
    """What is not known is not looked up in the last row, also when that is taken."""
    tables = Tables()
    for subject in range(1, 65):
        tables.count_view(subject, subject - 1 or 64, 3.0)
        tables.count_outcome(subject, [subject - 1 or 64])
    assert tables.subjects.size == tables.transitions.size == tables.totals.shape[1] == tables.moves.shape[1] == 64
    slow, zero = naive(tables), np.zeros(4, dtype=np.float32)
    subjects, before = np.array([70, 70, 5, 5], dtype=np.uint64), np.array([64, 71, 71, 9], dtype=np.uint64)
    columns = tables.columns(subjects, before, zero, zero)
    for i, (subject, other) in enumerate(zip(subjects.tolist(), before.tolist(), strict=True)):
        assert columns[:, i].tolist() == pytest.approx(slow.columns(subject, other, 0.0, 0.0), abs=1e-12)
    assert not tables.likely_next(np.array([70], dtype=np.uint64))[1].any()
    assert tables.popularity(np.array([70], dtype=np.uint64)) == [0.0]


def test_empty_tables_say_nothing() -> None:
    """Before anything is counted, no subject is told from another, and nothing is infinite."""
    some = np.array([1, 2, 3], dtype=np.uint64)
    zero = np.zeros(3, dtype=np.float32)
    columns = Tables().columns(some, some[::-1].copy(), zero, zero)
    assert not columns.any()
    assert not Tables().likely_next(some)[1].any()
    assert not Tables().popularity(some).any()


def test_columns_do_not_depend_on_the_batch() -> None:
    """A pair's columns are the same bytes whatever else is computed with them."""
    tables = busy()
    random = np.random.default_rng(1)
    keys = tables.subjects.keys[: tables.subjects.size]
    subjects, before = random.choice(keys, 501), random.choice(keys, 501)
    views, outcomes = random.random((2, 501), dtype=np.float32) * 3
    whole = tables.columns(subjects, before, views, outcomes)
    for size in (1, 2, 7, 64, 100):
        parts = [
            tables.columns(subjects[i : i + size], before[i : i + size], views[i : i + size], outcomes[i : i + size])
            for i in range(0, 501, size)
        ]
        assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


def test_a_copy_is_independent() -> None:
    """A snapshot's tables don't change with what is counted later."""
    tables = busy()
    frozen = tables.copy()
    keys = tables.subjects.keys[: tables.subjects.size].copy()
    zero = np.zeros(len(keys), dtype=np.float32)
    before = frozen.columns(keys, keys[::-1].copy(), zero, zero).tobytes()
    nexts = frozen.likely_next(keys)[1].tobytes()
    for other in range(50):
        tables.count_view(int(keys[0]), int(keys[other % len(keys)]), 9.0)
        tables.count_outcome(int(keys[3]), [int(keys[1])])
        tables.count_outcome(other + 1, [int(keys[1])])
        tables.count_ranks(np.array([0]), np.array([True]), np.ones(1))
    assert frozen.columns(keys, keys[::-1].copy(), zero, zero).tobytes() == before
    assert frozen.likely_next(keys)[1].tobytes() == nexts
    assert not frozen.ranks.any()


def test_popularity() -> None:
    """A subject's share of all views and outcomes."""
    tables = Tables()
    tables.count_view(1, 0, 3.0)
    tables.count_outcome(2, [])
    assert tables.popularity(np.array([1, 2, 3], dtype=np.uint64)).tolist() == [0.75, 0.25, 0.0]


# Before the model is ready


def test_rates_by_rank() -> None:
    """(positives + 0.1) / (asked + 10) by recency rank, later ranks together."""
    tables = Tables()
    for rank, asked, positive in ((0, 90, 30), (1, 40, 5), (15, 10, 0), (16, 10, 1), (64, 10, 0)):
        tables.count_ranks(np.full(asked, rank), np.arange(asked) < positive, np.ones(asked))
    rates = tables.rank_rates()
    assert rates[0] == pytest.approx(30.1 / 100)
    assert rates[1] == pytest.approx(5.1 / 50)
    assert rates[2] == pytest.approx(0.1 / 10)
    assert tables.ranks[:, 15].tolist() == [30.0, 1.0]


@settings(max_examples=100, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.booleans(), st.sampled_from([1.0, 4.0])), max_size=200))
def test_rates_never_rise(labels: list[tuple[int, bool, float]]) -> None:
    """Whatever was counted, a later rank has no higher rate, so that the order is that of the last touch."""
    tables = Tables()
    for some in (labels[:3], labels[3:]):
        columns = [[label[n] for label in some] for n in range(3)]
        tables.count_ranks(*(np.array(c, dtype=t) for c, t in zip(columns, (np.int64, bool, np.float64), strict=True)))
    counted = np.zeros((2, RANKS))
    for rank, positive, weight in labels:
        counted[:, min(rank, 15)] += [weight, weight * positive]
    assert tables.ranks.tolist() == counted.tolist()
    rates = tables.rank_rates()
    own = (tables.ranks[1] + 0.1) / (tables.ranks[0] + 10)
    assert rates.shape == (RANKS,)
    assert (np.diff(rates) <= 0).all()
    assert rates.tolist() == [own[: r + 1].min() for r in range(RANKS)]


# The subject before


def test_previous_subject() -> None:
    """A pair's latest other subject is its ask's latest, for that one the second latest, 0 if there is none."""
    subjects = np.array([5, 6, 7, 8, 9], dtype=np.uint64)  # two touched and one foreseen; one touched and one foreseen
    rank = np.array([0, 1, 64, 0, 64])
    before = previous_subject(subjects, rank, np.array([0, 0, 0, 3, 3]), np.array([2, 2, 2, 1, 1]))
    assert before.tolist() == [6, 5, 5, 0, 8]


def test_previous_subject_of_nothing_touched() -> None:
    """Where nothing was touched there is no other subject; of no pairs there are none."""
    subjects = np.array([5, 6], dtype=np.uint64)
    nothing = np.zeros(2, dtype=np.int64)
    assert previous_subject(subjects, np.array([64, 64]), nothing, nothing).tolist() == [0, 0]
    none = np.zeros(0, dtype=np.int64)
    assert len(previous_subject(subjects[:0], none, none, none)) == 0


@pytest.mark.parametrize("own", [-1e15, -5.0, 0.0, 40.0, 800.0, 1e15])
def test_columns_of_counts_that_nobody_has(own: float) -> None:
    """Whatever a damaged record claims that a pair counted, its columns are numbers that can be learned from."""
    tables, some = busy(), np.array([1, 2], dtype=np.uint64)
    for counted in (tables, Tables()):
        log = np.full(2, own, dtype=np.float32)
        assert np.isfinite(counted.columns(some, some[::-1].copy(), log, log)).all()
        assert np.isfinite(counted.columns(some, some[::-1].copy(), log, log * 0)).all()
        assert np.isfinite(counted.columns(some, some[::-1].copy(), log * 0, log)).all()
