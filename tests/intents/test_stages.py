"""Stages are visits of a clickstream or baskets of a shop, whatever the order of the file."""

from hypothesis import given
from hypothesis import strategies as st

from intents.stages import DAY_MS, Stages, Touch, stages_of
from tests.intents.naive_journeys import NaiveStage, naive_stages

SUBJECTS = ("tea", "cake", "party", "lamp", "garden")


def touch(
    customer: str, subjects: tuple[str, ...] | str, time_ms: int = 0, kind: str = "view", session: str = ""
) -> Touch:
    """A touch of some subjects."""
    return Touch(customer, kind, time_ms, session, "", "", (subjects,) if isinstance(subjects, str) else subjects)


def touches(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Touch]]:
    """Touches of a few customers and subjects, in no order."""
    return st.lists(
        st.builds(
            touch,
            st.sampled_from("abc"),
            st.lists(st.sampled_from(SUBJECTS), max_size=3, unique=True).map(tuple),
            st.integers(0, 40).map(lambda n: n * DAY_MS // 4),
            st.sampled_from(kinds),
            st.sampled_from(("", "", "s1", "s2")),
        ),
        max_size=40,
    )


CLICKS = touches(("view", "view", "favorite", "cart_add", "purchase"))
BASKETS = touches(("purchase",))


def as_naive(stages: Stages, customers: list[str]) -> list[NaiveStage]:
    """Stages as the naive judge writes them."""
    found = []
    for at in range(len(stages)):
        span = range(stages.starts[at], stages.starts[at + 1])
        names = {place: stages.names[stages.subject[place]] for place in span}
        found.append(
            NaiveStage(
                customers[stages.customer[at]],
                int(stages.time_ms[at]),
                list(names.values()),
                {name for place, name in names.items() if stages.outcome[place]},
                {name for place, name in names.items() if stages.direct[place]},
            )
        )
    return found


@given(CLICKS | BASKETS)
def test_stages_are_those_of_the_naive_judge(made: list[Touch]) -> None:
    """Visits and baskets, their subjects, outcomes and order."""
    stages = stages_of(made)
    customers = list(dict.fromkeys(each.customer_id for each in made if each.subjects))
    assert as_naive(stages, customers) == naive_stages(made)
    assert stages.customers == len(customers)
    assert stages.baskets == all(each.kind != "view" for each in made)


def test_a_visit_lasts_until_another_subject() -> None:
    """Repeated touches of a subject are one visit; coming back is another."""
    stages = stages_of([touch("a", s, t) for t, s in enumerate(("tea", "tea", "cake", "tea"))])
    assert [stages.names[subject] for subject in stages.subject] == ["tea", "cake", "tea"]
    assert stages.time_ms.tolist() == [0, 2, 3]


def test_direct_outcomes() -> None:
    """What is carted before it is looked at is direct; what is carted after a look is only an outcome."""
    stages = stages_of([touch("a", "tea", 0), touch("a", "tea", 1, "cart_add"), touch("a", "cake", 2, "cart_add")])
    assert stages.outcome.tolist() == [True, True]
    assert stages.direct.tolist() == [False, True]


def test_a_basket_is_a_session_or_a_day() -> None:
    """With session ids a basket is a session, also when others come between; without, a customer's day."""
    bought = [
        touch("a", "tea", 10, "purchase", "i1"),
        touch("a", "lamp", 20, "purchase", "i2"),
        touch("a", "cake", 30, "purchase", "i1"),
        touch("b", "tea", 5, "purchase"),
        touch("b", "cake", DAY_MS - 1, "purchase"),
        touch("b", "lamp", DAY_MS, "purchase"),
    ]
    stages = stages_of(bought)
    assert [len(range(*pair)) for pair in zip(stages.starts, stages.starts[1:], strict=False)] == [2, 1, 2, 1]


def test_the_cut() -> None:
    """The cut leaves the last share of the time, not of the stages."""
    stages = stages_of([touch("a", s, t) for s, t in (("tea", 0), ("cake", 10), ("tea", 20), ("cake", 100))])
    assert stages.cut_ms(0.2) == 80
    assert stages.before(80).tolist() == [True, True, True, False]
    assert stages_of([]).cut_ms(0.2) == 0
