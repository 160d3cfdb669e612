"""What a model knows across customers.

Each subject's views and outcomes, journeys' transitions, and rates by recency rank.

`train` counts into its tables and freezes a copy into each snapshot; workers only read theirs. Both add the
model-side columns of a vector with the one function `Tables.columns`.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import I64, U64, Bool
from intents.counts import F64, KeyedRows, grown

SUCCESSORS: Final = 8
COMPANIONS: Final = 32
OUTCOME_WEIGHT: Final = 4.0
"""How many transitions to a view one to an outcome is worth, when the likeliest next subjects are looked for."""
RANKS: Final = 16
"""Recency ranks that have a rate of their own; later ones, and subjects never touched, share the last."""
_PRIOR_VIEWS: Final = 25.0
_PAIR_PRIOR: Final = 4.0
_SMOOTHING: Final = 8.0
_MOST_LOG: Final = 40.0  # of a pair's own log1p counts: nobody has more, and damaged examples must not overflow

MODEL_FEATURES: Final = ("subject_conversion", "subject_views", "outcome_lift", "view_lift", "pair_conversion")
"""Names of the model-side columns, in order."""


@dataclass(slots=True)
class Tables:
    """Counts by subject and by transition; weights are 1 / share, so that a sample counts as the whole.

    `totals` (5, s): views, outcomes, transitions seen leaving to a view, to an outcome, meetings. `moves` (3, t):
    transitions into a view, into an outcome, meetings in a session (both ways), of key (from row << 32 | to row).
    `successors` (SUCCESSORS, s) are the likeliest next subjects' rows (-1: none) and `successor_counts` their counts,
    `companions` and `companion_counts` (COMPANIONS, s) the same of meetings. `ranks` (2, RANKS): asked, positive.
    """

    subjects: KeyedRows = field(default_factory=KeyedRows)
    totals: F64 = field(default_factory=lambda: np.zeros((5, 64)))
    transitions: KeyedRows = field(default_factory=KeyedRows)
    moves: F64 = field(default_factory=lambda: np.zeros((3, 64)))
    successors: F64 = field(default_factory=lambda: np.zeros((SUCCESSORS, 64)))
    successor_counts: F64 = field(default_factory=lambda: np.zeros((SUCCESSORS, 64)))
    companions: F64 = field(default_factory=lambda: np.zeros((COMPANIONS, 64)))
    companion_counts: F64 = field(default_factory=lambda: np.zeros((COMPANIONS, 64)))
    ranks: F64 = field(default_factory=lambda: np.zeros((2, RANKS)))
    views: float = 0.0
    outcomes: float = 0.0

    def copy(self) -> "Tables":
        """An independent copy, for a snapshot."""
        return Tables(
            self.subjects.copy(),
            self.totals.copy(),
            self.transitions.copy(),
            self.moves.copy(),
            self.successors.copy(),
            self.successor_counts.copy(),
            self.companions.copy(),
            self.companion_counts.copy(),
            self.ranks.copy(),
            self.views,
            self.outcomes,
        )

    def count_view(self, subject: int, before: int, weight: float) -> None:
        """Count a view of `subject` by a customer whose previous other subject was `before` (0: none)."""
        row = self._row(subject)
        self.totals[0, row] += weight
        self.views += weight
        if before:
            self._move(self._row(before), row, 0, weight)

    def count_outcome(self, subject: int, recent: list[int]) -> None:
        """Count an outcome of `subject` after the `recent` other subjects (latest first; the first three count)."""
        row = self._row(subject)
        self.totals[1, row] += 1.0
        self.outcomes += 1.0
        for before in [other for other in recent if other != subject][:3]:
            self._move(self._row(before), row, 1, 1.0)

    def count_together(self, subject: int, others: list[int], weight: float) -> None:
        """Count that `subject` came up in a session in which there were `others` already."""
        row = self._row(subject)
        for other in others:
            there = self._row(other)
            for before, after in ((there, row), (row, there)):
                move = self._moved(before, after, 2, weight)
                _keep_best(self.companions[:, before], self.companion_counts[:, before], after, self.moves[2, move])

    def count_ranks(self, ranks: I64, positive: Bool, weights: F64) -> None:
        """Count resolved questions about the subjects of recency ranks (n,)."""
        place = np.minimum(ranks, RANKS - 1)
        self.ranks[0] += np.bincount(place, weights, RANKS)
        self.ranks[1] += np.bincount(place, weights * positive, RANKS)

    def _row(self, subject: int) -> int:
        known = self.subjects.size
        row = self.subjects.add(subject)
        if row == known:
            self.totals = grown(self.totals, row + 1)
            self.successor_counts = grown(self.successor_counts, row + 1)
            self.successors = grown(self.successors, row + 1)
            self.successors[:, row] = -1.0
            self.companion_counts = grown(self.companion_counts, row + 1)
            self.companions = grown(self.companions, row + 1)
            self.companions[:, row] = -1.0
        return row

    def _move(self, before: int, after: int, column: int, weight: float) -> None:
        row = self._moved(before, after, column, weight)
        count = float(self.moves[0, row] + OUTCOME_WEIGHT * self.moves[1, row])
        _keep_best(self.successors[:, before], self.successor_counts[:, before], after, count)

    def _moved(self, before: int, after: int, column: int, weight: float) -> int:
        row = self.transitions.add(((before + 1) << 32) | (after + 1))
        self.moves = grown(self.moves, row + 1)
        self.moves[column, row] += weight
        self.totals[2 + column, before] += weight
        return row

    def lookup(self, subjects: U64) -> I64:
        """Row of each subject, -1 where never counted."""
        return self.subjects.find(subjects)

    def likely_next(self, subjects: U64) -> tuple[U64, F64]:
        """(subjects, probability) (n, SUCCESSORS) of what follows each of `subjects` (n,).

        Probability 0 where there is nothing.
        """
        row = self.lookup(subjects)
        nexts = np.where(row >= 0, self.successors[:, row], -1.0).T.astype(np.int64)
        total = (
            np.where(row >= 0, self.totals[2, row] + OUTCOME_WEIGHT * self.totals[3, row], 0.0)[:, None] + _SMOOTHING
        )
        share = np.where(nexts >= 0, self.successor_counts[:, row].T / total, 0.0)
        return np.where(nexts >= 0, self.subjects.keys[nexts], np.uint64(0)), share

    def companions_of(self, subjects: U64, most: int) -> tuple[I64, F64, F64]:
        """(rows (n, most), shares of meetings (n, most), of the smoothing (n,)) of `subjects` (n,).

        Share 0 where there is nobody; a share s of the smoothing stands for popularity.
        """
        row = self.lookup(subjects)
        found = np.where(row >= 0, self.companions[:most, row], -1.0).T.astype(np.int64)
        total = np.where(row >= 0, self.totals[4, row], 0.0) + _SMOOTHING
        return (
            found,
            np.where(found >= 0, self.companion_counts[:most, row].T / total[:, None], 0.0),
            _SMOOTHING / total,
        )

    def popular(self, count: int) -> U64:
        """The most wanted subjects, at most `count`: by outcomes, views breaking ties."""
        size = self.subjects.size
        order = np.lexsort((-self.totals[0, :size], -self.totals[1, :size]))
        return self.subjects.keys[order[:count]]

    def wanted(self, subjects: U64) -> F64:
        """Each subject's share of all outcomes, and a little of all views (n,)."""
        row = self.lookup(subjects)
        views, outcomes = (np.where(row >= 0, self.totals[n, row], 0.0) for n in (0, 1))
        return 0.9 * outcomes / max(self.outcomes, 1.0) + 0.1 * views / max(self.views, 1.0)

    def popularity(self, subjects: U64) -> F64:
        """Each subject's share of all views and outcomes (n,)."""
        row = self.lookup(subjects)
        mine = np.where(row >= 0, self.totals[0, row] + self.totals[1, row], 0.0)
        return mine / max(self.views + self.outcomes, 1.0)

    def rank_rates(self) -> F64:
        """Smoothed outcome rate by recency rank (RANKS,), made non-increasing."""
        rates = (self.ranks[1] + 0.1) / (self.ranks[0] + 10.0)
        return np.minimum.accumulate(rates)

    def rates_of(self, ranks: I64) -> F64:
        """The rate of each recency rank (n,)."""
        return self.rank_rates()[np.minimum(ranks, RANKS - 1)]

    def columns(self, subjects: U64, before: U64, pair_views: F32, pair_outcomes: F32) -> F64:
        """Model-side columns (5, n) of pairs: MODEL_FEATURES as shrunk log-ratios.

        `before` is each customer's latest other subject (0: none), `pair_views` and `pair_outcomes` the pair's own
        log1p counts. Priors: 25 views for a subject's conversion, 4 for a pair's, 8 for a transition's.
        """
        row, origin = self.lookup(subjects), self.lookup(before)
        views = np.where(row >= 0, self.totals[0, row], 0.0)
        outcomes = np.where(row >= 0, self.totals[1, row], 0.0)
        known = max(self.subjects.size, 1)
        base = (self.outcomes + 1.0) / (self.views + 30.0)
        prior = (outcomes + _PRIOR_VIEWS * base) / (views + _PRIOR_VIEWS)
        key = ((origin + 1).astype(np.uint64) << np.uint64(32)) | (row + 1).astype(np.uint64)
        move = self.transitions.find(key)
        moved = (move >= 0) & (origin >= 0) & (row >= 0)
        out = np.empty((5, len(subjects)))
        out[0] = np.log(prior / base)
        out[1] = np.log1p(views)
        for place, column, seen, all_ in ((2, 1, outcomes, self.outcomes), (3, 0, views, self.views)):
            share = (seen + 1.0) / (all_ + known)
            leaving = np.where(origin >= 0, self.totals[2 + column, origin], 0.0)
            count = np.where(moved, self.moves[column, move], 0.0)
            out[place] = np.log((count + _SMOOTHING * share) / (leaving + _SMOOTHING) / share)
        own_views, own_outcomes = (
            np.expm1(np.clip(own.astype(np.float64), 0.0, _MOST_LOG)) for own in (pair_views, pair_outcomes)
        )
        out[4] = np.log((own_outcomes + _PAIR_PRIOR * prior) / (own_views + _PAIR_PRIOR) / base)
        return out


def previous_subject(subjects: U64, rank: I64, first: I64, touched: I64) -> U64:
    """Each pair's latest *other* subject (n,): the ask's latest, or for that one the second latest; 0 for none.

    `first` (n,) is the index of the pair's ask's latest subject, `touched` (n,) how many of the ask's pairs were
    touched.
    """
    other = np.where(rank == 0, first + 1, first)
    there = np.where(rank == 0, touched > 1, touched > 0)
    return np.where(there, subjects[np.where(there, other, 0)], np.uint64(0)) if len(subjects) else subjects


def _keep_best(nexts: F64, counts: F64, after: int, count: float) -> None:
    """Keep `after` among the largest, largest first (in place); a count only grows, so such a list stays exact."""
    place = np.flatnonzero(nexts == after)
    at = int(place[0]) if len(place) else len(nexts) - 1
    if not len(place) and count <= counts[at]:
        return
    to = int(np.searchsorted(-counts[:at], -count, "right"))
    nexts[to + 1 : at + 1], counts[to + 1 : at + 1] = nexts[to:at].copy(), counts[to:at].copy()
    nexts[to], counts[to] = after, count
