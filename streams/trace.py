"""One event on its way: a recording replayed in process up to it, and what each part of the way made of it.

The replay is the ordinary one, so the event meets the same model and states. The step in which it came is then worked
again with the event in a chunk of its own, which changes no answer (`intents/detect.py`), so that step, commit and
outbox are those of the one record.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import msgspec
import numpy as np

from features.core_bundle import CORE
from features.kinds import OUTCOMES
from features.log import I64
from features.memory_store import MemoryStore
from features.store import Commit, Cursor, PartitionKey
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.intent import Intent
from intents.life import Change
from intents.model import Model
from intents.training import Trainer
from sinks.records import Record
from streams.engine import Engine, Partition, Piece, Step
from streams.inprocess import InProcess, Output
from streams.occurrences import occurrences
from streams.partitioner import PARTITIONERS
from streams.recordings import Recording, RecordingBatch
from streams.settings import Settings

PARTITIONS: Final = 8
"""Of the imagined topic, as a replay in process has them by default."""
LOOK_ON: Final = 1_000
"""Records that are looked through, after the first intent, for one on a declared journey."""

Told = Callable[[RecordingBatch, int], None]
"""Told how many records were worked, with the batch worked last."""


class NothingToTrace(Exception):
    """No event of the recording is the one asked for; says what to ask for instead."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which event: one by its id, or the first that led to an intent: of one customer, or in the last third."""

    event_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the trainer will learn: by subject, ms until its first outcome within the horizon, and the outcome's kind.

    `known`: the recording goes on until the watermark has passed the horizon.
    """

    known: bool
    outcomes: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Traced:
    """One record on its way: the `number`-th of `total` (from 1), the step and commit it led to, the model that spoke.

    `before` are the stored states of `step.customers` before the step; `dead` the dead letters it led to. `event` is
    the event of `step.batch` that is told of (-1: the record was refused), `answer` what came of its question.
    """

    recording: Recording
    number: int
    total: int
    key: bytes
    value: bytes
    setup: Setup
    model: Model
    step: Step
    commit: Commit
    before: list[bytes | None]
    dead: list[Record]
    event: int
    answer: Answer

    @property
    def changes(self) -> list[tuple[Change, Intent, Record]]:
        """The event's own changes of intents, with what is published of each; those that show most come first.

        Deadlines that passed meanwhile are not among them.
        """
        published = zip(self.step.detected.changes, self.step.intents[0], self.step.records[0], strict=False)
        mine = [
            (change, intent, record)
            for (change, _), intent, record in published
            if not change.deadline and change.event == self.event
        ]
        return sorted(mine, key=lambda found: -_worth(found[1]))


async def trace(recording: Recording, settings: Settings, catalogue: Catalogue, wanted: Wanted, told: Told) -> Traced:
    """Replay `recording`, learning on the way, up to the wanted event; raises NothingToTrace."""
    setup = Setup(CORE, catalogue, catalogue.names, rules=settings.rules, namespace=settings.namespace)
    replay = InProcess(
        setup,
        Model.untrained(CORE),
        topic=settings.clickstream,
        partitions=PARTITIONS,
        partitioner=settings.partitioner,
        lateness_ms=settings.lateness_s * 1000,
        trainer=Trainer(CORE, settings.horizon_s * 1000, durable=False),
        topics=settings.topics,
    )
    witness = replay.engine = _Witness(**_fields_of(replay.engine))
    search = _Search(recording, settings, wanted, bool(catalogue.journeys))
    worked = 0
    for batch in recording.batches():
        async for output in replay.run(batch):
            worked += output.records
            told(batch, worked)
            if search.look(output, witness.worked):
                return await _traced(search, witness, settings)
            witness.worked.clear()
    if search.found is None:
        raise NothingToTrace(search.nothing())
    return await _traced(search, witness, settings)


def _fields_of(engine: Engine) -> "dict[str, object]":
    return {item.name: getattr(engine, item.name) for item in fields(Engine)}
