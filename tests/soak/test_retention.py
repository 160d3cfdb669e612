"""Records deleted unread are treated as never sent, and must be said: exactly these, and once."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.soak.clean import SETTINGS, Clean, perfect, wrong
from tests.soak.judge import judge
from tests.soak.outcome import Outcome
from tests.soak.retention import Cut, told

FIRST, END = 300, 420
"""What is deleted of partition 2, and, one record more, of partition 5."""


@pytest.fixture(scope="module")
def with_a_gap(clean: Clean) -> Clean:
    """What a perfect job leaves where some records were deleted unread, a refused one among them."""
    log = deepcopy(clean[0].log)
    gone = {number: Cut(FIRST, END + more, log[number][: END + more]) for number, more in ((2, 0), (5, 1))}
    return perfect(log, clean[1], gone), clean[1]


def test_what_was_deleted_was_never_sent(clean: Clean, with_a_gap: Clean) -> None:
    """No event, no dead letter; all before and behind counts, and nothing is held against who said it."""
    outcome, snapshot = deepcopy(with_a_gap[0]), with_a_gap[1]
    refused = clean[0].bad() - outcome.bad()
    assert refused and all(number in (2, 5) and FIRST <= offset <= END for number, offset in refused)
    verdict = judge(outcome, SETTINGS, snapshot)
    assert verdict.good and wrong(verdict) == {}, verdict.words
    assert verdict.gone == verdict.gone_told == 2 * (END - FIRST) + 1


def work_what_was_deleted(outcome: Outcome, clean: Outcome) -> dict[str, int]:
    """It was worked nevertheless."""
    outcome.states, outcome.intents = clean.states, clean.intents
    return {}


def lose_what_was_not_deleted(outcome: Outcome, _: Outcome) -> dict[str, int]:
    """The record behind it is missing, too, and nothing says so."""
    cut = outcome.cut[2]
    outcome.cut[2] = cut._replace(end=cut.end - 30, rows=cut.rows[:-30])
    outcome.told[2, FIRST, END] -= 1
    outcome.told[2, FIRST, END - 30] += 1
    return {"gone_wrong": 0}


def say_nothing(outcome: Outcome, _: Outcome) -> dict[str, int]:
    """Nobody says that they are missing."""
    del outcome.told[2, FIRST, END]
    return {"gone_wrong": END - FIRST}


def say_it_twice(outcome: Outcome, _: Outcome) -> dict[str, int]:
    """They are counted twice."""
    outcome.told[2, FIRST, END] += 1
    return {"gone_wrong": END - FIRST}


def say_what_is_not_so(outcome: Outcome, _: Outcome) -> dict[str, int]:
    """A partition that is whole is said not to be."""
    outcome.told[3, 7, 10] += 1
    return {"gone_wrong": 3}


def say_another_number(outcome: Outcome, _: Outcome) -> dict[str, int]:
    """One record fewer."""
    outcome.told[2, FIRST, END] -= 1
    outcome.told[2, FIRST, END - 1] += 1
    return {"gone_wrong": 2 * (END - FIRST) - 1}


@pytest.mark.parametrize(
    "breaking",
    [
        work_what_was_deleted,
        lose_what_was_not_deleted,
        say_nothing,
        say_it_twice,
        say_what_is_not_so,
        say_another_number,
    ],
)
def test_what_is_broken_is_found(
    clean: Clean, with_a_gap: Clean, breaking: Callable[[Outcome, Outcome], dict[str, int]]
) -> None:
    """Each way to treat a gap wrongly makes the verdict bad."""
    outcome = deepcopy(with_a_gap[0])
    expected = breaking(outcome, deepcopy(clean[0]))
    verdict = judge(outcome, SETTINGS, with_a_gap[1])
    assert not verdict.good and verdict.words
    assert {name: getattr(verdict, name) for name in expected} == expected, verdict.words


def test_what_workers_say_is_read_in_their_logs() -> None:
    """By partition and place, as often as it is said."""
    words = "clickstream/4: records 12 to 20 were deleted before they were read: 8 are missing\n"
    other = "2026 ERROR streams.worker: a.b/11: records 0 to 1 were deleted before they were read: 1 are missing\n"
    assert told([f"claimed\n{words}", "", words + other]) == {(4, 12, 20): 2, (11, 0, 1): 1}
