"""All that a trainer needs to go on, or to begin with."""

from dataclasses import dataclass, field, replace

from intents.cooldowns import Sounded
from intents.model import Model
from intents.progress import Progress
from intents.questions import Question
from intents.reading import Reading
from intents.tables import Tables


@dataclass(slots=True)
class Checkpoint:
    """All a trainer needs to go on.

    The model, how far it has read, tables and reading as they were before `oldest`, the questions that wait for `soon`
    alone, of a sample with this share, how good the model was, and what was cooling down before `oldest`, of a share of
    the customers.
    """

    model: Model
    reading: Reading
    base: Tables
    base_reading: Reading
    later: list[Question] = field(default_factory=list)
    soon_share: float = 1.0
    progress: Progress = field(default_factory=Progress)
    sounded: list[Sounded] = field(default_factory=list)
    cooling_share: float = 1.0

    @staticmethod
    def beginning(model: Model) -> "Checkpoint":
        """Where a trainer is that was given this model, and has read nothing; one that was losing has to win first."""
        progress = Progress(losing=model.losing)
        model = replace(model, curve=model.curve.undated())
        return Checkpoint(model, Reading(), model.tables.copy(), Reading(), progress=progress)
