"""The model as workers use it: an immutable snapshot of two heads over one vector, a choice, and the tables."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.bundle import F32, Bundle
from features.log import I64, U64
from intents.alarms import DEFAULT, Curve, InForce
from intents.choice import Choice
from intents.counts import F64
from intents.head import Head
from intents.tables import MODEL_FEATURES, Tables
from intents.targets import Target

SOON_MS: Final = 24 * 3_600_000
"""Horizon of the head `soon`; that of `now` is how long an intent lives."""
NOW_INTERCEPT: Final = -3.3
SOON_INTERCEPT: Final = -2.3
SOON_PRIOR: Final = 2_000.0
"""Labels of a whole day overlap: they say less than their number."""


@dataclass(frozen=True)
class Model:
    """A frozen model: its heads, tables, and the subjects' names; `version` names its snapshot.

    `now` says whether there is an outcome within an intent's horizon, `soon` within SOON_MS; `choice`, of what. One
    that is `losing` did worse than its fallback of late (`intents/progress.py`): the fallback is served. `curve` is
    what alarms at each threshold were worth.
    """

    bundle: Bundle
    now: Head
    soon: Head
    choice: Choice
    tables: Tables
    names: dict[int, str] = field(default_factory=dict)
    version: str = "none"
    variant: str = "main"
    name: str = "logistic"
    losing: bool = False
    curve: Curve = field(default_factory=Curve)

    @staticmethod
    def untrained(bundle: Bundle) -> "Model":
        """The model before the first label: not ready."""
        width = len(regressed_names(bundle))
        soon = Head.empty(width, SOON_INTERCEPT, SOON_PRIOR)
        return Model(bundle, Head.empty(width, NOW_INTERCEPT), soon, Choice.empty(), Tables())

    @property
    def ready(self) -> bool:
        """True once `now` has learned enough labels of both kinds."""
        return self.now.ready

    @property
    def believed(self) -> bool:
        """True if what the model says is served; else the fallback is."""
        return self.ready and not self.losing

    def threshold(self, wanted: float | Target) -> InForce:
        """The threshold at which this model tells of an intent: as set, or the one that meets a target."""
        if not isinstance(wanted, Target):
            return InForce(wanted, "as set")
        if not self.believed:
            return InForce(DEFAULT, f"until a model is served, for {wanted}")
        return self.curve.threshold(wanted)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that the heads read."""
        return regressed_names(self.bundle)

    def columns(self, vectors: F32, subjects: U64, before: U64) -> F32:
        """Whole vectors (f, n) by this snapshot's tables."""
        return whole_vectors(self.bundle, self.tables, vectors, subjects, before)

    def fallback(self, rank: I64) -> F64:
        """Probability by recency rank (n,), served until the model is believed."""
        return self.tables.rates_of(rank)


def regressed_names(bundle: Bundle) -> tuple[str, ...]:
    """Names of the columns that a model's heads read: all but those that only a choice does."""
    return bundle.names[bundle.leading :] + MODEL_FEATURES


def whole_vectors(bundle: Bundle, tables: Tables, vectors: F32, subjects: U64, before: U64) -> F32:
    """Customer-side columns as scored (f, n), then the model-side columns of `subjects` (n,) from `tables`.

    `before` (n,) is each customer's latest other subject. Workers and trainer both call this.
    """
    names = bundle.names
    views, outcomes = vectors[names.index("views_7d")], vectors[names.index("outcomes")]
    return np.concatenate([vectors, tables.columns(subjects, before, views, outcomes).astype(np.float32)])
