"""What each group of features is worth: heads that learn without it, and from it alone, beside the trainer's own."""

from typing import Final

import numpy as np

from features.bundle import Bundle
from features.log import I64
from intents.choice import COLUMNS
from intents.comparison import ColumnSubset, Learner, LearnerComparison
from intents.head import Head
from intents.model import NOW_INTERCEPT, regressed_names
from intents.tables import MODEL_FEATURES

MODEL: Final = "model"
"""The group of the columns from the model's tables."""
WITHOUT: Final = "without "
ALONE: Final = "only "
CHOICE_GROUPS: Final = {
    "detection's logit": ("logit",),
    "recency": ("fresh_1h", "first", "second"),
    "choice": ("open", "run"),
    "model": ("first_lift",),
}
"""Columns of a choice by group; those of `choice` nothing else reads."""


def groups(bundle: Bundle) -> dict[str, I64]:
    """Numbers of the columns that heads read, by group, in order."""
    own = [feature.group for feature in bundle.features[bundle.leading :]] + [MODEL] * len(MODEL_FEATURES)
    return {name: np.flatnonzero(np.array(own) == name) for name in dict.fromkeys(own)}


def ablation(bundle: Bundle) -> LearnerComparison:
    """A watcher with a learner without each group, and one of each group alone; and the same of the choice's columns.

    Names of learners begin with WITHOUT or ALONE; the choice's have WITHOUT only.
    """
    everything = np.arange(len(regressed_names(bundle)))
    found: dict[str, Learner] = {}
    for name, columns in groups(bundle).items():
        for how, kept in ((WITHOUT, np.setdiff1d(everything, columns)), (ALONE, columns)):
            found[how + name] = ColumnSubset(Head.empty(len(kept), NOW_INTERCEPT), kept)
    choice = {WITHOUT + name: [COLUMNS.index(column) for column in columns] for name, columns in CHOICE_GROUPS.items()}
    return LearnerComparison(found, choice=choice)
