"""Ranks among never-touched subjects: the rule counts customers, not touches, and only those before."""

import math

import numpy as np

from intents.next_stages import LISTED, next_task, popular_ranks
from intents.occurrences import Occurrence, Questions


def ranks(*steps: tuple[str, str, str]) -> list[int]:
    """Ranks by popularity of the outcomes of (customer, kind, subject) steps."""
    events = [Occurrence(who, kind, time, (what,), f"e{time}") for time, (who, kind, what) in enumerate(steps)]
    found: list[int] = popular_ranks(Questions(events)).tolist()
    return found


def test_popular_is_what_most_customers_touched() -> None:
    """Three touches of one customer count once; what the customer touched itself is passed over."""
    tents, mugs = [("a", "view", "tents")] * 3, [("a", "view", "mugs"), ("b", "view", "mugs")]
    assert ranks(*tents, *mugs, ("c", "cart_add", "tents")) == [2]
    assert ranks(*tents, *mugs, ("c", "view", "mugs"), ("c", "cart_add", "tents")) == [1]


def test_of_equals_the_first_touched_is_first() -> None:
    """Two subjects with one customer each: in the order in which they came."""
    seen = [("a", "view", "tents"), ("b", "view", "mugs")]
    assert ranks(*seen, ("c", "cart_add", "tents")) == [1]
    assert ranks(*seen, ("c", "cart_add", "mugs")) == [2]


def test_what_nobody_or_the_customer_touched_has_no_rank() -> None:
    """A subject new to everybody cannot be popular; one that the customer touched is not asked for."""
    assert ranks(("a", "view", "tents"), ("c", "cart_add", "mugs")) == [0]
    assert ranks(("a", "view", "tents"), ("c", "view", "tents"), ("c", "cart_add", "tents")) == [0]


def test_later_touches_say_nothing() -> None:
    """Only touches before the outcome count, its own not."""
    assert ranks(("c", "cart_add", "mugs"), ("a", "view", "mugs"), ("b", "view", "mugs")) == [0]


def test_a_list_has_an_end() -> None:
    """Ranks 1, 10, 30 and 31: the last is a miss everywhere."""
    found = next_task(np.array([1, 10, LISTED, LISTED + 1]))
    assert (found.count, found.hit_1, found.hit_5, found.hit_10, found.hit_30) == (4, 0.25, 0.25, 0.5, 0.75)
    assert found.mrr == (1 + 1 / 10 + 1 / LISTED) / 4
    assert math.isnan(next_task(np.array([], np.int64)).mrr)
