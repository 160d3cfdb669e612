"""The detect step: one batch of events and the states of its customers in; new states, intents and examples out.

Follow one event: it is applied to its customer's log (`features/apply.py`), the log is viewed at the event's time
(`features/windows.py`), candidates are chosen, their vectors computed and scored (here), and intents live by the
scores (`intents/life.py`). Pure: the same batch, states and model give the same answer, however the records were cut
into chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.aggregates import Aggregates
from features.apply import STATE_MS, Wave, erase, waves
from features.bundle import F32, Bundle
from features.events import Batch
from features.kinds import ASKED, CODE, OUTCOMES
from features.log import DAY_MS, I64, Bool
from features.pairs import Pairs
from features.state import SLOT, States
from features.windows import Asks, View
from intents.candidates import FORESEEN, TOUCHED, Candidates, Declared, choose
from intents.catalog import Catalogue
from intents.change import Change
from intents.counts import F64
from intents.examples import CHOICES
from intents.intent import STEP
from intents.journeys import Journeys
from intents.life import Life, Rules
from intents.model import Model
from intents.subjects import Names

RANKED: Final = 32
RANKED_FORESEEN: Final = 30
"""Candidates, touched and foreseen, that are ranked before a cart_add or purchase for the scores file."""

_ASKED: Final = np.isin(np.arange(256), [CODE[kind] for kind in ASKED])
_OUTCOME: Final = np.isin(np.arange(256), [CODE[kind] for kind in OUTCOMES])


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from batch to batch.

    `rank_outcomes` scores the moment before each outcome too, for a scores file.
    """

    bundle: Bundle
    catalogue: Catalogue
    names: Names
    rules: Rules = field(default_factory=Rules)
    namespace: str = "default"
    rank_outcomes: bool = False
    declared: Declared = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "declared", Declared(self.catalogue))


@dataclass(frozen=True, slots=True)
class Scored:
    """What one wave was asked and what the model said.

    `event` (a,) of each ask in order of arrival, `outcome` (a,) those asked before an outcome, their candidates, and
    by candidate `vectors` (f, c), `columns` with the model's, `p` (c,), and `soon` (c,), at least `p`, NaN until that
    head is ready. `said` (c,) is what the model itself says, NaN until it is ready: `p`, unless the fallback is served.
    `first` (a,) are those before which their customer was asked nothing on that UTC day.
    """

    event: I64
    outcome: Bool
    first: Bool
    candidates: Candidates
    vectors: F32
    columns: F32
    p: F64
    soon: F64
    said: F64


@dataclass(frozen=True, slots=True)
class Detected:
    """What a batch led to.

    `changes` are in order of publication, each with the wave that scored it; `deadlines` (n,) are the states' next
    ones (-1: nothing is left of the customer).
    """

    changes: list[tuple[Change, Scored | None]]
    scored: list[Scored]
    unverifiable: I64
    deadlines: I64
    unslotted: int


@dataclass(frozen=True, slots=True)
class Past:
    """What of a batch was published before, by a worker whose states are lost (`intents/adoption.py`).

    `only_logs`: all of it, so there are no lives here at all, they are taken over later. At the source offset `last`
    (-1: none) the subjects `answered` are left alone, what was said of them stands. `unasked`: the trainer has read it
    all, so nothing is scored.
    """

    only_logs: bool = False
    last: int = -1
    answered: frozenset[int] = frozenset()
    unasked: bool = False

    def stands(self, batch: Batch, asked: "Scored") -> Bool:
        """Candidates of which an answer was published (c,)."""
        again = batch.offset[asked.event] == self.last
        answered = np.fromiter(self.answered, np.uint64, len(self.answered))
        stands: Bool = again[asked.candidates.ask] & np.isin(asked.candidates.subject, answered)
        return stands


NO_PAST: Final = Past()


