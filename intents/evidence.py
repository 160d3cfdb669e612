"""What was asked, said and came of it, joined into columns that every judgement is taken from: whole or in parts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Final, NamedTuple, TypeVar

import numpy as np

from intents.answers import Answers
from intents.metrics import Bools, Floats, Ints, Worth, cooled_down, next_time, within, worth
from intents.next_stages import popular_ranks
from intents.occurrences import Questions

HORIZON_MS: Final = 30 * 60_000
SOON_MS: Final = 24 * 60 * 60_000
THRESHOLD: Final = 0.15
SKIPPED_SHARE: Final = 0.2
"""Share of the pairs, the first ones, that a model may learn from before it is judged."""


class Fold(NamedTuple):
    """One of `parts` folds of the customers, by a hash of the id; `number` counts from 1."""

    number: int
    parts: int

    def holds(self, customer_id: str) -> bool:
        """Whether this customer is in it."""
        said = blake2b(customer_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(said, "big") % self.parts == self.number - 1


@dataclass(frozen=True, slots=True)
class Pairs:
    """Questions of task *detect*: customers and subjects (numbers), events, labels, the model's p, the rule's."""

    customers: Ints
    subjects: Ints
    rows: Ints
    labels: Bools
    scores: Floats
    rule: Floats


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Questions of tasks *rank* and *next*, by row; ranks from 1, 0 for missing; `warned`: an alarm was before it."""

    customers: Ints
    subjects: Ints
    rows: Ints
    ranks: Ints
    rule_ranks: Ints
    next_ranks: Ints
    popular_ranks: Ints
    warned: Bools


@dataclass(frozen=True, slots=True)
class Alarms:
    """Alarms that sounded, by row; the last three as in metrics.Worth."""

    keys: Ints
    ms: Ints
    customers: Ints
    subjects: Ints
    rows: Ints
    right: Bools
    caught: Bools
    lead_ms: Ints

    def worth(self, warned: Bools) -> Worth:
        """Their worth to outcomes, of which they `warned`."""
        return Worth(self.right, self.caught, self.lead_ms, warned)


Columns = Pairs | Outcomes | Alarms
Some = TypeVar("Some", Pairs, Outcomes, Alarms)


def only(columns: Some, chosen: Bools) -> Some:
    """Those rows."""
    return type(columns)(*(getattr(columns, field.name)[chosen] for field in fields(columns)))


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the evidence.

    `soon` has the pairs whose horizon ends within the recording; `outcomes` all that are ranked, `wanted` those among
    them that alarms are judged by.
    """

    now: Pairs
    soon: Pairs
    outcomes: Outcomes
    wanted: Outcomes
    alarms: Alarms

    def where(self, chosen: Callable[[Columns], Bools]) -> "Part":
        """The rows that `chosen` marks in each of the columns."""
        return Part(
            only(self.now, chosen(self.now)),
            only(self.soon, chosen(self.soon)),
            only(self.outcomes, chosen(self.outcomes)),
            only(self.wanted, chosen(self.wanted)),
            only(self.alarms, chosen(self.alarms)),
        )

    def worth(self) -> Worth:
        """The alarms' worth to the outcomes of this part."""
        return self.alarms.worth(self.wanted.warned)


class Candidates(NamedTuple):
    """Candidates of detect lines of a model that is ready, by row: what could raise an alarm, were p high enough.

    `next_ms` is the time of the next outcome of the same customer and subject, or NEVER.
    """

    keys: Ints
    ms: Ints
    rows: Ints
    p: Floats
    next_ms: Ints


