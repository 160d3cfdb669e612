"""Lists of what comes next are judged as a slow judge would, and know nothing of what came after the cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.affinity import MOST_SUBJECTS, Affinity
from intents.next_lists import HITS, LISTS, Judged, judge
from intents.stages import DAY_MS, Touch, stages_of
from tests.intents.naive_journeys import naive_affinity, naive_places, naive_stages
from tests.intents.test_stages import BASKETS, CLICKS, touch


def places_told(judged: Judged) -> list[float]:
    """MRR by list."""
    return [measured.value for measured in judged.numbers["mrr"].values()]


@settings(max_examples=60)
@given(CLICKS | BASKETS, st.sampled_from((0.2, 0.5, 0.9)))
def test_lists_are_those_of_the_naive_judge(made: list[Touch], share: float) -> None:
    """What came after the cut, and its places in each list."""
    stages, naive = stages_of(made), naive_stages(made)
    cut = stages.cut_ms(share)
    found = {judged.what: judged for judged in judge(stages, cut)}
    wanted: dict[str, list[tuple[int, ...]]] = {what: [] for what in found}
    for at in range(1, len(naive)):
        stage = naive[at]
        if stage.time_ms < cut or stage.customer != naive[at - 1].customer:
            continue
        had = {s for other in naive[:at] if other.customer == stage.customer for s in other.subjects}
        for subject in stage.subjects:
            new = naive_places(naive, at, subject, True, stages.baskets, stages.names, cut)
            every = naive_places(naive, at, subject, False, stages.baskets, stages.names, cut)
            kinds = {
                "next, new to the customer": (subject not in had, new),
                "next, all": (True, every),
                "next outcome, new to the customer": (subject not in had and subject in stage.outcome, new),
                "next outcome, not even looked at": (subject not in had and subject in stage.direct, new),
                "next outcome, all": (subject in stage.outcome, every),
            }
            for what in wanted:
                if kinds[what][0]:
                    wanted[what].append(kinds[what][1])
    for what, places in wanted.items():
        assert found[what].came == len(places)
        assert list(found[what].numbers["mrr"]) == [*LISTS[:4], *(LISTS[4:] if what.endswith("all") else ())]
        for number in range(len(found[what].numbers["mrr"])) if places else ():
            mine = np.array([each[number] for each in places])
            assert places_told(found[what])[number] == pytest.approx((1 / mine).mean())
            for k in HITS:
                assert found[what].numbers[f"hit@{k}"][LISTS[number]].value == pytest.approx((mine <= k).mean())


@given(CLICKS | BASKETS, st.integers(0, 2))
def test_affinity_is_that_of_the_naive_judge(made: list[Touch], modulus: int) -> None:
    """Cosines between subjects over the customers of some stages."""
    stages = stages_of(made)
    part = np.arange(len(stages)) % 3 != modulus
    found = Affinity(stages, part)
    told = {
        (stages.names[a], stages.names[b]): value
        for a, b, value in zip(found.one, found.other, found.cosine.tolist(), strict=True)
    }
    assert told == pytest.approx(naive_affinity(naive_stages(made), part.tolist(), stages.names))


def test_who_is_about_everything_counts_in_part() -> None:
    """Only so many subjects of one customer make pairs."""
    stages = stages_of([touch("a", f"s{n}", n) for n in range(MOST_SUBJECTS + 50)])
    assert len(Affinity(stages, np.ones(len(stages), dtype=bool)).one) == MOST_SUBJECTS**2


def shop(after_tea: str) -> list[Touch]:
    """Customers who look at tea or sofas and then at something that belongs to it; the last ones came late."""
    made = []
    for n in range(40):
        first, then = ("tea", after_tea) if n % 2 else ("sofa", "lamp")
        day = 9 * DAY_MS if n >= 30 else n * DAY_MS // 10
        made += [touch(f"c{n}", first, day), touch(f"c{n}", then, day + 1)]
    return made


def test_what_follows_is_first() -> None:
    """A list that has learned what follows is better than popularity, and says by how much."""
    new = judge(stages_of(shop("cake")), 5 * DAY_MS)[0]
    assert new.came == new.customers == 10
    assert new.numbers["hit@1"]["journeys"].value == 1.0
    assert new.numbers["hit@1"]["popular"].value == 0.5
    assert new.gain["hit@1"].value == 0.5 and new.gain["hit@1"].low > 0
    assert new.gain["hit@1"].low <= new.gain["hit@1"].value <= new.gain["hit@1"].high


def test_nothing_is_learned_after_the_cut() -> None:
    """What comes after the cut changes no list of what comes at its beginning."""
    before = [each for each in shop("cake") if each.time_ms < 5 * DAY_MS]
    asked = [touch("x", "tea", 6 * DAY_MS), touch("x", "cake", 6 * DAY_MS + 1)]
    later = [touch(f"y{n}", s, 7 * DAY_MS + t) for n in range(50) for t, s in enumerate(("tea", "lamp"))]
    alone = judge(stages_of([*before, *asked]), 5 * DAY_MS)[0]
    crowded = judge(stages_of([*before, *asked, *later]), 5 * DAY_MS)[0]
    assert alone.numbers["hit@1"]["journeys"].value == 1.0
    assert crowded.came == alone.came + 50
    assert crowded.numbers["hit@1"]["journeys"].value == pytest.approx(1 / 51)


def test_nothing_to_judge() -> None:
    """Where nothing came there are no numbers, and nothing fails."""
    for judged in judge(stages_of([touch("a", "tea", 0)]), 0):
        assert judged.came == judged.customers == 0 and math.isnan(judged.numbers["mrr"]["popular"].value)
    assert judge(stages_of([]), 0)[0].came == 0
