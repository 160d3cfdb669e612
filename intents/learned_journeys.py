"""Journeys out of transitions: chains that are learned, and declared ones scored against what was learned."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.log import I64
from intents.catalog import Journey
from intents.counts import F64
from intents.transitions import Transition, Transitions

SURE: Final = 1.0
"""A step of a chain is surely oftener than else: its lift's interval lies above this."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A learned journey: its stages, and the transitions between them."""

    stages: tuple[str, ...]
    steps: tuple[Transition, ...]


@dataclass(frozen=True, slots=True)
class DeclaredStep:
    """A declared journey's step: what was learned of it, and its place among what comes after its first subject.

    `rank` from 1 by confidence, of `nexts` learned ones; rank and transition are None where it was never seen.
    """

    journey: str
    origin: str
    target: str
    transition: Transition | None
    rank: int | None
    nexts: int


def best(transitions: Transitions, min_customers: int) -> tuple[I64, F64]:
    """Rows of the supported transitions, that of the surest lift first, and the low ends of their intervals."""
    rows = transitions.supported(min_customers)
    low, _ = transitions.intervals(rows)
    order = np.argsort(-low, kind="stable")
    return rows[order], low[order]


def chains(transitions: Transitions, min_customers: int, count: int, length: int = 3) -> list[Chain]:
    """At most `count` chains of `length` subjects, each grown by the step that most customers make beyond chance.

    Beyond chance are customers × (1 - 1 / lift), the lift taken at the low end of its interval, which must be above
    SURE. (By lift × customers the most popular subjects always win, at lifts of hardly more than 1.) No transition is
    used twice, no two chains begin with the same subject, and none comes to a subject twice.
    """
    rows, low = best(transitions, min_customers)
    rows, low = rows[low > SURE], low[low > SURE]
    worth = (1.0 - 1.0 / low) * transitions.customers[rows]
    ordered = rows[np.argsort(-worth, kind="stable")].tolist()
    after: dict[int, list[int]] = {}
    for row in ordered:
        after.setdefault(int(transitions.origin[row]), []).append(row)
    used: set[int] = set()
    found: list[list[int]] = []
    for row in ordered:
        begun = {int(transitions.origin[chain[0]]) for chain in found}
        if len(found) < count and row not in used and int(transitions.origin[row]) not in begun:
            chain = _grown(transitions, after, row, used, length)
            if len(chain) == length - 1:
                used.update(chain)
                found.append(chain)
    told = iter(transitions.told(np.array([row for chain in found for row in chain], dtype=np.int64)))
    steps = [tuple(next(told) for _ in chain) for chain in found]
    return [Chain((each[0].origin, *(step.target for step in each)), each) for each in steps]


def _grown(transitions: Transitions, after: dict[int, list[int]], row: int, used: set[int], length: int) -> list[int]:
    chain = [row]
    seen = {int(transitions.origin[row]), int(transitions.target[row])}
    while len(chain) < length - 1:
        onward = after.get(int(transitions.target[chain[-1]]), [])
        step = next((r for r in onward if r not in used and int(transitions.target[r]) not in seen), None)
        if step is None:
            break
        chain.append(step)
        seen.add(int(transitions.target[step]))
    return chain


def declared(transitions: Transitions, journeys: tuple[Journey, ...]) -> list[DeclaredStep]:
    """Each step of the declared journeys, in the catalogue's order."""
    steps = [(j.name, a, b) for j in journeys for a, b in zip(j.stages, j.stages[1:], strict=False)]
    rows = [transitions.find(origin, target) for _, origin, target in steps]
    told = iter(transitions.told(np.array([row for row in rows if row is not None], dtype=np.int64)))
    confidence = transitions.confidence()
    found = []
    for (journey, origin, target), row in zip(steps, rows, strict=True):
        number = transitions.names.index(origin) if origin in transitions.names else None
        span = slice(0, 0) if number is None else slice(transitions.first[number], transitions.first[number + 1])
        nexts = confidence[span]
        rank = None if row is None else int((nexts > confidence[row]).sum()) + 1
        found.append(DeclaredStep(journey, origin, target, None if row is None else next(told), rank, len(nexts)))
    return found
