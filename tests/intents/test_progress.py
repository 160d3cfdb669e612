"""The trainer's progress is a mean at first and fades later."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.progress import Progress


def test_a_mean_at_first() -> None:
    """Rate, mean probability and log loss are those of what was said so far."""
    progress = Progress()
    progress.note(np.array([0.2, 0.6]), np.array([False, True]))
    progress.note(np.array([0.1]), np.array([False]))
    assert progress.pairs == 3
    assert (progress.rate, progress.mean) == pytest.approx((1 / 3, 0.3))
    assert progress.loss == pytest.approx(-(log(0.8) + log(0.6) + log(0.9)) / 3)


def test_fades() -> None:
    """After some ten thousand pairs the older ones count less."""
    progress = Progress()
    for label in (True, False):
        progress.note(np.full(20_000, 0.5), np.full(20_000, label))
    assert progress.rate == pytest.approx(0.135, abs=0.01)


def test_a_certain_mistake_is_finite() -> None:
    """Being sure and wrong costs much, not everything."""
    progress = Progress()
    progress.note(np.ones(1), np.zeros(1, dtype=bool))
    assert 20 < progress.loss < 30


@settings(max_examples=60, derandomize=True, database=None)
@given(st.lists(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), max_size=6), max_size=8), st.booleans())
def test_one_at_a_time_or_together(batches: list[list[tuple[float, bool]]], long: bool) -> None:
    """However many are noted at once, none included, they are what they are one at a time."""
    progress = Progress(pairs=20_000 * long, rate=0.1 * long)
    pairs, rate, mean, loss = progress.pairs, progress.rate, 0.0, 0.0
    for batch in batches:
        progress.note(np.array([p for p, _ in batch]), np.array([label for _, label in batch], dtype=bool))
        for p, label in batch:
            pairs += 1
            step = max(1 / pairs, 0.0001)
            rate += step * (label - rate)
            mean += step * (p - mean)
            loss += step * (-log(p if label else 1 - p) - loss)
    assert progress.pairs == pairs
    assert (progress.rate, progress.mean, progress.loss) == pytest.approx((rate, mean, loss))
