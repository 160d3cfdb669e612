"""The choice between touched subjects: a conditional logit that learns from each outcome's list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.core_bundle import CORE
from intents.choice import COLUMNS, NEEDED_LISTS, Choice, choice_columns
from intents.counts import F64
from intents.model import Model
from intents.tables import MODEL_FEATURES
from tests.intents.naive_choice import NaiveChoice
from tests.intents.replaying import handmade

LISTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), max_size=25)


def drawn(count: int, seed: int) -> F64:
    """Columns (c, count) of some candidates, each column on a scale of its own."""
    random = np.random.default_rng(seed)
    made: F64 = random.normal(size=(len(COLUMNS), count)) * np.geomspace(0.01, 30.0, len(COLUMNS))[:, None] + 2.0
    return made


@settings(max_examples=60, derandomize=True, database=None)
@given(LISTS)
def test_as_the_slow_choice_learns(lists: list[tuple[int, int]]) -> None:
    """Weights, precision and spread are those of the slow choice after any lists, and so is what it says."""
    fast, slow = Choice.empty(), NaiveChoice(len(COLUMNS))
    for seed, (count, chosen) in enumerate(lists):
        columns = drawn(count, seed)
        fast.learn(columns, chosen % count)
        slow.learn(columns.T.tolist(), chosen % count)
    np.testing.assert_allclose(fast.weights, slow.weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fast.precision, slow.precision, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.squares, slow.squares, rtol=1e-9)
    assert fast.lists == slow.lists == sum(count > 1 for count, _ in lists)
    asked = drawn(5, 99)
    np.testing.assert_allclose(fast.score(asked), [slow.score(one) for one in asked.T.tolist()], rtol=1e-7, atol=1e-9)


def test_untaught_is_by_the_logit() -> None:
    """Before the first outcome the order is that of detection."""
    columns = drawn(6, 1)
    assert Choice.empty().score(columns).argsort().tolist() == columns[0].argsort().tolist()


def test_it_learns_what_decides() -> None:
    """When the third column decides and the logit does not, the third one comes to lead."""
    choice, random, right = Choice.empty(), np.random.default_rng(2), 0
    for n in range(400):
        columns = random.normal(size=(len(COLUMNS), 5))
        chosen = int(columns[2].argmax())
        right += n >= 300 and int(choice.score(columns).argmax()) == chosen
        choice.learn(columns, chosen)
    assert right >= 85


def test_ready() -> None:
    """It is believed after NEEDED_LISTS lists that had something to choose from."""
    choice = Choice.empty()
    for seed in range(NEEDED_LISTS):
        choice.learn(drawn(1, seed), 0)
        assert not choice.ready
        choice.learn(drawn(2, seed), 0)
    assert choice.ready


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_learned(number: float) -> None:
    """It would poison the weights: refused, and nothing has changed."""
    choice, columns = Choice.empty(), drawn(3, 1)
    columns[3, 1] = number
    with pytest.raises(ValueError, match="not finite"):
        choice.learn(columns, 0)
    assert choice.weights.tolist() == [1.0] + [0.0] * 6 and choice.lists == 0


def test_damaged_numbers_do_not_drown_all_else() -> None:
    """Numbers far beyond any that a worker sends count as far away, no more: the choice goes on learning."""
    choice, random = Choice.empty(), np.random.default_rng(3)
    for n in range(300):
        columns = random.normal(size=(len(COLUMNS), 5))
        if n < 3:
            columns[:, 0] = 1e15
        choice.learn(columns, int(columns[2].argmax()))
    assert np.abs(choice.weights).max() < 1e3 and choice.squares.max() <= 3 * 1e6 + 1e4


def test_a_copy_is_its_own() -> None:
    """What is learned later leaves a copy as it is."""
    choice = Choice.empty()
    copy = choice.copy()
    choice.learn(drawn(3, 1), 2)
    assert copy.weights.tolist() == Choice.empty().weights.tolist() and copy.lists == 0
    assert (copy.precision == Choice.empty().precision).all() and (copy.squares == 0).all()


def test_columns() -> None:
    """Detection's logit without its base, three of the bundle's columns, and what holds at rank 0 or 1."""
    model: Model = handmade(["tea", "rum", "cups"])
    random = np.random.default_rng(5)
    whole = random.normal(size=(len(CORE.features) + len(MODEL_FEATURES), 4)).astype(np.float32)
    found = choice_columns(CORE, model.now.touched, whole, np.arange(4))
    touched = model.now.touched
    logit = touched.contributions(whole[CORE.leading :]).sum(axis=0)
    lift = whole[len(CORE.features) + MODEL_FEATURES.index("view_lift")]
    own = [whole[CORE.names.index(name)] for name in ("fresh_1h", "open", "run")]
    np.testing.assert_allclose(found, [logit, *own, [1, 0, 0, 0], [0, 1, 0, 0], [lift[0], 0, 0, 0]])
    for n in range(4):  # the same bytes in any batch
        one = choice_columns(CORE, touched, whole[:, n : n + 1], np.array([n]))
        assert one[:, 0].tobytes() == found[:, n].tobytes()
