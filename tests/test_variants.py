"""The variants that were tried can be tried again: `python -m benchmarks.variants` on a small made-up recording."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from river import linear_model, optim, preprocessing

from benchmarks.variants import (
    BIAS_PRIOR,
    FOLDS,
    NAMES,
    Biased,
    LatestTouched,
    River,
    Together,
    main,
    variants,
)
from features.pairs import NEVER_RANK
from intents.comparison import WHOLE, ColumnSubset
from intents.head import Regression
from intents.lessons import Lesson, Pairs
from intents.model import NOW_INTERCEPT
from streams.simulate import simulate
from tests.intents.watching import Written, watched

STEPS = 60
"""Steps of the recording that slow versions go through."""


def first_steps() -> list[Pairs | Lesson]:
    """The first ones of `now`."""
    return Written(watched()[1].steps).of("now")[:STEPS]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up recording of two days."""
    path = tmp_path_factory.mktemp("variants") / "shop.jsonl"
    simulate(path, customers=60, events=3_000, days=2.0, seed=3)
    return path


def test_the_command_compares_all_of_them(shop: Path) -> None:
    """For both heads, all customers and each half of them, with intervals; a probability has a calibration error."""
    done = CliRunner().invoke(main, [str(shop), "--bootstrap", "5", "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    for head, pupils in variants().heads.items():
        assert set(found[head]) == set(FOLDS)
        for those in found[head].values():
            assert [each["name"] for each in those] == [WHOLE, *pupils.learners]
            for each in those:
                assert (each["detect"]["calibration_error"] is None) == each["name"].startswith("rule")
                assert {"auc", "average_precision"} <= each["less_the_first"]["detect"].keys()
        rates = [found[head][fold][0]["detect"]["base_rate"] for fold in FOLDS]
        assert min(rates[1:]) < rates[0] < max(rates[1:])
    assert len({each["detect"]["auc"] for each in found["now"]["all"]}) == len(found["now"]["all"])


def test_tables_for_people(shop: Path) -> None:
    """Six tables of at most 100 columns, nothing cut."""
    done = CliRunner().invoke(main, [str(shop), "--bootstrap", "3"])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 100 and "…" not in done.stdout.replace(" … ", "")
    for title in ("now, all", "now, half 1/2 of the", "now, half 2/2 of the", "soon, all", "soon, half 2/2 of the"):
        assert f"{title} customers;" in done.stdout


def test_river_is_rivers_pipeline() -> None:
    """What River's own pipeline says and learns, pair by pair, of what was touched."""
    theirs = preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optim.AdaGrad(0.01), intercept_init=NOW_INTERCEPT
    )
    ours = River(0.01, NOW_INTERCEPT)
    for step in first_steps():
        pairs = step.pairs if isinstance(step, Lesson) else step
        touched = [n for n, rank in enumerate(pairs.ranks.tolist()) if rank < NEVER_RANK]
        rows = [{name: float(pairs.columns[c, n]) for c, name in enumerate(NAMES)} for n in touched]
        if isinstance(step, Lesson):
            ours.learn(step)
            for n, row in zip(touched, rows, strict=True):
                theirs.learn_one(row, bool(step.labels[n]))
        else:
            said = ours.say(step)
            assert said[touched].tolist() == [theirs.predict_proba_one(row)[True] for row in rows]
            assert np.isnan(np.delete(said, touched)).all()


def test_a_bias_is_learned_on_top() -> None:
    """By a dictionary: b -= Σ(p - y) / (prior + Σp(1 - p)), of p = σ(the head's logit + b)."""
    ours = Biased(lambda pairs: pairs.customers)
    biases: dict[int, float] = {}
    precision: dict[int, float] = {}

    def said_by(pairs: Pairs) -> list[float]:
        keys = pairs.customers.tolist()
        logits = [math.log(p / (1 - p)) for p in pairs.said.tolist()]
        return [1 / (1 + math.exp(-z - biases.get(key, 0.0))) for z, key in zip(logits, keys, strict=True)]

    for step in first_steps():
        if isinstance(step, Pairs):
            np.testing.assert_allclose(ours.say(step), said_by(step), rtol=1e-9)
            continue
        ours.learn(step)
        slopes: dict[int, float] = {}
        for key, p, label in zip(step.pairs.customers.tolist(), said_by(step.pairs), step.labels, strict=True):
            precision[key] = precision.get(key, BIAS_PRIOR) + p * (1 - p)
            slopes[key] = slopes.get(key, 0.0) + p - label
        for key, slope in slopes.items():
            biases[key] = biases.get(key, 0.0) - slope / precision[key]
    assert max(map(abs, biases.values())) > 0.05


def test_the_others_are_what_they_are_called() -> None:
    """Without calibration it stays what it was; together learns the touched and the foreseen; the rule is by age."""
    now = variants().heads["now"]
    for step in first_steps():
        now.learned(step) if isinstance(step, Lesson) else now.asked(step)
    plain, together = now.learners["without calibration"], now.learners["one regression for touched and foreseen"]
    assert isinstance(plain, ColumnSubset) and isinstance(together, Together)
    assert plain.head.touched.calibration == pytest.approx([1.0, 0.0], abs=1e-6)
    assert plain.head.touched.weights.any() and plain.head.touched.positives > 0
    by_hand = Regression.empty(len(NAMES), NOW_INTERCEPT)
    for step in first_steps():
        if isinstance(step, Lesson):
            by_hand.learn(step.pairs.columns, step.labels, step.weights)
    assert together.regression.weights.tobytes() == by_hand.weights.tobytes()
    pairs = next(step for step in first_steps() if isinstance(step, Pairs))
    order = np.argsort(-LatestTouched().say(pairs), kind="stable")
    assert (np.diff(pairs.columns[NAMES.index("age")][order]) >= 0).all()
