"""A head learns as the slow regression does, says the same bytes in every batch, and never learns what would poison."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.bundle import F32
from features.log import I64, Bool
from intents.counts import F64
from intents.head import (
    ARRAYS,
    CALIBRATION_PRIOR,
    NEEDED_NEGATIVE,
    NEEDED_POSITIVE,
    PRIOR,
    UNMOVED,
    Head,
    Regression,
)
from tests.intents.naive_head import NaiveRegression

FEATURES = 6
Learned = tuple[F32, Bool, F64]
"""Vectors (f, n), labels and weights (n,)."""


def labelled(seed: int, count: int, features: int = FEATURES) -> Learned:
    """Vectors like ours, one column constant, one tiny, one large; the first says most about the label."""
    random = np.random.default_rng(seed)
    spread = np.array([1.0, 2.0, 0.0, 1e-3, 300.0, 1.0] * features)[:features]
    vectors = random.normal(size=(features, count)) * spread[:, None] + np.arange(features)[:, None]
    labels = random.random(count) < 0.05 + 0.6 * (vectors[0] > 0.5)
    return vectors.astype(np.float32), labels, random.choice([1.0, 2.0, 4.0], count)


def batches(learned: Learned, *sizes: int) -> list[Learned]:
    """The same pairs in parts of these sizes, the last one of the rest."""
    ends = np.cumsum(sizes).tolist()
    vectors, labels, weights = learned
    parts = zip([0, *ends], [*ends, len(labels)], strict=True)
    return [(vectors[:, a:b], labels[a:b], weights[a:b]) for a, b in parts if b > a]


def trained(seed: int, count: int = 300, size: int = 64) -> Regression:
    """A regression that has learned some pairs."""
    regression = Regression.empty(FEATURES, -2.0, 20.0)
    for part in batches(labelled(seed, count), *[size] * (count // size)):
        regression.learn(*part)
    return regression


def the_bytes(regression: Regression) -> tuple[object, ...]:
    """All of its numbers."""
    arrays = [getattr(regression, name).tobytes() for name in ARRAYS]
    return (*arrays, regression.positives, regression.negatives)


def close(regression: Regression, slow: NaiveRegression, rtol: float = 1e-9) -> None:
    """Assert that every number is the slow regression's."""
    spreads = [slow.spread(column) for column in range(slow.features)]
    pairs: list[tuple[npt.NDArray[Any], Any]] = [
        (regression.weights, slow.weights),
        (regression.precision, slow.precision),
        (regression.calibration, [slow.slope, slow.offset]),
        (regression.calibration_precision, slow.calibration),
        (regression.means, [mean for mean, _ in spreads]),
        (np.sqrt(regression.variances), [deviation for _, deviation in spreads]),
    ]
    for fast, by_hand in pairs:
        np.testing.assert_allclose(fast, np.array(by_hand), rtol=rtol, atol=1e-9)
    assert (regression.positives, regression.positives + regression.negatives) == (slow.positives, len(slow.seen))


# As the slow one


@pytest.mark.parametrize("sizes", [(), (1,), (1, 1, 1), (64,), (7, 1, 30), (5,) * 20])
def test_learns_as_the_slow_regression(sizes: tuple[int, ...]) -> None:
    """Whatever is learned at once, the numbers, and what was said before, are those of loops and explicit matrices."""
    fast, slow = Regression.empty(FEATURES, -2.0, 5.0), NaiveRegression(FEATURES, -2.0, 5.0)
    for vectors, labels, weights in batches(labelled(1, 120), *sizes):
        said = fast.learn(vectors, labels, weights)
        by_hand = slow.learn(vectors.T.astype(float).tolist(), labels.tolist(), weights.tolist())
        np.testing.assert_allclose(said, by_hand, rtol=0, atol=1e-9)
        close(fast, slow)
    asked = labelled(2, 40)[0]
    by_hand = [slow.probability(vector) for vector in asked.T.astype(float).tolist()]
    p = fast.probability(asked)
    assert np.ptp(p) > 0.2
    np.testing.assert_allclose(p, by_hand, rtol=0, atol=1e-9)


NUMBERS = st.one_of(st.sampled_from([0.0, 1.0, -3.0, 1e4]), st.floats(-50, 50, width=32))
PAIRS = st.tuples(st.lists(NUMBERS, min_size=2, max_size=2), st.booleans(), st.sampled_from([0.5, 1.0, 8.0]))


