"""Which of the touched subjects is next, given that something is: a listwise softmax, learned from each outcome.

Detection asks whether, and when; what decides between subjects is less, so this has few columns: the logit that
detection gives, and where the customer is just now. Each outcome is one step (a conditional logit, McFadden 1974, by
natural gradient): z = the columns less their list's mean, over σ; q = softmax(z'w); A += Σ q (z − z̄)(z − z̄)',
w −= A⁻¹ (z̄ − z of the chosen one).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.bundle import F32, Bundle
from features.log import I64
from intents.counts import F64
from intents.head import Regression
from intents.tables import MODEL_FEATURES

COLUMNS: Final = ("logit", "fresh_1h", "open", "run", "first", "second", "first_lift")
"""Columns of a choice: detection's logit, three of the bundle's, recency ranks 0 and 1, and view_lift at rank 0."""
NEEDED_LISTS: Final = 50
"""Outcomes that a choice must have learned from before it is believed."""
_PRIOR: Final = 10.0
_SPREAD_PRIOR: Final = 10.0
_MOST_AWAY: Final = 1_000.0  # from the mean that is learned: damaged numbers must not drown all else


@dataclass(slots=True)
class Choice:
    """The numbers of the choice: `weights` (c,), `precision` (c, c), `squares` (c,) of `lists` lists' columns."""

    weights: F64
    precision: F64
    squares: F64
    lists: int = 0

    @staticmethod
    def empty() -> "Choice":
        """A choice that has learned nothing: by the logit alone."""
        weights = np.zeros(len(COLUMNS))
        weights[0] = 1.0
        return Choice(weights, _PRIOR * np.eye(len(COLUMNS)), np.zeros(len(COLUMNS)))

    @property
    def ready(self) -> bool:
        """True once enough outcomes were learned."""
        return self.lists >= NEEDED_LISTS

    def copy(self) -> "Choice":
        """An independent copy."""
        return Choice(self.weights.copy(), self.precision.copy(), self.squares.copy(), self.lists)

    def score(self, columns: F64) -> F64:
        """What puts one candidate before another (n,), for columns (c, n)."""
        total = np.zeros(columns.shape[1])
        for weight, column in zip(self.weights / self._spread(), columns, strict=True):
            total += weight * column
        return total

    def learn(self, columns: F64, chosen: int) -> None:
        """Learn one list's columns (c, n) of which candidate `chosen` was taken; a list of one says nothing.

        Raises ValueError for a number that is not finite.
        """
        if not np.isfinite(columns).all():
            raise ValueError("a list to learn from has a number that is not finite")
        if columns.shape[1] < 2:
            return
        away = np.clip(columns - columns.mean(axis=1, keepdims=True), -_MOST_AWAY, _MOST_AWAY)
        z = away / self._spread()[:, None]
        logits = np.einsum("cn,c->n", z, self.weights)
        share = np.exp(logits - logits.max())
        share /= share.sum()
        mean = np.einsum("cn,n->c", z, share)
        apart = z - mean[:, None]
        added = np.einsum("cn,dn->cd", apart * share, apart)
        self.precision += (added + added.T) / 2.0  # symmetric to the last bit, by which a snapshot knows a sound one
        self.weights -= np.linalg.solve(self.precision, mean - z[:, chosen])
        self.squares += (away**2).mean(axis=1)
        self.lists += 1

    def _spread(self) -> F64:
        spread: F64 = np.sqrt((self.squares + _SPREAD_PRIOR) / (self.lists + _SPREAD_PRIOR))
        return spread


def choice_columns(bundle: Bundle, touched: Regression, columns: F32, ranks: I64) -> F64:
    """Columns (c, n) of a choice between subjects with the whole vectors (f, n) and recency `ranks` (n,)."""
    logit = np.zeros(columns.shape[1])
    for contribution in touched.contributions(columns[bundle.leading :]):
        logit += contribution
    own = [columns[bundle.names.index(name)].astype(np.float64) for name in COLUMNS[1:4]]
    lift = columns[len(bundle.features) + MODEL_FEATURES.index("view_lift")]
    return np.stack([logit, *own, ranks == 0, ranks == 1, np.where(ranks == 0, lift, 0.0)])
