"""Short descriptions of long sequences of events, for hypothesis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hypothesis import strategies as st

from tests.features.naive_log import DAY, HOUR, Event

START: Final = 19_700 * DAY + 22 * HOUR + 50 * 60_000
"""Shortly before a full hour, and not long before midnight."""
CUSTOMERS: Final = ["anna", "ben", "chris"]
CLOSE: Final = 5 << 20
"""With CLOSE + 1: two subjects that differ in their last bits only."""
SUBJECTS: Final[list[tuple[int, ...]]] = [
    (7,),
    (CLOSE,),
    (CLOSE + 1, 7),
    (),
    (2**64 - 1,),
    (9, CLOSE, CLOSE + 1),
    tuple(range(100, 119)),
]
KINDS: Final = ["view", "cart_add", "click", "purchase", "favorite", "impression", "search", "refund"]
PAUSES: Final = [0, 1, 1_000, 20_000, 60_000, 30 * 60_000, 30 * 60_000 + 1, HOUR, 5 * HOUR, DAY]
LONG: Final = [2 * DAY, 7 * DAY, 30 * DAY, 30 * DAY + 120_000, 30 * DAY + 120_001, 31 * DAY]
BACK: Final = [0, 1, 1_000, 60_000, 120_000, 10 * 60_000, HOUR, 3 * HOUR, 2 * DAY, 29 * DAY, 40 * DAY]


@dataclass(frozen=True)
class Move:
    """`repeat` events of a customer.

    Each comes `amount` ms `on` from the last, or `late` by it; or it is one from `amount` events back `again`. `turn`
    moves kind and subjects on from event to event; `fresh` gives each event a subject of its own.
    """

    action: "Action"
    customer: int
    amount: int
    kind: int
    subjects: int
    turn: int
    repeat: int
    fresh: bool


Action = Literal["on", "late", "again", "forget"]


def _moves(
    action: Action, amounts: list[int], repeats: list[int], customers: int = len(CUSTOMERS)
) -> st.SearchStrategy[Move]:
    return st.builds(
        Move,
        action=st.just(action),
        customer=st.integers(0, customers - 1),
        amount=st.sampled_from(amounts),
        kind=st.integers(0, len(KINDS) - 1),
        subjects=st.integers(0, len(SUBJECTS) - 1),
        turn=st.integers(0, 3),
        repeat=st.sampled_from(repeats),
        fresh=st.sampled_from([False, False, True]),
    )


def _any(customers: int) -> st.SearchStrategy[Move]:
    return st.one_of(
        _moves("on", PAUSES, [1, 2, 5, 15], customers),
        _moves("on", PAUSES, [1, 2, 5, 15], customers),
        _moves("on", PAUSES, [130, 154, 224], customers),
        _moves("on", LONG, [1, 3], customers),
        _moves("late", BACK, [1, 3], customers),
        _moves("late", BACK, [1, 3], customers),
        _moves("again", [0, 1, 5, 40, 134, 184, 264], [1, 4], customers),
        _moves("forget", [0, 0, 1, HOUR], [1], customers),
    )


_BURST: Final = _moves("on", [1_000, 20_000, 60_000, HOUR], [154, 224], 1)
_LATE: Final = _moves("late", [30_000, 60_000, 20 * 60_000, HOUR, 3 * HOUR], [1, 5], 1)
_AGAIN: Final = _moves("again", [0, 5, 134, 159, 184, 214], [1, 4], 1)
ANY: Final = st.one_of(
    st.lists(_any(len(CUSTOMERS)), min_size=1, max_size=12),
    st.tuples(st.tuples(_BURST, _LATE, _AGAIN), st.lists(_any(1), max_size=8)).map(lambda both: [*both[0], *both[1]]),
)
"""Anything that can happen to a partition; in every second case one customer is so busy that their log is folded."""


def events_of(moves: Sequence[Move]) -> list[Event]:
    """The events that `moves` describe, in order of arrival."""
    events: list[Event] = []
    now = START
    for move in moves:
        for i in range(move.repeat):
            if move.action == "again":
                if events:
                    events.append(events[-1 - min(move.amount, len(events) - 1)])
                continue
            now += move.amount if move.action == "on" else 0
            number = len(events)
            kind = KINDS[(move.kind + i * move.turn) % len(KINDS)]
            subjects = SUBJECTS[(move.subjects + i * move.turn) % len(SUBJECTS)]
            events.append(
                Event(
                    customer=CUSTOMERS[move.customer],
                    kind="forget" if move.action == "forget" else kind,
                    time=now if move.action == "on" else now - move.amount,
                    id=number + 1,
                    subjects=(1_000_000 + number,) if move.fresh else subjects,
                    product=(0, 11, 12, 13)[(move.kind + i) % 4],
                    value=(0, 250, -99, 2_000_000_000)[(move.subjects + i) % 4],
                )
            )
    return events
