"""What was said is compared with the answers and with the fallback, fading, and who loses is told when it lasts."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.progress import LOSING_MS, NEEDED, Progress
from tests.intents.naive_progress import DAY, NaiveProgress, Pair

T: Final = 1_700_000_000_000
HOUR: Final = 3_600_000


def note(progress: Progress, pairs: Sequence[Pair]) -> bool:
    """Note these pairs together."""
    times, said, fallback, labels, weights = zip(*pairs, strict=True)
    columns = np.array(fallback), np.array(labels, dtype=bool), np.array(weights)
    return progress.note(np.array(times), np.array(said, dtype=np.float32), *columns)


def pairs(hour: float, count: int, said: float, fallback: float = 0.2, label: bool = False) -> list[Pair]:
    """Pairs that are all alike, asked so many hours after T."""
    return [Pair(T + round(hour * HOUR), said, fallback, label, 1.0)] * count


def told(batches: Iterable[Sequence[Pair]], progress: Progress | None = None) -> tuple[Progress, list[float]]:
    """After these, and the hours at which it changed who loses."""
    progress = progress or Progress()
    return progress, [(progress.clock - T) / HOUR for batch in batches if note(progress, batch)]


# Fading numbers


def test_a_mean_at_first() -> None:
    """Rate, mean probability and log losses are those of what was said so far."""
    progress, _ = told([[*pairs(0, 1, 0.2, 0.1), *pairs(0, 1, 0.6, 0.3, label=True)], pairs(0, 1, 0.1, 0.4)])
    assert progress.pairs == 3
    assert (progress.rate, progress.mean) == pytest.approx((1 / 3, 0.3))
    assert progress.loss == pytest.approx(-(math.log(0.8) + math.log(0.6) + math.log(0.9)) / 3)
    assert progress.fallback_loss == pytest.approx(-(math.log(0.9) + math.log(0.3) + math.log(0.6)) / 3)
    assert str(progress).startswith(
        "log loss 0.2798, its fallback's 0.6067, AUC 1.000, average precision 1.000, mean p"
    )


def test_half_a_day_later() -> None:
    """A pair counts half a day of event time later, whichever was read first."""
    for order in (1, -1):
        progress, _ = told([pairs(0, 3, 0.5, label=True), pairs(24, 1, 0.5)][::order])
        assert (progress.pairs, progress.rate) == (2.5, 0.6)


def test_nothing_was_said() -> None:
    """Pairs of which the model said nothing count for nothing, alone or among others."""
    progress, _ = told([pairs(0, 5, math.nan, label=True)])
    assert (progress.clock, progress.pairs) == (-1, 0)
    assert math.isnan(progress.loss) and all(map(math.isnan, progress.discrimination()))
    note(progress, [*pairs(9, 2, math.nan, label=True), *pairs(1, 2, 0.5)])
    assert (progress.clock - T, progress.pairs, progress.rate) == (HOUR, 2, 0)
    area, precision = progress.discrimination()
    assert math.isnan(area) and math.isnan(precision)


def test_a_certain_mistake_is_finite() -> None:
    """Being sure and wrong costs much, not everything."""
    for said, label in ((1.0, False), (0.0, True)):
        progress, _ = told([pairs(0, 1, said, label=label)])
        assert 15 < progress.loss < 17


@settings(max_examples=60, derandomize=True, database=None)
@given(st.data())
def test_as_by_hand(data: st.DataObject) -> None:
    """However pairs come, fade, and are noted together: means, discrimination and who loses are as counted by hand."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    progress, naive, clock = Progress(), NaiveProgress(), 0
    gap = data.draw(st.sampled_from([0, HOUR // 7, 5 * HOUR]))
    for _ in range(data.draw(st.integers(1, 12))):
        clock += int(random.integers(0, gap + 1))
        good = random.random() < 0.5
        batch = []
        for _ in range(int(random.integers(1, 40))):
            label = bool(random.random() < 0.3)
            p = 1 / (1 + math.exp(-(int(random.normal(20 if label is good else -40, 30)) + 0.5) / 20))  # amid a bin
            said = float(np.float32(math.nan if random.random() < 0.1 else p))
            late = int(random.integers(0, HOUR)) * int(random.random() < 0.2)
            batch.append(
                Pair(T + clock - late, said, float(random.choice([0.1, 0.3])), label, float(random.choice([1, 4])))
            )
        assert note(progress, batch) == naive.note(batch)
        assert (progress.clock, progress.losing) == (naive.clock, naive.losing)
    if not naive.pairs:
        return
    got = [progress.pairs, progress.rate, progress.mean, progress.loss, progress.fallback_loss]
    assert got == pytest.approx(naive.means(), rel=1e-6)
    if len({pair.label for pair in naive.pairs}) == 2:
        assert progress.discrimination() == pytest.approx(naive.discrimination(), rel=1e-6)


def test_bins_are_narrow() -> None:
    """Of some thousands of pairs, AUC and average precision are nearly those of exact probabilities."""
    random, naive, progress = np.random.default_rng(1), NaiveProgress(), Progress()
    logits = random.normal(-3, 1.5, 4_000)
    labels = random.random(4_000) < 1 / (1 + np.exp(-logits))
    said = (1 / (1 + np.exp(-logits))).astype(np.float32).tolist()
    batch = [Pair(T, p, 0.1, label, 1.0) for p, label in zip(said, labels.tolist(), strict=True)]
    note(progress, batch)
    naive.note(batch)
    area, precision = naive.discrimination()
    found, reached = progress.discrimination()
    assert found == pytest.approx(area, abs=2e-4) and reached == pytest.approx(precision, abs=4e-3)


# Who loses

GOOD: Final = 0.1
BAD: Final = 0.4
"""What the model says of pairs without an outcome, of which the fallback says 0.2."""


def steadily(hours: Iterable[float], said: float, count: int = 200) -> list[list[Pair]]:
    """Pairs without an outcome at each of these hours."""
    return [pairs(hour, count, said) for hour in hours]


def test_six_hours_behind() -> None:
    """A model that is behind its fallback for six hours without a break loses; it wins after as long ahead."""
    assert (LOSING_MS, NEEDED) == (6 * HOUR, 1_000)
    progress, changes = told(steadily(range(13), BAD))
    assert changes == [6.0] and progress.losing
    _, changes = told(steadily(range(13, 30), GOOD), progress)
    assert len(changes) == 1 and 19 <= changes[0] <= 26 and not progress.losing


def test_a_break_begins_anew() -> None:
    """One moment ahead in between, and the six hours begin again."""
    progress, _ = told([*steadily(range(6), BAD), pairs(5.5, 1_500, 1e-6)])
    assert progress.behind < 0 and progress.streak == 0
    behind = [told(steadily([hour], BAD), progress)[0].behind > 0 for hour in (6, 7)]
    assert behind == [False, True]
    assert told(steadily(range(8, 20), BAD), progress)[1] == [13.0]


def test_the_past_does_not_decide() -> None:
    """At a change the sum begins anew: how badly a model lost until then does not keep it back from winning."""
    progress, changes = told(steadily(range(7), 0.999999))
    assert changes == [6.0] and progress.behind == 0
    assert told(steadily(range(7, 14), GOOD), progress)[1] == [13.0]
    assert progress.behind == 0 and not progress.losing


def test_a_quiet_night_decides_nothing() -> None:
    """Time alone is not enough: a thousand pairs must say the same."""
    _, changes = told(steadily([0, 7, 14, 21], BAD, 249))
    assert changes == []
    _, changes = told(steadily([0, 7, 14, 21], BAD, 250))
    assert changes == [21.0]


def test_as_good_as_its_fallback() -> None:
    """One that says the same as its fallback neither loses nor wins."""
    same = [Pair(T + hour * HOUR, 0.25, 0.25, False, 1.0) for hour in range(9) for _ in range(300)]
    assert told([same[n : n + 300] for n in range(0, len(same), 300)])[1] == []
    assert told([same[n : n + 300] for n in range(0, len(same), 300)], Progress(losing=True))[1] == []


def test_a_copy_is_its_own() -> None:
    """What is noted later leaves a copy as it was."""
    progress, _ = told(steadily(range(4), BAD))
    kept = progress.copy()
    told(steadily(range(4, 9), BAD), progress)
    assert (kept.clock, kept.pairs > 0, kept.losing, progress.losing) == (T + 3 * HOUR, True, False, True)
    again, changes = told(steadily(range(4, 9), BAD), kept)
    assert changes == [6.0] and again.totals.tobytes() == progress.totals.tobytes()
    assert again.bins.tobytes() == progress.bins.tobytes() and again.behind == progress.behind
    assert DAY == 24 * HOUR
