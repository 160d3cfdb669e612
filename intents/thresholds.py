"""Thresholds for people: what each is worth, and one chosen for a target, each day by the days before it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from intents.bootstrap import Measured, no_one
from intents.evidence import Evidence
from intents.metrics import Floats, Ints, within
from intents.targets import ENOUGH_OUTCOMES, GRID, Target
from intents.weighed import Emitted, Ratio

DAY_MS: Final = 24 * 60 * 60_000
PRIOR_ALARMS: Final = 50.0
"""An intent's precision is shrunk to that of all, as if it had so many alarms more, of theirs."""
PRECISIONS: Final = np.round(np.arange(2, 61) / 100, 2)
"""Precisions that thresholds by intent are made for; one of them is chosen by the target."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Thresholds chosen for a target, each day's on the days before it, and what they achieved in the judged part.

    `by_day` is (first ms of the UTC day, threshold), NaN where the days before say too little: then the fixed one is
    taken. `by_intent` are the last day's thresholds of intents with enough evidence: (name, outcomes before, bound).
    """

    target: Target
    by_day: list[tuple[int, float]]
    achieved: Measured
    by_intent: list[tuple[str, int, float]]
    achieved_by_intent: Measured


class Sweep:
    """All thresholds of GRID, with what each of them was worth by day and by intent."""

    def __init__(self, evidence: Evidence, fixed: float, told: Callable[[float, int], None] = no_one) -> None:
        self._evidence, self._fixed = evidence, fixed
        asked, candidates = evidence.asked, evidence.candidates
        days = asked.event_ms // DAY_MS
        self.first_day, self.days = (int(days.min()), int(days.max() - days.min()) + 1) if len(days) else (0, 0)
        self._day = days[candidates.rows] - self.first_day
        # An alarm is known to be right or wrong once its horizon is over: from the first day that begins after it.
        self._known = (candidates.ms + evidence.horizon_ms) // DAY_MS + 1 - self.first_day
        self._right = within(candidates.next_ms, candidates.ms, evidence.horizon_ms)
        self._subjects = evidence.subjects_of[candidates.keys]
        self._count_outcomes()
        self.sounding: list[Ints] = []
        shape = len(GRID), self.days + 1, len(self._intents) + 1
        self._alarms, self._hits = np.zeros(shape), np.zeros(shape)
        for place, threshold in enumerate(GRID.tolist()):
            rows = evidence.sounding(threshold)
            self.sounding.append(rows)
            cell = np.minimum(self._known[rows], self.days) * shape[2] + self._group[self._subjects[rows]]
            size = shape[1] * shape[2]
            self._alarms[place] = np.bincount(cell, minlength=size).reshape(shape[1:])
            self._hits[place] = np.bincount(cell, self._right[rows], size).reshape(shape[1:])
            told((place + 1) / len(GRID), place + 1)
        self._alarms, self._hits = self._alarms.cumsum(axis=1), self._hits.cumsum(axis=1)

    def _count_outcomes(self) -> None:
        """Outcomes by the day from which they are known, of intents that ever have enough of them and of the others."""
        evidence, asked = self._evidence, self._evidence.asked
        mine = evidence.judged[evidence.customers_of[asked.outcome_keys]]
        subjects = evidence.subjects_of[asked.outcome_keys[mine]]
        names = len(asked.subjects)
        counts = np.bincount(subjects, minlength=names)
        self._intents = np.flatnonzero(counts >= ENOUGH_OUTCOMES)
        self._group = np.full(names, len(self._intents))
        self._group[self._intents] = np.arange(len(self._intents))
        known = np.minimum(asked.outcome_ms[mine] // DAY_MS + 1 - self.first_day, self.days)
        width = len(self._intents) + 1
        cells = np.bincount(known * width + self._group[subjects], minlength=(self.days + 1) * width)
        self._outcomes = cells.reshape(self.days + 1, width).cumsum(axis=0)
        self._customer_days = np.zeros(self.days + 1, np.int64)
        active = self._active(0)
        self._customer_days[1:] = np.cumsum(np.bincount(active[:, 1], minlength=self.days)[: self.days])

    def _active(self, from_row: int) -> Ints:
        """(customer, day) of judged customers with an event then, from an event on; each once."""
        asked = self._evidence.asked
        customers, days = asked.event_customers[from_row:], asked.event_ms[from_row:] // DAY_MS - self.first_day
        mine = self._evidence.judged[customers]
        found: Ints = np.unique(np.stack([customers[mine], days[mine]], axis=1), axis=0)
        return found

    def measured(self, name: str, sounding: Ints) -> Measured:
        """What these alarms are worth in the judged part."""
        evidence, population = self._evidence, len(self._evidence.judged)
        alarms, outcomes = evidence.told(sounding, evidence.from_row)
        wanted = outcomes.rows >= evidence.from_row
        judged = alarms.worth(outcomes.warned[wanted])
        active = np.bincount(self._active(evidence.from_row)[:, 0], minlength=population)
        per_day = Ratio("alarms_per_customer_day", np.bincount(alarms.customers, minlength=population), active)
        emitted = Emitted(alarms.customers, outcomes.customers[wanted], judged, population)
        counts = {"alarms": len(alarms.rows), "outcomes": int(wanted.sum())}
        return Measured(name, counts, {"emission": emitted, "rate": per_day})

    def table(self) -> list[Measured]:
        """What each threshold of GRID is worth in the judged part, had it been fixed from the beginning."""
        return [
            self.measured(f"{threshold:.2f}", rows)
            for threshold, rows in zip(GRID.tolist(), self.sounding, strict=True)
        ]

    def choose(self, target: Target) -> Chosen:
        """Choose day by day, one threshold for all and thresholds by intent, and measure both."""
        by_day = [self._one(target, day) for day in range(self.days)]
        bounds = np.array([self._fixed if np.isnan(each) else each for each in by_day], float)
        achieved = self.measured(f"{target}", self._evidence.sounding(bounds[self._day]))
        tables = [self._by_intent(target, day) for day in range(self.days)]
        each = np.array(tables).reshape(self.days, len(self._intents) + 1)
        each = np.where(np.isnan(each), self._fixed, each)
        sounding = self._evidence.sounding(each[self._day, self._group[self._subjects]])
        names = self._evidence.asked.subjects
        last = self.days - 1
        told = [
            (names[intent], int(self._outcomes[last, place]), float(each[last, place]))
            for place, intent in enumerate(self._intents.tolist())
            if self._outcomes[last, place] >= ENOUGH_OUTCOMES
        ]
        begins = [(self.first_day + day) * DAY_MS for day in range(self.days)]
        return Chosen(
            target,
            list(zip(begins, by_day, strict=True)),
            achieved,
            sorted(told, key=lambda intent: -intent[1]),
            self.measured(f"{target}, by intent", sounding),
        )

    def _one(self, target: Target, day: int) -> float:
        """A day's threshold for all, NaN where nothing can be said."""
        place = self._best(target, day, self._alarms[:, day].sum(axis=1), self._hits[:, day].sum(axis=1))
        return float("nan") if place is None else float(GRID[place])

    def _by_intent(self, target: Target, day: int) -> Floats:
        """A day's thresholds, of intents and (last) of all others.

        For each of PRECISIONS every intent takes its loosest threshold that reaches it, by its own alarms and those of
        all; the target then chooses among these families of thresholds as it would among single ones.
        """
        alarms, hits = self._alarms[:, day], self._hits[:, day]
        everything = hits.sum(axis=1) / np.maximum(alarms.sum(axis=1), 1)
        shrunk = (hits + PRIOR_ALARMS * everything[:, None]) / (alarms + PRIOR_ALARMS)
        shrunk[:, self._outcomes[day] < ENOUGH_OUTCOMES] = everything[:, None]
        shrunk[:, -1] = everything
        reached = shrunk[None] >= PRECISIONS[:, None, None]
        places = np.where(reached.any(axis=1), reached.argmax(axis=1), len(GRID) - 1)
        columns = np.arange(alarms.shape[1])
        best = self._best(target, day, alarms[places, columns].sum(axis=1), hits[places, columns].sum(axis=1))
        found: Floats = np.full(alarms.shape[1], np.nan) if best is None else GRID[places[best]]
        return found

    def _best(self, target: Target, day: int, alarms: Floats, hits: Floats) -> int | None:
        """Which of some choices, the loosest first, meets the target by the days before; else which comes nearest.

        None where too few alarms, outcomes or customers were there.
        """
        outcomes, customer_days = float(self._outcomes[day].sum()), float(self._customer_days[day])
        return target.best(alarms, hits, outcomes, customer_days)