@settings(max_examples=60, derandomize=True, database=None)
@given(st.lists(st.lists(PAIRS, min_size=1, max_size=5), max_size=6), st.sampled_from([1.0, 200.0]))
def test_anything_learned(parts: list[list[tuple[list[float], bool, float]]], prior: float) -> None:
    """The same for any vectors, labels and weights, and any beginning."""
    fast, slow = Regression.empty(2, -1.0, prior, 5.0), NaiveRegression(2, -1.0, prior, 5.0)
    for part in parts:
        vectors, labels, weights = [list(column) for column in zip(*part, strict=True)]
        columns = np.array(vectors, dtype=np.float32).T
        said = fast.learn(columns, np.array(labels), np.array(weights))
        np.testing.assert_allclose(said, slow.learn(vectors, labels, weights), rtol=1e-6, atol=1e-9)
        close(fast, slow, rtol=1e-6)


def test_before_learning_it_is_the_intercept() -> None:
    """A regression that nobody taught gives the intercept's probability, whatever it is asked."""
    p = Regression.empty(FEATURES, -3.3).probability(labelled(3, 9)[0])
    assert p.tolist() == pytest.approx([1 / (1 + np.exp(3.3))] * 9)


# What columns add


def test_contributions_add_up() -> None:
    """What each column adds, calibrated, and the base are the logit; a column without variance adds nothing."""
    regression, vectors = trained(4), labelled(5, 50)[0]
    assert regression.calibration[0] != 1.0
    parts = regression.contributions(vectors)
    assert parts.shape == vectors.shape and not parts[2].any()
    logit = -np.log(1 / regression.probability(vectors) - 1)
    np.testing.assert_allclose(parts.sum(axis=0) + regression.base, logit, rtol=0, atol=1e-9)


def test_a_column_that_never_varied_adds_nothing() -> None:
    """Whatever its weight, and however far from its only value it is when it is asked about."""
    regression, vectors = trained(4), labelled(5, 9)[0]
    regression.weights[2] = 5.0
    before = regression.probability(vectors)
    vectors[2] += 7.0
    assert regression.probability(vectors).tobytes() == before.tobytes()


@pytest.mark.parametrize("of", [Regression.probability, Regression.contributions])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_bytes_do_not_depend_on_the_batch(of: Callable[..., F64], layout: Callable[[F32], F32]) -> None:
    """One pair alone, seven, or all: the same bytes for each, whatever the memory layout."""
    regression = Regression.empty(34, -2.0, 20.0)
    regression.learn(*labelled(6, 300, 34))
    vectors = labelled(7, 600, 34)[0] + np.float32(0.3)
    whole = of(regression, vectors)
    for size in (1, 2, 7, 64, 599):
        parts = [of(regression, layout(vectors[:, i : i + size])) for i in range(0, 600, size)]
        assert np.concatenate(parts, axis=-1).tobytes() == whole.tobytes()


def test_far_off_vectors() -> None:
    """Far-off vectors are as certain as can be; nothing overflows."""
    regression, vectors = trained(8), labelled(9, 50)[0]
    p = regression.probability((vectors - regression.means[:, None].astype(np.float32)) * np.float32(1e30))
    assert np.isfinite(p).all() and p.min() < 1e-12 and p.max() > 1 - 1e-12


# What it learns, and what not


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_refuses_what_would_poison(bad: float) -> None:
    """One number that is not finite would poison the weights for ever: refused, and nothing of its batch is learned."""
    regression = trained(10)
    before = the_bytes(regression)
    vectors, labels, weights = labelled(11, 20)
    vectors[3, 7] = bad
    with pytest.raises(ValueError, match="not finite"):
        regression.learn(vectors, labels, weights)
    assert the_bytes(regression) == before


def test_what_is_far_away_is_clipped_when_learned() -> None:
    """A vector a million deviations away moves the weights no more than one that is a hundred away."""
    moved = []
    for away in (1e2, 1e4, 1e6):
        regression = trained(12, 3_000)
        before = regression.weights.copy()
        regression.means[1], regression.variances[1] = 0.0, 1.0
        vectors = np.zeros((FEATURES, 1), dtype=np.float32)
        vectors[1] = away
        said = regression.learn(vectors, np.array([True]), np.ones(1))
        moved.append(np.abs(regression.weights - before).max())
        assert regression.precision.max() < 1e5 and 0 < said[0] < 1
    assert max(moved) < 1.1 * min(moved)