class Evidence:
    """Everything in columns.

    `judged` marks the customers (of a fold, or all). The pairs from `start` on are judged, alarms and the outcomes that
    they are judged by from the event `from_row` on (a model may learn from what was before), ranks from the first one.
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        asked: Questions,
        *,
        horizon_ms: int = HORIZON_MS,
        soon_ms: int = SOON_MS,
        fold: Fold | None = None,
    ) -> None:
        self.asked, self.horizon_ms, self.soon_ms, self.fold = asked, horizon_ms, soon_ms, fold
        names = asked.customers
        self.judged: Bools = np.array([fold is None or fold.holds(name) for name in names], bool)
        self.said = Answers(lines, asked, self.judged)
        self.customers_of, self.subjects_of = asked.key_parts()
        self.start = int(len(asked.pair_keys) * SKIPPED_SHARE)
        self.from_row = int(asked.pair_rows[self.start]) if len(asked.pair_rows) else 0
        self._first = next_time(asked.pair_keys, asked.pair_ms, asked.outcome_keys, asked.outcome_ms)
        last_ms = int(asked.event_ms.max()) if asked.events else 0
        self.closed: Bools = asked.pair_ms + soon_ms <= last_ms
        self._popular = popular_ranks(asked)
        said = self.said
        ready = said.ready
        keys, ms = said.keys[ready], said.ms[ready]
        following = next_time(keys, ms, asked.outcome_keys, asked.outcome_ms)
        self.candidates = Candidates(keys, ms, said.rows[ready], said.p[ready], following)

    def pairs(self, *, soon: bool = False, whole: bool = False) -> Pairs:
        """Pairs for one horizon, from `start` or the first one on; for the longer one those that are `closed`."""
        asked, said = self.asked, self.said
        customers = self.customers_of[asked.pair_keys]
        found = Pairs(
            customers,
            self.subjects_of[asked.pair_keys],
            asked.pair_rows,
            within(self._first, asked.pair_ms, self.soon_ms if soon else self.horizon_ms),
            said.pair_soon if soon else said.pair_scores,
            -asked.pair_ages.astype(float),
        )
        late_enough = np.arange(len(customers)) >= (0 if whole else self.start)
        return only(found, self.judged[customers] & late_enough & (self.closed if soon else True))

    def foreseen(self) -> Pairs:
        """Pairs that the model brought in: judged candidates of detect lines that the customer had never touched."""
        asked, said = self.asked, self.said
        new = (self._first_touches()[said.keys] > said.rows) & (said.rows >= self.from_row)
        keys, ms = said.keys[new], said.ms[new]
        first = next_time(keys, ms, asked.outcome_keys, asked.outcome_ms)
        labels = within(first, ms, self.horizon_ms)
        nothing = np.full(len(keys), np.nan)
        return Pairs(self.customers_of[keys], self.subjects_of[keys], said.rows[new], labels, said.p[new], nothing)

    def never_touched(self, alarms: Alarms) -> Bools:
        """Alarms for subjects that their customers had never touched."""
        new: Bools = self._first_touches()[alarms.keys] > alarms.rows
        return new

    def _first_touches(self) -> Ints:
        """By key the row of the first touch; for a key that was never touched, a row after all."""
        first = np.full(len(self.customers_of), len(self.asked.event_ms), np.int64)
        first[list(self.asked.first_touches)] = list(self.asked.first_touches.values())
        return first

    def sounding(self, bounds: float | Floats) -> Ints:
        """Candidates (row numbers) that sound at p >= bound, one bound for all or each its own, after cooling down."""
        keys, ms, _, p, following = self.candidates
        rows = np.flatnonzero(p >= bounds)
        return rows[cooled_down(keys[rows], ms[rows], following[rows], self.horizon_ms)]

    def told(self, sounding: Ints, from_row: int) -> tuple[Alarms, Outcomes]:
        """If these candidates sound: the alarms from an event on, and all outcomes, of the judged customers."""
        asked, rows = self.asked, sounding[self.candidates.rows[sounding] >= from_row]
        keys, ms = self.candidates.keys[rows], self.candidates.ms[rows]
        judged = worth(keys, ms, asked.outcome_keys, asked.outcome_ms, self.horizon_ms)
        alarms = Alarms(
            keys,
            ms,
            self.customers_of[keys],
            self.subjects_of[keys],
            self.candidates.rows[rows],
            judged.right,
            judged.caught,
            judged.lead_ms,
        )
        outcomes = Outcomes(
            self.customers_of[asked.outcome_keys],
            self.subjects_of[asked.outcome_keys],
            asked.outcome_rows,
            self.said.ranks,
            asked.rule_ranks,
            self.said.next_ranks,
            self._popular,
            judged.warned,
        )
        return alarms, only(outcomes, self.judged[outcomes.customers])

    def part(self, sounding: Ints, *, whole: bool = False) -> Part:
        """The judged part, or the `whole` from the first pair on, if these candidates sound."""
        from_row = 0 if whole else self.from_row
        alarms, outcomes = self.told(sounding, from_row)
        wanted = only(outcomes, outcomes.rows >= from_row)
        return Part(self.pairs(whole=whole), self.pairs(soon=True, whole=whole), outcomes, wanted, alarms)
