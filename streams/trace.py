"""One event on its way: a recording replayed in process up to it, and what each part of the way made of it.

The replay is the ordinary one, so the event meets the same model and states. The step in which it came is then worked
again with the event in a chunk of its own, which changes no answer (`intents/detect.py`), so that step, commit and
outbox are those of the one record.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from features.core_bundle import CORE
from features.kinds import OUTCOMES
from features.store import Commit
from intents.catalog import Catalogue
from intents.change import Change
from intents.detect import Setup
from intents.intent import Intent
from intents.model import Model
from intents.training import Trainer
from sinks.records import Record
from streams.engine import Step
from streams.inprocess import PARTITIONS, InProcess
from streams.occurrences import occurrences
from streams.partitioner import PARTITIONERS
from streams.recordings import Recording, RecordingBatch
from streams.settings import Settings
from streams.trace_again import Witness, work_alone
from streams.trace_search import NothingToTrace, Search, Wanted, worth

Told = Callable[[RecordingBatch, int], None]
"""Told how many events were worked, with the batch worked last."""


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

    `before` are the stored states of `step.customers` before the step; `dead` the dead letter it led to. `event` is
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
    dead: Record | None
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
        return sorted(mine, key=lambda found: -worth(found[1]))


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
        rebuild_ms=settings.rebuild_ms,
        trainer=Trainer(CORE, settings.horizon_s * 1000, durable=False),
        topics=settings.topics,
    )
    witness = replay.engine = Witness.of(replay.engine)
    enough = 2 if catalogue.journeys and wanted.customer_id is None else 1
    search = Search(recording, settings.partitioner, wanted, enough)
    count = 0
    for batch in recording.batches():
        async for output in replay.run(batch):
            count += output.events
            told(batch, count)
            search.look(output, witness.worked)
            witness.worked.clear()
            if search.over:
                break
        if search.over:
            break
    return await _traced(search, witness, settings)


async def _traced(search: Search, witness: Witness, settings: Settings) -> Traced:
    """Work the record that was found again, alone, and look up what came of it."""
    found = search.found
    if found is None:
        raise NothingToTrace(search.nothing())
    alone = await work_alone(witness, found.worked, found.partition, found.offset)
    ids = alone.step.batch.event_ids
    changed = [change.event for change, _ in alone.step.detected.changes if not change.deadline]
    event = ids.index(search.wanted.event_id) if search.wanted.event_id in ids else min(changed, default=0)
    key, value = next(
        (batch.keys[at], batch.values[at])
        for first, batch in _numbered(search.recording)
        if 0 <= (at := found.number - first) < len(batch.keys)
    )
    traced = Traced(
        recording=search.recording,
        number=found.number,
        total=search.total,
        key=key,
        value=value,
        setup=witness.setup,
        model=found.worked.model,
        step=alone.step,
        commit=alone.commit,
        before=alone.before,
        dead=found.dead,
        event=event if ids else -1,
        answer=Answer(False, {}),
    )
    return replace(traced, answer=_answer(traced, settings)) if ids else traced


def _numbered(recording: Recording) -> Iterator[tuple[int, RecordingBatch]]:
    """(number of its first record, batch)."""
    first = 1
    for batch in recording.batches():
        yield first, batch
        first += len(batch.keys)


def _answer(traced: Traced, settings: Settings) -> Answer:
    """What came of the event's question later in the recording."""
    time, customer = int(traced.step.batch.time[traced.event]), traced.key.decode()
    end = time + settings.horizon_s * 1000
    place, partition = PARTITIONERS[settings.partitioner], traced.step.pieces[0].partition.key.partition
    known, outcomes = False, dict[str, tuple[int, str]]()
    for event in occurrences(traced.recording, traced.setup.catalogue):
        if event.customer_id == customer and event.kind in OUTCOMES and time < event.time_ms <= end:
            for subject in event.subjects:
                outcomes.setdefault(subject, (event.time_ms - time, event.kind))
        later = event.time_ms > end + settings.lateness_s * 1000
        known = known or (later and place(event.customer_id.encode(), PARTITIONS) == partition)
    return Answer(known, outcomes)