def test_clipped_at_a_hundred_deviations() -> None:
    """Of what is 1,000 deviations away, 100 count: in what is said before, and in the step."""
    said = []
    for away in (100.0, 1_000.0):
        regression = trained(13)
        regression.weights[:] = [0.01, 0, 0, 0, 0, 0, -2.0]
        deviation = np.sqrt(regression.variances[0])
        vectors = np.repeat(regression.means[:, None], 1, axis=1).astype(np.float32)
        vectors[0] += np.float32(away * deviation)
        said.append(float(regression.learn(vectors, np.array([False]), np.ones(1))[0]))
    assert said[0] == pytest.approx(said[1], abs=1e-6)


def test_a_weight_is_so_many_pairs() -> None:
    """An example of weight 2 is two of weight 1 in both Newton steps, though in means and variances it is one."""
    vectors, labels, _ = labelled(14, 40)
    heavy, double = trained(15), trained(15)
    means, counted = heavy.means.copy(), heavy.positives + heavy.negatives
    heavy.learn(vectors, labels, np.full(40, 2.0))
    double.learn(np.tile(vectors, 2), np.tile(labels, 2), np.ones(80))
    assert heavy.positives + heavy.negatives == counted + 40
    assert double.positives + double.negatives == counted + 80
    np.testing.assert_allclose(heavy.calibration, double.calibration, rtol=1e-9)
    np.testing.assert_allclose(heavy.calibration_precision, double.calibration_precision, rtol=1e-9)
    expected = (means * counted + vectors.astype(float).sum(axis=1)) / (counted + 40)
    np.testing.assert_allclose(heavy.means, expected, rtol=1e-9)
    assert not np.allclose(heavy.means, double.means, rtol=1e-6)


def test_a_weight_is_so_many_pairs_where_they_have_no_spread() -> None:
    """The same to the weights, where means and variances do not move."""
    heavy, double = (Regression.empty(1, -1.0, prior=3.0) for _ in range(2))
    vectors, labels = np.ones((1, 3), dtype=np.float32), np.array([True, False, False])
    heavy.learn(vectors, labels, np.full(3, 2.0))
    double.learn(np.tile(vectors, 2), np.tile(labels, 2), np.ones(6))
    np.testing.assert_allclose(heavy.weights, double.weights, rtol=1e-12)
    np.testing.assert_allclose(heavy.precision, double.precision, rtol=1e-12)
    assert heavy.weights[-1] != -1.0


@pytest.mark.parametrize("rate", [0.02, 0.6])
def test_calibration_moves_towards_the_rate(rate: float) -> None:
    """Where labels are not as likely as is said, the calibration moves what is said towards them, step by step."""
    regression = Regression.empty(1, -2.0, prior=1e12)  # whose weights stay
    labels = np.arange(1_000) < 1_000 * rate
    said = [float(regression.probability(np.zeros((1, 1), dtype=np.float32))[0])]
    for _ in range(8):
        regression.learn(np.zeros((1, 1_000), dtype=np.float32), labels, np.ones(1_000))
        said.append(float(regression.probability(np.zeros((1, 1), dtype=np.float32))[0]))
    away = [abs(p - rate) for p in said]
    assert away[-1] < 0.2 * away[0] and all(
        later <= earlier for later, earlier in zip(away[4:], away[3:], strict=False)
    )
    assert regression.weights[-1] == pytest.approx(-2.0, abs=1e-6)


def test_a_calibration_that_stays() -> None:
    """With UNMOVED it is what it was, to nine digits."""
    regression = Regression.empty(FEATURES, -2.0, calibration_prior=UNMOVED)
    regression.learn(*labelled(16, 2_000))
    np.testing.assert_allclose(regression.calibration, [1.0, 0.0], atol=1e-6)


def test_learning_finds_what_matters() -> None:
    """The column that says most has the largest weight, of the right sign, and the constant one has none."""
    weights = trained(17, 4_000).weights
    assert np.abs(weights[:-1]).argmax() == 0 and weights[0] > 0.5 and weights[2] == 0


# Copies


@pytest.mark.parametrize("stop", [0, 1, 57, 199])
def test_goes_on_as_if_never_stopped(stop: int) -> None:
    """A copy learns on to the same bytes, and leaves what it was copied from alone."""
    through = Regression.empty(FEATURES, -2.0)
    parts = batches(labelled(18, 200), stop)
    for part in parts[:-1]:
        through.learn(*part)
    copied = through.copy()
    before = the_bytes(through)
    copied.learn(*parts[-1])
    assert the_bytes(through) == before
    through.learn(*parts[-1])
    assert the_bytes(copied) == the_bytes(through)


