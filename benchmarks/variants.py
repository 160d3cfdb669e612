"""Learners that were tried instead of the model's own, side by side on one replay of a recording.

`python -m benchmarks.variants RECORDING [--limit N] [--bootstrap N] [--json]` replays the recording in process, cold,
and lets each variant be asked and learn what the trainer's own heads are asked and learn, in the same steps and order.
The first row is those heads: natural gradient, calibrated for `now`, a regression of its own for what is foreseen.
Differences to it have 95 % intervals by customer, for all customers and for each half of them (the folds 1/2 and 2/2
of `micro-intents evaluate --customers-fold`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import numpy as np
from river import compose, linear_model, optim, preprocessing

from features.core_bundle import CORE
from features.log import I64, U64
from features.pairs import NEVER_RANK
from intents.bootstrap import Compared, compare
from intents.comparison import ColumnSubset, Learner, LearnerComparison
from intents.counts import F64
from intents.evaluation import without_nan
from intents.evidence import Fold
from intents.head import CALIBRATION_PRIOR, PRIOR, UNMOVED, Head, Regression
from intents.lessons import Lesson, Pairs
from intents.model import NOW_INTERCEPT, SOON_INTERCEPT, SOON_PRIOR, regressed_names
from streams.commands.console import progress, results
from streams.commands.options import RECORDING, with_settings
from streams.comparison import replay_comparison
from streams.comparison_tables import WIDTH, comparison
from streams.recordings import open_recording
from streams.settings import Settings

NAMES: Final = regressed_names(CORE)
WIDE: Final = len(NAMES)
FOLDS: Final[dict[str, Fold | None]] = {"all": None, "1/2": Fold(1, 2), "2/2": Fold(2, 2)}
BIAS_PRIOR: Final = 10.0
BIASES: Final = 4096
"""Places of a table of biases, into which keys are hashed."""
_MIX: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


class River:
    """River's StandardScaler and LogisticRegression with AdaGrad, for what was touched; nothing else is judged."""

    def __init__(self, step: float, intercept: float) -> None:
        self.scaler = preprocessing.StandardScaler()
        self.regression = linear_model.LogisticRegression(optim.AdaGrad(step), intercept_init=intercept)
        self.pipeline = compose.Pipeline(self.scaler, self.regression)

    def say(self, pairs: Pairs) -> F64:
        """As Learner.say."""
        touched, rows = _touched(pairs)
        said = np.full(len(pairs.ranks), np.nan)
        said[touched] = [self.pipeline.predict_proba_one(row)[True] for row in rows]
        return said

    def learn(self, lesson: Lesson) -> None:
        """As Learner.learn, pair by pair."""
        touched, rows = _touched(lesson.pairs)
        weights, labels = lesson.weights[touched].tolist(), lesson.labels[touched].tolist()
        for row, label, weight in zip(rows, labels, weights, strict=True):
            self.scaler.learn_one(row)
            self.regression.learn_one(self.scaler.transform_one(row), label, weight)


def _touched(pairs: Pairs) -> tuple[I64, list[dict[str, float]]]:
    """Numbers of the pairs whose subject was touched, and their columns by name."""
    touched = np.flatnonzero(pairs.ranks < NEVER_RANK)
    rows = pairs.columns[:, touched].T.astype(float).tolist()
    return touched, [dict(zip(NAMES, row, strict=True)) for row in rows]


class Together:
    """One regression for what was touched and what is foreseen."""

    def __init__(self, regression: Regression) -> None:
        self.regression = regression

    def say(self, pairs: Pairs) -> F64:
        """As Regression.probability."""
        return self.regression.probability(pairs.columns)

    def learn(self, lesson: Lesson) -> None:
        """As Regression.learn."""
        self.regression.learn(lesson.pairs.columns, lesson.labels, lesson.weights)


class Biased:
    """What the trainer's head said, and a bias by key on top, learned by natural gradient of its own."""

    def __init__(self, keys: Callable[[Pairs], U64]) -> None:
        """`keys` are those of each pair (n,)."""
        self.keys = keys
        self.biases, self.precision = np.zeros(BIASES), np.full(BIASES, BIAS_PRIOR)

    def say(self, pairs: Pairs) -> F64:
        """As Learner.say."""
        logit = np.log(pairs.said) - np.log1p(-pairs.said) + self.biases[self._places(pairs)]
        said: F64 = 1.0 / (1.0 + np.exp(-logit))
        return said

    def learn(self, lesson: Lesson) -> None:
        """A Newton step for each place."""
        said, place = self.say(lesson.pairs), self._places(lesson.pairs)
        self.precision += np.bincount(place, lesson.weights * said * (1.0 - said), BIASES)
        self.biases -= np.bincount(place, lesson.weights * (said - lesson.labels), BIASES) / self.precision

    def _places(self, pairs: Pairs) -> I64:
        places: I64 = ((self.keys(pairs) * _MIX) >> np.uint64(52)).astype(np.int64)
        return places


