"""A made-up recording replayed with a trainer that is watched, every step of it written down."""

import asyncio
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from features.core_bundle import CORE
from intents.lessons import HeadName, Lesson, Pairs, Pick, Watcher
from intents.life import Rules
from intents.model import Model
from intents.training import Trainer
from streams.inprocess import InProcess
from tests.intents.replaying import made_up, replayed, setup_of

HORIZON_MS: Final = Rules().horizon_ms
RECORDS: Final = made_up(days=2.0)
"""Of two days, so that some of the questions of a day ahead are answered."""


@dataclass
class Written:
    """Everything that a trainer told, in order."""

    steps: list[tuple[HeadName, Pairs | Lesson]] = field(default_factory=list)
    picks: list[Pick] = field(default_factory=list)
    asks: bool = True

    def asked(self, head: HeadName, pairs: Pairs) -> None:
        """Write it down."""
        self.steps.append((head, pairs))

    def learned(self, head: HeadName, lesson: Lesson) -> None:
        """Write it down."""
        self.steps.append((head, lesson))

    def picked(self, pick: Pick) -> None:
        """Write it down."""
        self.picks.append(pick)

    def of(self, head: HeadName) -> list[Pairs | Lesson]:
        """The steps of one head."""
        return [step for name, step in self.steps if name == head]

    def tell(self, watcher: Watcher) -> None:
        """Everything again."""
        for head, step in self.steps:
            if isinstance(step, Pairs):
                watcher.asked(head, step)
            else:
                watcher.learned(head, step)
        for pick in self.picks:
            watcher.picked(pick)


def trained(watcher: Watcher | None) -> Trainer:
    """A trainer after the recording."""
    trainer = Trainer(CORE, HORIZON_MS, durable=False)
    if watcher is not None:
        trainer.watch(watcher)
    asyncio.run(replayed(InProcess(setup_of(), Model.untrained(CORE), trainer=trainer), RECORDS))
    return trainer


@cache
def watched() -> tuple[Trainer, Written]:
    """The trainer, and what it told."""
    written = Written()
    return trained(written), written
