"""Which record of a recording a trace is about: found in what a replay gives out, by its id or by what it led to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from features.log import I64
from intents.intent import Intent
from sinks.records import Record
from streams.inprocess import PARTITIONS, Output
from streams.partitioner import PARTITIONERS
from streams.recordings import Recording, RecordingBatch
from streams.trace_again import Worked

LOOK_ON: Final = 1_000
"""Records that are looked through, after the first intent, for one on a declared journey."""


class NothingToTrace(Exception):
    """No event of the recording is the one asked for; says what to ask for instead."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which event: one by its id, or the first that led to an intent: of one customer, or in the last third."""

    event_id: str | None = None
    customer_id: str | None = None


def worth(intent: Intent) -> int:
    """How much an intent shows: 2 a new one on a declared journey that goes on, 1 any new one, 0 another change."""
    if intent.status != "detected":
        return 0
    return 2 if intent.journey.name and intent.journey.next else 1


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
class Found:
    """A record that could be told of: where it is, the step it came in, and its dead letter if it has one."""

    number: int
    partition: int
    offset: int
    worth: int
    worked: Worked
    dead: Record | None


@dataclass(slots=True)
class Search:
    """Looks for the wanted record in what a replay gives out; `over` once there is nothing better to come.

    An intent of the worth `enough` is taken at once; after another one, `look_on` records are looked through for it.
    """

    recording: Recording
    partitioner: str
    wanted: Wanted
    enough: int
    look_on: int = LOOK_ON
    found: Found | None = None
    over: bool = False
    total: int = 0
    _target: int = 0  # number of the record with the wanted id
    _numbers: list[I64] = field(default_factory=list)  # by partition: the numbers of its records, from 1
    _dead: dict[tuple[int, int], Record] = field(default_factory=dict)  # letters come with a batch's first output

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
        for letter in output.dead:
            source = dict(letter.headers)
            self._dead[int(source["partition"]), int(source["offset"])] = letter
        if self._target:
            for partition, numbers in enumerate(self._numbers):
                for offset in np.flatnonzero(numbers == self._target).tolist():
                    self._note(partition, offset, 0, worked)
            self.over = self.found is not None
            return
        for intent, _ in output.intents:
            number = int(self._numbers[intent.source.partition][intent.source.offset])
            shows = min(worth(intent), self.enough)
            if shows and self._fits(intent, number) and (self.found is None or shows > self.found.worth):
                if self.found is not None and number > self.found.number + self.look_on:
                    break
                self._note(intent.source.partition, intent.source.offset, shows, worked)
        if self.found is not None:
            self.over = self.found.worth >= self.enough or self._past(worked) > self.found.number + self.look_on

    def _fits(self, intent: Intent, number: int) -> bool:
        if self.wanted.customer_id is not None:
            return intent.customer_id == self.wanted.customer_id
        return number > self.total - self.total // 3

    def _past(self, worked: list[Worked]) -> int:
        """Number of the last record of some steps."""
        ends = [(piece.partition.key.partition, piece.chunk.end) for step in worked for piece in step.pieces]
        return max((int(self._numbers[partition][end - 1]) for partition, end in ends if end), default=0)

    def _note(self, partition: int, offset: int, shows: int, worked: list[Worked]) -> None:
        for step in worked:
            if step.place(partition, offset) is not None:
                number = int(self._numbers[partition][offset])
                self.found = Found(number, partition, offset, shows, step, self._dead.get((partition, offset)))

    def nothing(self) -> str:
        """Why nothing was found, and an event that could be traced instead."""
        path, customer = self.recording.path, self.wanted.customer_id
        mine: list[str] = []
        for batch in self.recording.batches():
            named = zip(_ids(batch), batch.keys, strict=True)
            mine += [name for name, key in named if name and (customer is None or key == customer.encode())]
        if not mine:
            return f"{path} has no event of customer {customer!r}"
        where = f"{path}'s last third" if customer is None else f"the {len(mine):,} of customer {customer}"
        return f"no event of {where} led to an intent; any event's way is shown by --event, say --event {mine[-1]}"
