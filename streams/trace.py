"""One event on its way: a recording replayed in process up to it, and what each part of the way made of it.

The replay is the ordinary one, so the event meets the same model and states. The step in which it came is then worked
again with the event in a chunk of its own, which changes no answer (`intents/detect.py`), so that step, commit and
outbox are those of the one record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from features.core_bundle import CORE
from features.store import Commit
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.intent import Intent
from intents.life import Change
from intents.model import Model
from intents.training import Trainer
from sinks.records import Record
from streams.engine import Step
from streams.inprocess import InProcess
from streams.recordings import Recording, RecordingBatch
from streams.settings import Settings
from streams.trace_again import Witness, Worked, work_alone

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


def _worth(intent: Intent) -> int:
    """How much an intent shows: 2 a new one on a declared journey that goes on, 1 any new one, 0 another change."""
    if intent.status != "detected":
        return 0
    return 2 if intent.journey.name and intent.journey.next else 1


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
    witness = replay.engine = Witness.of(replay.engine)
    search = _Search(recording, settings.partitioner, wanted, 2 if catalogue.journeys else 1)
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


class _Id(msgspec.Struct):
    event_id: str = ""


def _ids(batch: RecordingBatch) -> Iterator[str]:
    decoder = msgspec.json.Decoder(_Id)
    for value in batch.values:
        try:
            yield decoder.decode(value).event_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A record that could be told of: where it is, the step it came in, and its dead letters."""

    number: int
    partition: int
    offset: int
    worth: int
    worked: Worked
    dead: list[Record]


@dataclass(slots=True)
class _Search:
    """Looks for the wanted record in what a replay gives out; `over` once there is nothing better to come."""

    recording: Recording
    partitioner: str
    wanted: Wanted
    enough: int
    found: _Found | None = None
    over: bool = False
    total: int = 0
    _target: int = 0  # number of the record with the wanted id
    _numbers: list[I64] = field(default_factory=list)  # by partition: the numbers of its records, from 1

    def __post_init__(self) -> None:
        """Look through the recording: where each record will be, and which one has the wanted id."""
        place, places = PARTITIONERS[self.partitioner], list[int]()
        named = {self.wanted.event_id, (self.wanted.event_id or "").split("#")[0]} - {None, ""}
        for batch in self.recording.batches():
            if named and not self._target:
                self._target = next((n for n, name in enumerate(_ids(batch), len(places) + 1) if name in named), 0)
            places += [place(key, PARTITIONS) for key in batch.keys]
        self.total = len(places)
        self._numbers = [np.flatnonzero(np.array(places) == number) + 1 for number in range(PARTITIONS)]
        if self.wanted.event_id is not None and not self._target:
            raise NothingToTrace(f"{self.recording.path} has no event {self.wanted.event_id!r}")

    def look(self, output: Output, worked: list[Worked]) -> None:
        """Look at what some records led to, and the steps that they were worked in."""
        if self._target:
            for partition, numbers in enumerate(self._numbers):
                for offset in np.flatnonzero(numbers == self._target).tolist():
                    self._note(partition, offset, 0, worked, output)
            self.over = self.found is not None
            return
        for intent, _ in output.intents:
            number = int(self._numbers[intent.source.partition][intent.source.offset])
            worth = min(_worth(intent), self.enough)
            if worth and self._fits(intent, number) and (self.found is None or worth > self.found.worth):
                if self.found is not None and number > self.found.number + LOOK_ON:
                    break
                self._note(intent.source.partition, intent.source.offset, worth, worked, output)
        if self.found is not None:
            self.over = self.found.worth >= self.enough or self._past(worked) > self.found.number + LOOK_ON

    def _fits(self, intent: Intent, number: int) -> bool:
        if self.wanted.customer_id is not None:
            return intent.customer_id == self.wanted.customer_id
        return number > self.total - self.total // 3

    def _past(self, worked: list[Worked]) -> int:
        """Number of the last record of some steps."""
        ends = [(piece.partition.key.partition, piece.chunk.end) for step in worked for piece in step.pieces]
        return max((int(self._numbers[partition][end - 1]) for partition, end in ends if end), default=0)

    def _note(self, partition: int, offset: int, worth: int, worked: list[Worked], output: Output) -> None:
        source = {("partition", str(partition).encode()), ("offset", str(offset).encode())}
        dead = [letter for letter in output.dead if source <= set(letter.headers)]
        for step in worked:
            if step.place(partition, offset) is not None:
                number = int(self._numbers[partition][offset])
                self.found = _Found(number, partition, offset, worth, step, dead)

    def nothing(self) -> str:
        """Why nothing was found, and an event that could be traced instead."""
        path, customer = self.recording.path, self.wanted.customer_id
        named = (
            (name, key) for batch in self.recording.batches() for name, key in zip(_ids(batch), batch.keys, strict=True)
        )
        mine = [name for name, key in named if name and (customer is None or key == customer.encode())]
        if not mine:
            return f"{path} has no event of customer {customer!r}"
        where = f"{path}'s last third" if customer is None else f"the {len(mine):,} of customer {customer}"
        return f"no event of {where} led to an intent; any event's way is shown by --event, say --event {mine[-1]}"


async def _traced(search: _Search, witness: Witness, settings: Settings) -> Traced:
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
