"""Chains grow by what is surely oftener than by chance; declared steps are found among what was learned."""

import numpy as np

from intents.catalog import Journey
from intents.learned_journeys import SURE, best, chains, declared
from intents.stages import Touch, stages_of
from intents.transitions import Transitions, next_occasions
from tests.intents.test_transitions import baskets


def shop() -> Transitions:
    """Most go tea, cake, party; some sofa, lamp, rug; many end with a bag, whatever they began with."""
    made: list[Touch] = []
    for n in range(60):
        made += baskets(("tea",), ("cake" if n % 10 else "bag",), ("party" if n % 10 else "bag",), customer=f"t{n}")
        made += baskets(("sofa",), ("lamp" if n % 10 else "bag",), ("rug" if n % 3 else "bag",), customer=f"s{n}")
    stages = stages_of(made)
    return Transitions(stages, next_occasions(stages))


def test_chains() -> None:
    """The journeys that customers really make, each transition once, by subjects that differ."""
    found = chains(shop(), min_customers=10, count=10)
    assert {chain.stages for chain in found} == {("tea", "cake", "party"), ("sofa", "lamp", "rug")}
    for chain in found:
        assert [(step.origin, step.target) for step in chain.steps] == list(
            zip(chain.stages, chain.stages[1:], strict=False)
        )
        assert all(step.lift_low > SURE and step.customers >= 10 for step in chain.steps)


def test_limits_of_chains() -> None:
    """No more than asked for, of the length asked for, supported by enough customers."""
    assert len(chains(shop(), min_customers=10, count=1)) == 1
    assert {len(chain.stages) for chain in chains(shop(), 10, 10, length=2)} == {2}
    assert chains(shop(), min_customers=61, count=10) == []


def test_chains_do_not_go_round() -> None:
    """A chain comes to no subject twice, and a transition is in one chain only."""
    made = [t for n in range(30) for t in baskets(("a",), ("b",), ("a",), ("b",), customer=f"c{n}")]
    made += [t for n in range(30) for t in baskets(("x",), ("y",), customer=f"d{n}")]
    stages = stages_of(made)
    found = chains(Transitions(stages, next_occasions(stages)), 5, 10)
    assert found == []


def test_each_chain_has_its_own_beginning_and_steps() -> None:
    """A second chain from the same subject, or by a transition of another chain, is not told."""
    made: list[Touch] = []
    paths = [("a", "d", "e"), ("a", "f", "g"), ("x", "b", "c"), ("y", "b", "c")]
    for number, path in enumerate(paths * 30):
        made += baskets(*((subject,) for subject in path), customer=f"c{number}")
    stages = stages_of(made)
    found = chains(Transitions(stages, next_occasions(stages)), 5, 10)
    assert sorted(chain.stages[0] == "a" for chain in found) == [False, True]


def test_chance_makes_no_chains() -> None:
    """Of what customers do at random, no step is told that might be chance."""
    draw = np.random.default_rng(3)
    made: list[Touch] = []
    for number in range(300):
        path = draw.choice(["a", "b", "c", "d", "e", "f"], 6)
        made += baskets(*((str(subject),) for subject in path), customer=f"c{number}")
    stages = stages_of(made)
    found = chains(Transitions(stages, next_occasions(stages)), 5, 10)
    assert all(step.lift_low > SURE for chain in found for step in chain.steps) and len(found) < 3


def test_best_first() -> None:
    """Supported transitions only, that of the surest lift first."""
    learned = shop()
    rows, low = best(learned, 10)
    assert low.tolist() == sorted(low.tolist(), reverse=True)
    assert (learned.customers[rows] >= 10).all() and len(rows) == int((learned.customers >= 10).sum())


def test_declared_steps() -> None:
    """Each step with what was learned of it and its place; one that nobody made is told, not left out."""
    journeys = (Journey("birthday", ("tea", "cake", "bag")), Journey("odd", ("nothing", "tea")))
    steps = declared(shop(), journeys)
    assert [(step.journey, step.origin, step.target) for step in steps] == [
        ("birthday", "tea", "cake"),
        ("birthday", "cake", "bag"),
        ("odd", "nothing", "tea"),
    ]
    first, second, third = steps
    assert first.transition is not None
    assert (first.transition.moves, first.rank, first.nexts) == (54, 1, 2)
    assert (second.transition, second.rank, second.nexts) == (None, None, 1)
    assert (third.transition, third.rank, third.nexts) == (None, None, 0)
    (bag,) = declared(shop(), (Journey("j", ("tea", "bag")),))
    assert bag.rank == 2 and bag.transition is not None and bag.transition.moves == 6
