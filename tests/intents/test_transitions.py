"""Transitions are what a slow judge counts, and lift is 1 where only popularity is at work."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.stages import DAY_MS, Stages, Touch, stages_of
from intents.transitions import Transitions, next_occasions, outcome_occasions, recent, resampled
from tests.intents.naive_journeys import (
    NaiveOccasion,
    NaiveStage,
    NaiveTransitions,
    naive_next,
    naive_outcomes,
    naive_recent,
    naive_stages,
)
from tests.intents.test_stages import BASKETS, CLICKS, touch


def baskets(*each: tuple[str, ...], customer: str = "a") -> list[Touch]:
    """A customer's baskets, one a day."""
    return [touch(customer, what, day * DAY_MS, "purchase") for day, what in enumerate(each)]


def learned(made: list[Touch]) -> Transitions:
    """Transitions to next stages."""
    stages = stages_of(made)
    return Transitions(stages, next_occasions(stages))


def agree(stages: Stages, found: Transitions, naive_all: list[NaiveStage], occasions: list[NaiveOccasion]) -> None:
    """Each number equals the naive one."""
    naive = NaiveTransitions(naive_all, occasions, {})
    keys = [
        (stages.names[a], stages.names[b]) for a, b in zip(found.origin.tolist(), found.target.tolist(), strict=True)
    ]
    assert dict(zip(keys, found.count.tolist(), strict=True)) == dict(naive.count)
    assert found.customers.tolist() == [len(naive.customers[key]) for key in keys]
    assert found.confidence().tolist() == pytest.approx([naive.confidence(*key) for key in keys])
    assert found.lift().tolist() == pytest.approx([naive.lift(*key, stages.names) for key in keys])
    assert [found.find(*key) for key in keys] == list(range(len(keys)))
    shares = [naive.share(name, stages.names) for name in stages.names]
    assert found.share()[: len(shares)].tolist() == pytest.approx(shares)


@given(CLICKS | BASKETS)
def test_next_transitions_are_those_of_the_naive_judge(made: list[Touch]) -> None:
    """Counts, customers, confidence and lift of what comes next."""
    stages, naive = stages_of(made), naive_stages(made)
    agree(stages, Transitions(stages, next_occasions(stages)), naive, naive_next(naive))


@given(CLICKS)
def test_transitions_to_outcomes_are_those_of_the_naive_judge(made: list[Touch]) -> None:
    """Counts, customers, confidence and lift of what is carted or bought next."""
    stages, naive = stages_of(made), naive_stages(made)
    agree(stages, Transitions(stages, outcome_occasions(stages)), naive, naive_outcomes(naive))


@given(CLICKS | BASKETS, st.integers(0, 2))
def test_a_part_is_learned_as_if_it_were_all(made: list[Touch], modulus: int) -> None:
    """Leaving occasions out leaves exactly their moves out."""
    stages, naive = stages_of(made), naive_stages(made)
    occasions = next_occasions(stages)
    keep = occasions.stage % 3 == modulus
    part = [o for o in naive_next(naive) if o.stage % 3 == modulus]
    agree(stages, Transitions(stages, occasions.part(keep)), naive, part)


@given(CLICKS | BASKETS, st.integers(1, 6))
def test_recent_subjects(made: list[Touch], back: int) -> None:
    """The latest first, each once, with its age in stages."""
    stages, naive = stages_of(made), naive_stages(made)
    owner, subject, age = recent(stages, np.arange(len(stages)), back)
    for at in range(len(stages)):
        mine = owner == at
        told = [(stages.names[s], int(a)) for s, a in zip(subject[mine], age[mine], strict=True)]
        assert told == naive_recent(naive, at, back)


@settings(max_examples=20)
@given(CLICKS | BASKETS)
def test_intervals_draw_customers(made: list[Touch]) -> None:
    """An interval is taken over lifts of drawn customers, each drawing counted as the naive judge counts it."""
    stages, naive = stages_of(made), naive_stages(made)
    found = Transitions(stages, next_occasions(stages))
    rows = np.arange(len(found.count))
    low, high = found.intervals(rows, resamples=5)
    customers = list(dict.fromkeys(each.customer_id for each in made if each.subjects))
    drawn = []
    for weight in resampled(len(customers), 5):
        weights = dict(zip(customers, weight.tolist(), strict=True))
        each = NaiveTransitions(naive, naive_next(naive), weights)
        names = [(stages.names[a], stages.names[b]) for a, b in zip(found.origin, found.target, strict=True)]
        drawn.append([each.lift(a, b, stages.names) for a, b in names])
    if len(rows):
        assert low.tolist() == pytest.approx(np.quantile(drawn, 0.025, axis=0).tolist(), abs=1e-9)
        assert high.tolist() == pytest.approx(np.quantile(drawn, 0.975, axis=0).tolist(), abs=1e-9)


def test_large_baskets_alone_lift_nothing() -> None:
    """Of customers who buy at random, large baskets lift no transition, nor does what was bought together."""
    draw = np.random.default_rng(5)
    names = [f"s{n}" for n in range(12)]
    made: list[Touch] = []
    for customer in range(1_500):
        size = 2 if customer % 2 else 8
        made += baskets(*(tuple(draw.choice(names, size, replace=False)) for _ in range(3)), customer=f"c{customer}")
    found = learned(made)
    assert found.lift() == pytest.approx(np.ones(len(found.count)), abs=0.12)
    low, high = found.intervals(np.arange(len(found.count)), resamples=60)
    assert ((low < 1) & (high > 1)).mean() > 0.85


def test_what_follows_is_lifted() -> None:
    """Who buys tea buys cake next: its lift is high, its interval is above 1, and confidence is its share."""
    made = [t for n in range(60) for t in baskets(("tea",), ("cake" if n % 4 else "lamp",), customer=f"t{n}")]
    made += [t for n in range(60) for t in baskets(("sofa",), ("lamp" if n % 4 else "cake",), customer=f"s{n}")]
    found = learned(made)
    row = found.find("tea", "cake")
    assert row is not None
    (told,) = found.told(np.array([row]))
    assert (told.origin, told.target, told.moves, told.customers) == ("tea", "cake", 45, 45)
    assert told.confidence == 0.75
    assert 1 < told.lift_low < told.lift < told.lift_high
    assert found.find("cake", "tea") is None and found.find("tea", "nothing") is None


def test_nothing_learned() -> None:
    """Without occasions there are no transitions, and nothing fails."""
    found = learned([])
    assert len(found.count) == len(found.lift()) == 0 and found.told(np.arange(0)) == []
