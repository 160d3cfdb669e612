"""A model again, slow and obvious: its counts read row by row, its arithmetic one number at a time.

It judges how intents/model.py and intents/head.py score, and Tables.columns; how the tables are kept is judged in
test_tables.py, how heads learn by naive_head.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from intents.head import Head, Regression
from intents.model import Model
from intents.tables import OUTCOME_WEIGHT


@dataclass
class NaiveModel:
    """A frozen model, read row by row."""

    model: Model

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of each subject."""
        subjects = self.model.tables.subjects
        return {int(key): row for row, key in enumerate(subjects.keys[: subjects.size])}

    @cached_property
    def moves(self) -> dict[tuple[int, int], tuple[float, ...]]:
        """Transitions into a view and into an outcome, and meetings, by (from row, to row)."""
        tables, found = self.model.tables, {}
        for row, key in enumerate(tables.transitions.keys[: tables.transitions.size].tolist()):
            found[(key >> 32) - 1, (key & 0xFFFF_FFFF) - 1] = tuple(tables.moves[:, row].tolist())
        return found

    def total(self, which: int, subject: int) -> float:
        """Views (0), outcomes (1), transitions from it into a view (2) or an outcome (3), or meetings (4)."""
        row = self.rows.get(subject)
        return float(self.model.tables.totals[which, row]) if row is not None else 0.0

    def nexts(self, subject: int) -> list[tuple[int, float]]:
        """The likeliest next subjects with their shares of all transitions, 8 more taken for granted."""
        row = self.rows.get(subject)
        if row is None:
            return []
        tables, subjects = self.model.tables, list(self.rows)
        all_ = self.total(2, subject) + OUTCOME_WEIGHT * self.total(3, subject) + 8
        pairs = zip(tables.successors[:, row].tolist(), tables.successor_counts[:, row].tolist(), strict=True)
        return [(subjects[int(to)], count / all_) for to, count in pairs if to >= 0]

    def met(self, subject: int, most: int) -> list[tuple[int, float]]:
        """The subjects met most, with their shares of all meetings, 8 more taken for granted."""
        row = self.rows.get(subject)
        if row is None:
            return []
        tables, subjects = self.model.tables, list(self.rows)
        pairs = zip(tables.companions[:most, row].tolist(), tables.companion_counts[:most, row].tolist(), strict=True)
        return [(subjects[int(to)], count / (self.total(4, subject) + 8)) for to, count in pairs if to >= 0]

    def wanted(self, subject: int) -> float:
        """The subject's share of all outcomes, and a tenth of that of all views."""
        tables = self.model.tables
        return float(
            0.9 * self.total(1, subject) / max(tables.outcomes, 1) + 0.1 * self.total(0, subject) / max(tables.views, 1)
        )

    def popular(self, most: int) -> list[int]:
        """The subjects with the most outcomes; of as many, with the most views; else in order of their rows."""
        return sorted(self.rows, key=lambda subject: (-self.total(1, subject), -self.total(0, subject)))[:most]

    def shares(self, candidates: Sequence[tuple[int, Sequence[float], Sequence[float]]]) -> list[float]:
        """Which (rank, vector, columns) is chosen: a softmax of the touched; those foreseen in order behind them."""
        choice, names, leading = self.model.choice, self.model.bundle.names, self.model.bundle.leading
        spread = [math.sqrt((square + 10) / (choice.lists + 10)) for square in choice.squares.tolist()]
        scores = []
        for rank, x, columns in candidates:
            if rank >= 64:
                continue
            own = [x[names.index(name)] for name in ("fresh_1h", "open", "run")]
            lift = columns[len(names) + 3] if rank == 0 else 0.0
            z = [sum(self.contributions(columns[leading:], rank)), *own, float(rank == 0), float(rank == 1), lift]
            scores.append(sum(w * v / s for w, v, s in zip(choice.weights.tolist(), z, spread, strict=True)))
        total = sum(math.exp(score - max(scores)) for score in scores)
        found = [math.exp(score - max(scores)) / total for score in scores]
        least = min(found, default=1.0)
        behind = [min(0.2 / max(place, 1), least) for place in range(len(found), len(candidates))]
        return found + behind

    def columns(self, subject: int, before: int, own_views: float, own_outcomes: float) -> list[float]:
        """What the model knows of a subject, after `before`, for somebody with these views and outcomes of it."""
        views, outcomes = self.total(0, subject), self.total(1, subject)
        all_views, all_outcomes = self.model.tables.views, self.model.tables.outcomes
        base = (all_outcomes + 1) / (all_views + 30)
        prior = (outcomes + 25 * base) / (views + 25)
        came, went = self.rows.get(before, -1), self.rows.get(subject, -1)
        to_view, to_outcome, _ = self.moves.get((came, went), (0.0, 0.0, 0.0))

        def lift(moved: float, leaving: float, seen: float, all_: float) -> float:
            share = (seen + 1) / (all_ + max(len(self.rows), 1))
            return math.log((moved + 8 * share) / (leaving + 8) / share)

        return [
            math.log(prior / base),
            math.log1p(views),
            lift(to_outcome, self.total(3, before), outcomes, all_outcomes),
            lift(to_view, self.total(2, before), views, all_views),
            math.log((own_outcomes + 4 * prior) / (own_views + 4) / base),
        ]

    def contributions(self, columns: Sequence[float], rank: int) -> list[float]:
        """What each column adds to the logit of `now`."""
        return contributions(_of(self.model.now, rank), columns)

    def probability(self, columns: Sequence[float], rank: int) -> float:
        """What is served: the model's word, or the rate of outcomes at that recency rank or a better one.

        That is as long as the model is not ready, or loses.
        """
        if self.model.losing or not believed(self.model.now):
            asked, positive = self.model.tables.ranks.tolist()
            return float(min((positive[r] + 0.1) / (asked[r] + 10) for r in range(min(rank, 15) + 1)))
        return probability(_of(self.model.now, rank), columns)

    def said(self, columns: Sequence[float], rank: int) -> float:
        """The model's own word, whatever is served; nothing (NaN) before it is ready."""
        return probability(_of(self.model.now, rank), columns) if believed(self.model.now) else math.nan

    def soon(self, columns: Sequence[float], rank: int) -> float | None:
        """Its word on the next 24 hours, if both heads are ready, and it does not lose."""
        if self.model.losing or not (believed(self.model.now) and believed(self.model.soon)):
            return None
        return max(probability(_of(self.model.soon, rank), columns), probability(_of(self.model.now, rank), columns))


def believed(head: Head) -> bool:
    """Whether a head has learned from 50 positive and 500 negative labels."""
    parts = (head.touched, head.foreseen)
    return sum(part.positives for part in parts) >= 50 and sum(part.negatives for part in parts) >= 500


def _of(head: Head, rank: int) -> Regression:
    return head.foreseen if rank >= 64 else head.touched


def contributions(regression: Regression, columns: Sequence[float]) -> list[float]:
    """What each column adds to a regression's logit: nothing where it never varied."""
    found, slope = [], float(regression.calibration[0])
    for j, x in enumerate(columns):
        deviation = math.sqrt(regression.variances[j])
        z = (x - float(regression.means[j])) / deviation if deviation > 1e-9 else 0.0
        found.append(slope * float(regression.weights[j]) * z)
    return found


def probability(regression: Regression, columns: Sequence[float]) -> float:
    """σ of the calibrated logit."""
    slope, offset = regression.calibration.tolist()
    logit = slope * float(regression.weights[-1]) + offset + sum(contributions(regression, columns))
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))
