"""What a recording asks: pairs after views, outcomes with the rule's rank, earlier meaning earlier in the file."""

from intents.occurrences import ONCE, Occurrence, Questions


def played(*steps: tuple[str, str, int, str]) -> Questions:
    """Questions of (customer, kind, time, subject) steps, ids by place; an empty subject is none."""
    return Questions(
        Occurrence(customer, kind, time, (subject,) if subject else (), f"e{place}")
        for place, (customer, kind, time, subject) in enumerate(steps)
    )


def named(asked: Questions, customer: str, subjects: str) -> list[int]:
    """Keys of a customer's subjects."""
    return [asked.key(customer, subject) for subject in subjects]


def test_a_view_asks_about_the_last_six_its_own_first() -> None:
    """Seven subjects touched: the six last are asked about, latest first, with ages, places and the view's row."""
    asked = played(*[("c", "view", n * 10, subject) for n, subject in enumerate("abcdefg")])
    view = asked.views["e6"]
    pairs = slice(view.first_pair, view.first_pair + view.pairs)
    assert asked.pair_keys[pairs].tolist() == named(asked, "c", "gfedcb")
    assert asked.pair_ages[pairs].tolist() == [0, 10, 20, 30, 40, 50]
    assert asked.pair_places[pairs].tolist() == [0, 1, 2, 3, 4, 5]
    assert set(asked.pair_rows[pairs].tolist()) == {6}


def test_every_touching_kind_touches_and_no_other() -> None:
    """View, click, banner_click, search, favorite, cart_add and purchase touch their subject; cart_remove does not."""
    kinds = ["view", "click", "banner_click", "search", "favorite", "cart_add", "purchase", "cart_remove", "impression"]
    asked = played(*[("c", kind, 1, kind) for kind in kinds], ("c", "cart_add", 2, "view"))
    assert asked.rule_ranks[-1] == 7
    assert asked.rule_ranks.tolist()[:2] == [0, 0]


def test_customers_are_apart() -> None:
    """Another customer's touches are nobody else's."""
    asked = played(("c", "view", 1, "a"), ("d", "view", 2, "b"), ("d", "purchase", 3, "a"))
    assert asked.pair_keys.tolist() == [asked.key("c", "a"), asked.key("d", "b")]
    assert asked.rule_ranks.tolist() == [0]


def test_an_outcome_is_ranked_before_it_touches() -> None:
    """The first cart_add of an untouched subject has rank 0, the purchase after it rank 1."""
    asked = played(
        ("c", "cart_add", 1, "a"), ("c", "purchase", 2, "a"), ("c", "view", 3, "b"), ("c", "purchase", 4, "a")
    )
    assert asked.rule_ranks.tolist() == [0, 1, 2]
    assert asked.outcome_ms.tolist() == [1, 2, 4]
    assert asked.outcome_rows.tolist() == [0, 1, 3]


def test_a_repeated_event_id_is_the_same_event() -> None:
    """The same id again changes nothing."""
    event = Occurrence("c", "cart_add", 1, ("a",), "e1")
    asked = Questions([event, event, event._replace(time_ms=9)])
    assert asked.events == 1
    assert asked.outcome_ms.tolist() == [1]


def test_gaps_between_touches() -> None:
    """A pair knows how long before its last touch the touch before was, ONCE for none."""
    asked = played(("c", "favorite", 5, "a"), ("c", "view", 25, "a"), ("c", "view", 30, "b"))
    assert asked.pair_gaps.tolist() == [20, ONCE, 20]


def test_a_view_of_nothing_asks_about_what_was_touched_before() -> None:
    """A view without a subject asks about the customer's recent subjects, and about none if there is none."""
    asked = played(("c", "view", 1, ""), ("c", "view", 2, "a"), ("c", "view", 5, ""))
    assert [view.pairs for view in asked.views.values()] == [0, 1, 1]
    assert asked.pair_ages.tolist() == [0, 3]


def test_no_events() -> None:
    """An empty recording asks nothing."""
    asked = Questions([])
    assert len(asked.pair_keys) == len(asked.outcome_keys) == asked.events == 0