def detect(
    batch: Batch,
    states: States,
    parts: I64,
    model: Model,
    setup: Setup,
    *,
    bounds: "Sequence[Bound | None]" = (),
    past: Past = NO_PAST,
) -> Detected:
    """Work `batch` into `states` (changed in place; `parts` (n,) is each row's part) and tell what it led to.

    `bounds` say, by part, which deadlines fire at the end where more are due than one commit takes (None: all that
    are due).
    """
    if past.only_logs:
        states.slots[:] = np.zeros((), dtype=SLOT)
        states.notes.clear()
    journeys = Journeys(setup.catalogue, model, setup.names)
    threshold = round(model.threshold(setup.rules.threshold).value * STEP)
    life = Life(states, batch, setup.rules, threshold, parts, journeys, setup.namespace, model.variant)

    def clear(rows: I64, events: I64, forgotten: Bool) -> None:
        life.expire(rows, batch.watermark[events], batch.part[events])
        life.forget(rows[forgotten], events[forgotten])

    scored: list[Scored] = []
    causes: list[Scored | None] = []
    unverifiable = [np.empty(0, dtype=np.int64)]
    for wave in waves(states, batch, clear):
        unverifiable.append(wave.events[wave.unverifiable])
        causes += [None] * (len(life.changes) - len(causes))
        asked = None if past.unasked else _score(batch, states, wave, model, setup)
        if asked is not None:
            scored.append(asked)
        if asked is not None and not past.only_logs:
            confidence = _confidence(batch, asked, model, past)
            ask = np.where(asked.outcome, -1, np.arange(len(asked.event)))
            life.act(asked.event, ask, asked.candidates, confidence, _in_steps(asked.soon))
            causes += [asked] * (len(life.changes) - len(causes))
    everyone = np.arange(len(states.customers))
    ending = batch.last_watermark[parts]
    for part, bound in enumerate(bounds):
        if bound is not None:
            ending = np.where(parts == part, bound.watermarks(states), ending)
    life.expire(everyone, ending, parts)
    causes += [None] * (len(life.changes) - len(causes))
    newest = states.memory.newest
    erase(states, np.flatnonzero((newest >= 0) & (newest + STATE_MS < ending)))
    order = sorted(range(len(life.changes)), key=lambda i: _place(life.changes[i], states.customers))
    return Detected(
        changes=[(life.changes[i], causes[i]) for i in order],
        scored=scored,
        unverifiable=np.sort(np.concatenate(unverifiable)),
        deadlines=next_deadlines(states),
        unslotted=life.unslotted,
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """Only deadlines before (`before_ms`, `customer`) fire: the first that did not fit into this commit."""

    before_ms: int
    customer: bytes

    def watermarks(self, states: States) -> I64:
        """The watermark that each state row may fire deadlines before (n,)."""
        fires_it = np.array([customer.encode() < self.customer for customer in states.customers], dtype=bool)
        return self.before_ms + fires_it


def _place(change: Change, customers: Sequence[str]) -> tuple[int, int, int, int, bytes, int]:
    """Order of publication: by record; deadlines first, by (deadline, customer, subject); then in candidate order."""
    if change.deadline:
        return (change.part, change.event, 0, change.updated_at, customers[change.row].encode(), change.order)
    return (change.part, change.event, 1, 0, b"", change.order)


def _score(batch: Batch, states: States, wave: Wave, model: Model, setup: Setup) -> Scored | None:
    """Ask about the events of a wave that are asked, and about the moment before its outcomes."""
    events = wave.events
    kind = batch.kind[events]
    with_subject = wave.applied & (np.diff(batch.subject_offsets)[events] > 0)
    outcome = with_subject & _OUTCOME[kind]
    chosen = (with_subject & ~wave.late & _ASKED[kind]) | outcome
    if not chosen.any():
        return None
    events, outcome = events[chosen], outcome[chosen]
    asks = Asks(
        batch.customer[events],
        batch.time[events],
        np.where(outcome, wave.first[chosen], wave.stop[chosen]),
        np.where(outcome, events - 1, events),
    )
    view = View(asks, states.logs)
    pairs = Pairs(view)
    ranked = setup.rank_outcomes
    candidates = choose(
        pairs,
        model.tables,
        setup.declared,
        np.where(outcome, RANKED if ranked else CHOICES, TOUCHED),
        np.where(outcome, RANKED_FORESEEN if ranked else 0, FORESEEN),
    )
    vectors = setup.bundle.vectors(Aggregates(pairs, candidates.pair), candidates.ask)
    columns = model.columns(vectors, candidates.subject, candidates.before())
    regressed = columns[setup.bundle.leading :]
    nothing = np.full(len(candidates.rank), np.nan)
    said = model.now.probability(regressed, candidates.rank) if model.ready else nothing
    p = said if model.believed else model.fallback(candidates.rank)
    known = model.believed and model.soon.ready
    soon = np.maximum(model.soon.probability(regressed, candidates.rank), p) if known else nothing
    return Scored(events, outcome, _first_of_day(view, events), candidates, vectors, columns, p, soon, said)


def _first_of_day(view: View, events: I64) -> Bool:
    """Asks (a,) before which nothing of the customer was asked on that UTC day, as far as can be seen."""
    today = view.age <= (view.asks.time % DAY_MS)[view.ask]
    before = _ASKED[view.kind] & today & (view.logs.arrival[view.entry] != events[view.ask])
    first: Bool = np.bincount(view.ask[before], minlength=len(events)) == 0
    return first


def _confidence(batch: Batch, asked: Scored, model: Model, past: Past) -> I64:
    """Probabilities of the candidates in 1e-4 (c,), -1 where the model is not ready or an answer was published."""
    if not model.ready:
        return np.full(len(asked.p), -1)
    confidence = _in_steps(asked.p)
    if past.answered:
        confidence[past.stands(batch, asked)] = -1
    return confidence


def _in_steps(p: F64) -> I64:
    """Probabilities in 1e-4, -1 where there is none."""
    return np.where(np.isnan(p), -1, np.rint(np.nan_to_num(p) * STEP)).astype(np.int64)


def next_deadlines(states: States) -> I64:
    """The earliest deadline of each state: an intent's end, or the end of the state; -1 where nothing is left."""
    newest = states.memory.newest
    ends = np.where(newest >= 0, newest + STATE_MS, -1)
    far = np.iinfo(np.int64).max
    expires = np.where(states.slots["open"] == 1, states.slots["expires_at"], far).min(axis=1)
    return np.where(ends >= 0, np.minimum(ends, expires), -1)
