"""The trainer's progress is a mean at first and fades later."""

from math import log

import pytest

from intents.progress import Progress


def test_a_mean_at_first() -> None:
    """Rate, mean probability and log loss are those of what was said so far."""
    progress = Progress()
    for p, label in ((0.2, False), (0.6, True), (0.1, False)):
        progress.note(p, label)
    assert progress.pairs == 3
    assert (progress.rate, progress.mean) == pytest.approx((1 / 3, 0.3))
    assert progress.loss == pytest.approx(-(log(0.8) + log(0.6) + log(0.9)) / 3)


def test_fades() -> None:
    """After some ten thousand pairs the older ones count less."""
    progress = Progress()
    for _ in range(20_000):
        progress.note(0.5, True)
    for _ in range(20_000):
        progress.note(0.5, False)
    assert progress.rate == pytest.approx(0.135, abs=0.01)


def test_a_certain_mistake_is_finite() -> None:
    """Being sure and wrong costs much, not everything."""
    progress = Progress()
    progress.note(1.0, False)
    assert 20 < progress.loss < 30