def test_precision_is_symmetric_to_the_bit() -> None:
    """Whatever is learned, the precisions stay symmetric: a snapshot is refused where they are not."""
    regression = trained(19, 900, 7)
    for matrix in (regression.precision, regression.calibration_precision):
        assert matrix.tobytes() == np.ascontiguousarray(matrix.T).tobytes()


# Two regressions in a head


def head(seed: int = 20) -> Head:
    """A head of which both regressions have learned."""
    found = Head.empty(FEATURES, -2.0)
    found.learn(labelled(seed, 200)[0], np.arange(200) % 2 * 64, *labelled(seed, 200)[1:])
    return found


RANKS: I64 = np.array([0, 5, 63, 64, 70, 64, 1])


def test_by_rank() -> None:
    """A subject of a rank below that of what was never touched is the one's, others are the other's."""
    found, (vectors, labels, weights) = head(), labelled(21, 7)
    touched = RANKS < 64
    expected = np.where(touched, found.touched.probability(vectors), found.foreseen.probability(vectors))
    assert found.probability(vectors, RANKS).tobytes() == expected.tobytes()
    assert [found.of(rank) is found.touched for rank in RANKS.tolist()] == touched.tolist()
    alone = found.copy()
    said = found.learn(vectors, RANKS, labels, weights)
    for regression, mine in ((alone.touched, touched), (alone.foreseen, ~touched)):
        assert said[mine].tobytes() == regression.learn(vectors[:, mine], labels[mine], weights[mine]).tobytes()
    assert the_bytes(found.touched) == the_bytes(alone.touched)
    assert the_bytes(found.foreseen) == the_bytes(alone.foreseen)


@pytest.mark.parametrize(("rank", "learns", "stays"), [(0, "touched", "foreseen"), (64, "foreseen", "touched")])
def test_neither_bends_the_other(rank: int, learns: str, stays: str) -> None:
    """What is learned of touched subjects changes nothing of those foreseen, and the other way round."""
    found, (vectors, labels, weights) = head(), labelled(22, 30)
    before = {name: the_bytes(getattr(found, name)) for name in (learns, stays)}
    found.learn(vectors, np.full(30, rank), labels, weights)
    assert the_bytes(getattr(found, stays)) == before[stays]
    assert the_bytes(getattr(found, learns)) != before[learns]


def test_a_heads_copy_is_independent() -> None:
    """A frozen model's head does not learn with the trainer's."""
    found = head()
    frozen = found.copy()
    before = (the_bytes(frozen.touched), the_bytes(frozen.foreseen))
    found.learn(labelled(23, 30)[0], np.arange(30) * 4, *labelled(23, 30)[1:])
    assert (the_bytes(frozen.touched), the_bytes(frozen.foreseen)) == before
    assert (found.positives, found.negatives) != (frozen.positives, frozen.negatives)


@pytest.mark.parametrize(
    ("positives", "negatives", "ready"), [(50, 500, True), (49, 500, False), (50, 499, False), (10_000, 0, False)]
)
def test_ready(positives: int, negatives: int, ready: bool) -> None:
    """A head is believed from 50 positive and 500 negative labels on, those of both regressions together."""
    assert (NEEDED_POSITIVE, NEEDED_NEGATIVE) == (50, 500)
    found = Head.empty(FEATURES, -2.0)
    found.touched.positives, found.foreseen.positives = positives - positives // 3, positives // 3
    found.touched.negatives, found.foreseen.negatives = negatives - negatives // 3, negatives // 3
    assert found.ready is ready and (found.positives, found.negatives) == (positives, negatives)


def test_beginnings() -> None:
    """Unless told otherwise a head begins with the priors that ship; both its regressions alike."""
    for regression in (Head.empty(2, -1.5).touched, Head.empty(2, -1.5).foreseen):
        assert regression.weights.tolist() == [0, 0, -1.5] and regression.calibration.tolist() == [1, 0]
        assert regression.precision.tolist() == (PRIOR * np.eye(3)).tolist()
        assert regression.calibration_precision.tolist() == (CALIBRATION_PRIOR * np.eye(2)).tolist()
    other = Head.empty(2, -1.5, 7.0, UNMOVED).foreseen
    assert other.precision[0, 0] == 7.0 and other.calibration_precision[1, 1] == UNMOVED