class LatestTouched:
    """The rule: the later touched, the likelier; no probability."""

    def say(self, pairs: Pairs) -> F64:
        """Minus the logarithm of the age."""
        age: F64 = pairs.columns[NAMES.index("age")].astype(np.float64)
        return -1.0 - age

    def learn(self, lesson: Lesson) -> None:
        """Nothing."""


def _by_customer(pairs: Pairs) -> U64:
    return pairs.customers


def _by_subject(pairs: Pairs) -> U64:
    keys: U64 = pairs.subjects
    return keys


def _by_customer_and_latest(pairs: Pairs) -> U64:
    keys: U64 = pairs.customers ^ (pairs.ranks == 0).astype(np.uint64)
    return keys


def _by_cell(pairs: Pairs) -> U64:
    """Rank, views in a day, and age in doublings."""
    views, age = (pairs.columns[NAMES.index(name)].astype(np.float64) for name in ("views_1d", "age"))
    cell = pairs.ranks * 1024 + np.rint(np.expm1(views)).clip(0, 15) * 64 + np.floor(age / np.log(2.0)).clip(0, 63)
    keys: U64 = cell.astype(np.uint64)
    return keys


def variants() -> LearnerComparison:
    """A watcher with every variant."""

    def head(intercept: float, prior: float, calibration_prior: float) -> Learner:
        return ColumnSubset(Head.empty(WIDE, intercept, prior, calibration_prior), np.arange(WIDE))

    now: dict[str, Learner] = {
        "River's scaler and AdaGrad(0.01)": River(0.01, NOW_INTERCEPT),
        "without calibration": head(NOW_INTERCEPT, PRIOR, UNMOVED),
        "one regression for touched and foreseen": Together(Regression.empty(WIDE, NOW_INTERCEPT)),
        "prior of 2,000 instead of 200": head(NOW_INTERCEPT, 2_000.0, CALIBRATION_PRIOR),
        "biases by customer": Biased(_by_customer),
        "biases by subject": Biased(_by_subject),
        "biases by customer × latest": Biased(_by_customer_and_latest),
        "biases by cell of rank, views, age": Biased(_by_cell),
        "rule: latest touched": LatestTouched(),
    }
    soon: dict[str, Learner] = {
        "prior of 200 instead of 2,000": head(SOON_INTERCEPT, PRIOR, CALIBRATION_PRIOR),
        "without calibration": head(SOON_INTERCEPT, SOON_PRIOR, UNMOVED),
        "rule: latest touched": LatestTouched(),
    }
    return LearnerComparison(now, soon)


def _compared(
    path: Path, settings: Settings, limit: int | None, resamples: int
) -> dict[str, dict[str, list[Compared]]]:
    """By head and fold; nothing for a head without an answer."""
    beside = variants()
    with progress(f"replaying {path.name}", "events") as update:
        replayed = replay_comparison(open_recording(path), settings, beside, limit, update)
    found: dict[str, dict[str, list[Compared]]] = {}
    for head, pupils in beside.heads.items():
        for fold, which in FOLDS.items():
            judged = pupils.judged(replayed.fold(which))
            if judged.customers.any():
                with progress(f"resampling customers ({head}, {fold})", "resamples") as update:
                    compared = compare(judged.measured, judged.customers, resamples, told=update)
                found.setdefault(head, {})[fold] = compared
    return found


@click.command(help=__doc__)
@click.argument("recording", type=RECORDING)
@click.option("--limit", type=click.IntRange(min=1), help="The first N events only.")
@click.option("--bootstrap", type=click.IntRange(min=2), default=200, help="Resamples of customers; 200 by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@with_settings("catalogue")
def main(recording: Path, limit: int | None, bootstrap: int, as_json: bool, settings: Settings) -> None:
    """Compare all variants once and print what came of it."""
    found = _compared(recording, settings, limit, bootstrap)
    if as_json:
        told = {
            head: {fold: [each.to_dict() for each in those] for fold, those in folds.items()}
            for head, folds in found.items()
        }
        click.echo(json.dumps(without_nan({"resamples": bootstrap, **told}), indent=2))
        return
    console = results()
    for head, folds in found.items():
        for fold, (whole, *others) in folds.items():
            who = "all customers" if fold == "all" else f"half {fold} of the customers"
            console.print(f"{head}, {who}; Δ: less the whole's, 95 % by customer", style="bold")
            console.print(comparison("", whole, {each.measured.name: each for each in others}), width=WIDTH)


if __name__ == "__main__":
    main()
