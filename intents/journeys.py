"""Where a subject stands on a journey: declared in the catalogue, or learned from what customers wanted next."""

from typing import Final

import numpy as np

from intents.catalog import Catalogue
from intents.intent import JourneyStep
from intents.model import Model
from intents.subjects import Names, subject_hash

MIN_LIFT: Final = 3.0
"""A learned next subject is told only if it follows this much oftener than it is wanted anyway."""


class Journeys:
    """Journey steps by one catalogue and one model, computed when first asked for."""

    def __init__(self, catalogue: Catalogue, model: Model, names: Names) -> None:
        """`names` are those of the subjects that this worker has seen; the model knows others."""
        self.version, self.fallback = model.version, not model.believed
        self._catalogue, self._model, self._names = catalogue, model, names
        self._steps: dict[int, JourneyStep] = {}

    def name(self, subject: int) -> str:
        """A subject's name."""
        return self._names.get(subject) or self._model.names.get(subject) or f"{subject:016x}"

    def step(self, subject: int) -> JourneyStep:
        """The declared step of a subject, else its likeliest next subject."""
        found = self._steps.get(subject)
        if found is None:
            found = self._steps[subject] = self._find(subject)
        return found

    def _find(self, subject: int) -> JourneyStep:
        targets, shares = self._model.tables.likely_next(np.array([subject], dtype=np.uint64))
        staged = self._catalogue.stage(self.name(subject))
        if staged is not None:
            journey, index = staged
            after = journey.stages[index + 1] if index + 1 < len(journey.stages) else None
            share = float(shares[0][targets[0] == np.uint64(subject_hash(after))].sum()) if after else 0.0
            return JourneyStep(journey.name, index + 1, after, round(share, 4) if share else None)
        told = shares[0] * (shares[0] >= MIN_LIFT * self._model.tables.popularity(targets[0]))
        best = int(told.argmax())
        if not told[best]:
            return JourneyStep(None, None, None)
        return JourneyStep(None, None, self.name(int(targets[0, best])), round(float(told[best]), 4))
