"""One event on its way: a recording replayed in process up to it, and what each part of the way made of it.

The records before it go through in batches; from where it may come, records go one by one, which changes no answer
(`intents/detect.py`), so that the step, the commit and the states around them are those of the one record.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Final

import msgspec

from features.core_bundle import CORE
from features.kinds import OUTCOMES
from features.store import Commit
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.intent import Intent
from intents.life import Change
from intents.model import Model
from intents.training import Trainer
from sinks.records import Record
from streams.engine import Engine, Piece, Step
from streams.inprocess import InProcess
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
    answer: Answer = field(default_factory=lambda: Answer(False, {}))

    @property
    def changes(self) -> list[tuple[Change, Intent, Record]]:
        """The event's own changes of intents, with what is published of each; first that which shows most (`rank`).

        Deadlines that passed meanwhile are not among them.
        """
        published = zip(self.step.detected.changes, self.step.intents[0], self.step.records[0], strict=False)
        mine = [
            (change, intent, record)
            for (change, _), intent, record in published
            if not change.deadline and change.event == self.event
        ]
        return sorted(mine, key=lambda found: -_worth(found[1]))

    def rank(self) -> int:
        """How well it shows the way: 2 for a new intent on a declared journey that goes on, 1 for any, 0 for none."""
        return max((_worth(intent) for _, intent, _ in self.changes), default=0)


def _worth(intent: Intent) -> int:
    if intent.status != "detected":
        return 0
    return 2 if intent.journey.name and intent.journey.next else 1


class _Witness(Engine):
    """An engine that remembers its last step, and the states before it."""

    seen: tuple[Step, Commit, list[bytes | None]]

    async def step(self, pieces: Sequence[Piece]) -> tuple[Step, list[Commit]]:
        """Work the step and remember its first piece: there is but one when records come one by one."""
        before = [blob for piece in pieces for blob in await self.store.peek(piece.partition.key, piece.customers)]
        step, commits = await Engine.step(self, pieces)
        self.seen = (step, commits[0], before)
        return step, commits


async def trace(recording: Recording, settings: Settings, catalogue: Catalogue, wanted: Wanted, told: Told) -> Traced:
    """Replay `recording`, learning on the way, up to the wanted event; raises NothingToTrace."""
    total, first = _look_ahead(recording, wanted)
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
    witness = _Witness(**{item.name: getattr(replay.engine, item.name) for item in fields(Engine)})
    replay.engine = witness
    alone = _alone(wanted, first)
    best: Traced | None = None
    for number, single, batch in _cut(recording, alone):
        dead: list[Record] = []
        async for output in replay.run(batch):
            dead += output.dead
            told(batch, number)
        if single:
            step, commit, before = witness.seen
            here = Traced(
                recording, number, total, batch.keys[0], batch.values[0], setup, witness.model, step, commit, before,
                dead, _event_of(step, wanted),
            )  # fmt: skip
            if wanted.event_id is not None:
                return _answered(here, settings)
            if here.rank() > (best.rank() if best else 0):
                best = here
        enough = 2 if catalogue.journeys and wanted.customer_id is None else 1
        if best is not None and (best.rank() >= enough or number > best.number + LOOK_ON):
            break
    if best is None:
        raise NothingToTrace(_nothing(recording, wanted))
    return _answered(best, settings)


class _Id(msgspec.Struct):
    event_id: str = ""


def _ids(batch: RecordingBatch) -> Iterator[str]:
    decoder = msgspec.json.Decoder(_Id)
    for value in batch.values:
        try:
            yield decoder.decode(value).event_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield ""


def _look_ahead(recording: Recording, wanted: Wanted) -> tuple[int, int]:
    """(records, number of the first one that may be wanted, from 1)."""
    total, found = 0, 0
    record_id = (wanted.event_id or "").split("#")[0]  # lines of a basket are one record's
    for batch in recording.batches():
        if wanted.event_id is not None and not found:
            at = [n for n, name in enumerate(_ids(batch), total + 1) if name and name in (wanted.event_id, record_id)]
            found = at[0] if at else 0
        total += len(batch.keys)
    if wanted.event_id is not None and not found:
        raise NothingToTrace(f"{recording.path} has no event {wanted.event_id!r}")
    return total, found or (1 if wanted.customer_id is not None else total - total // 3 + 1)


def _alone(wanted: Wanted, first: int) -> Callable[[int, bytes], bool]:
    """Tells, by number and key, which records go alone."""
    if wanted.customer_id is not None:
        key = wanted.customer_id.encode()
        return lambda number, of: of == key
    if wanted.event_id is not None:
        return lambda number, of: number == first
    return lambda number, of: number >= first


def _cut(recording: Recording, alone: Callable[[int, bytes], bool]) -> Iterator[tuple[int, bool, RecordingBatch]]:
    """(number of its last record, whether it goes alone, batch), the recording's batches cut around what goes alone."""
    done = 0
    for batch in recording.batches():
        single = {i for i, key in enumerate(batch.keys) if alone(done + i + 1, key)}
        for low, high in pairwise(sorted({0, len(batch.keys), *single, *(i + 1 for i in single)})):
            part = RecordingBatch(
                batch.keys[low:high], batch.values[low:high], batch.times_ms[low:high], batch.read_bytes
            )
            yield done + high, low in single, part
        done += len(batch.keys)


def _event_of(step: Step, wanted: Wanted) -> int:
    """The event to tell of: the one asked for, else the first that changed an intent, else the first; -1 if refused."""
    ids = step.batch.event_ids
    if wanted.event_id in ids:
        return ids.index(wanted.event_id)
    changed = [change.event for change, _ in step.detected.changes if not change.deadline]
    return min(changed, default=0) if ids else -1


def _answered(traced: Traced, settings: Settings) -> Traced:
    """The same, with what came of it later in the recording."""
    if traced.event < 0:
        return traced
    time, customer = int(traced.step.batch.time[traced.event]), traced.key.decode()
    end = time + settings.horizon_s * 1000
    place, partition = PARTITIONERS[settings.partitioner], traced.step.pieces[0].partition.key.partition
    known, outcomes = False, dict[str, tuple[int, str]]()
    for event in occurrences(traced.recording, traced.setup.catalogue):
        mine = event.customer_id == customer and event.kind in OUTCOMES
        if mine and time < event.time_ms <= end:
            for subject in event.subjects:
                outcomes.setdefault(subject, (event.time_ms - time, event.kind))
        later = event.time_ms > end + settings.lateness_s * 1000
        known = known or (later and place(event.customer_id.encode(), PARTITIONS) == partition)
    return replace(traced, answer=Answer(known, outcomes))


def _nothing(recording: Recording, wanted: Wanted) -> str:
    """Why there is nothing to trace, and an event that could be traced instead."""
    ids = (
        (name, key) for batch in recording.batches() for name, key in zip(_ids(batch), batch.keys, strict=True) if name
    )
    if wanted.customer_id is None:
        last = next(reversed(list(ids)), ("ID", b""))[0]
        return f"no event in the last third of {recording.path} led to an intent; --event {last} shows any event's way"
    mine = [name for name, key in ids if key == wanted.customer_id.encode()]
    if not mine:
        return f"{recording.path} has no event of customer {wanted.customer_id!r}"
    said = f"none of the {len(mine)} events of customer {wanted.customer_id} led to an intent"
    return f"{said}; --event {mine[-1]} shows any event's way"
