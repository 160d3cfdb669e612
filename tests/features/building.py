"""Events in plain words, made into chunks and batches, and worked through the features as a partition's owner would."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from features.aggregates import Aggregates
from features.apply import STATE_MS, Wave, erase, waves
from features.events import Batch, Chunk
from features.kinds import CODE, KINDS
from features.log import I64, MORE
from features.pairs import Pairs
from features.state import States, decode, encode
from features.tombstones import REBUILD_MS, Tombstones
from features.windows import Asks, View
from tests.features.naive_log import Entry, Event, NaiveLogs, Told

LATENESS_MS: Final = 120_000
HASH: Final = "0badcafe"
"""A bundle's hash."""


def chunk(events: Sequence[Event], start: int = 0, partition: int = 0, step: int = 1) -> Chunk:
    """Events as one partition's chunk; offsets begin at `start`, `step` apart."""
    offsets = np.zeros(len(events) + 1, dtype=np.int64)
    np.cumsum([len(event.subjects) for event in events], out=offsets[1:])
    time = np.array([event.time for event in events], dtype=np.int64)
    return Chunk(
        topic="clickstream",
        partition=partition,
        start=start,
        end=start + len(events) * step,
        customers=[event.customer for event in events],
        event_ids=[f"e{event.id}" for event in events],
        kind=np.array([CODE[event.kind] for event in events], dtype=np.uint8),
        time=time,
        clock=time,
        offset=start + step * np.arange(len(events)),
        index=np.zeros(len(events), dtype=np.int64),
        id=np.array([event.id for event in events], dtype=np.uint64),
        product=np.array([event.product for event in events], dtype=np.uint32),
        value=np.array([event.value for event in events], dtype=np.int32),
        subjects=np.array([subject for event in events for subject in event.subjects], dtype=np.uint64),
        subject_offsets=offsets,
    )


def batch_of(events: Sequence[Event], customers: Sequence[str], before_ms: int = -1) -> Batch:
    """Events of one partition as a batch; `customers` are the rows of the states."""
    rows = np.array([customers.index(event.customer) for event in events], dtype=np.int64)
    return Batch.of([chunk(events)], rows, [before_ms], LATENESS_MS)


def watermarks(events: Iterable[Event]) -> Iterator[int]:
    """The partition's watermark at each event: the newest time so far, less the lateness."""
    mark = -1
    for event in events:
        mark = max(mark, event.time - LATENESS_MS)
        yield mark


@dataclass(frozen=True)
class Worked:
    """A wave while its logs can be read; `begin` is the number, among all events, of the batch's first."""

    states: States
    batch: Batch
    wave: Wave
    begin: int

    def numbers(self) -> list[int]:
        """Numbers, among all events, of the wave's events."""
        return [self.begin + event for event in self.wave.events.tolist()]

    def aggregates(self, places: Sequence[int], before: Sequence[bool]) -> Aggregates:
        """Aggregates asked at the applied events at `places` of the wave, just before or just after each of them."""
        place, ahead = np.array(places, dtype=np.int64), np.array(before, dtype=bool)
        event = self.wave.events[place]
        stop = np.where(ahead, self.wave.first[place], self.wave.stop[place])
        asks = Asks(self.batch.customer[event], self.batch.time[event], stop, np.where(ahead, event - 1, event))
        return _of_all(View(asks, self.states.logs))


def _of_all(view: View) -> Aggregates:
    """Aggregates of all pairs, and of the spare one."""
    pairs = Pairs(view)
    return Aggregates(pairs, np.arange(pairs.size + 1))


def asked(states: States, *times: int, row: int = 0) -> Aggregates:
    """Aggregates of one customer asked at any `times`, of the entries up to then."""
    low, high = states.logs.offsets[row : row + 2].tolist()
    stop = low + np.searchsorted(states.logs.entries["time"][low:high], times, "right")
    customer, arrival = np.full(len(times), row), np.full(len(times), np.iinfo(np.int64).max)
    return _of_all(View(Asks(customer, np.array(times, dtype=np.int64), stop, arrival), states.logs))


@dataclass
class Partition:
    """One partition's states as blobs, and its tombstones; `cleared` collects (customer, event number, forgotten)."""

    customers: list[str]
    blobs: list[bytes | None] = field(default_factory=list)
    watermark_ms: int = -1
    done: int = 0
    cleared: list[tuple[str, int, bool]] = field(default_factory=list)
    tombstones: Tombstones = field(init=False)
    since: int = -1
    rebuild_ms: int = REBUILD_MS

    def __post_init__(self) -> None:
        self.tombstones = Tombstones(b"key", window_ms=self.rebuild_ms)
        self.blobs = self.blobs or [None] * len(self.customers)

    def work(self, events: Sequence[Event]) -> Iterator[Worked]:
        """Work one batch: each wave as it comes, then the ends of states, then the blobs."""
        states = decode(self.customers, self.blobs)
        states.tombstone = np.maximum(states.tombstone, self.tombstones.of(self.customers))
        states.rebuild_ms = self.rebuild_ms
        states.begin(np.full(len(self.customers), self.since))
        batch = batch_of(events, self.customers, self.watermark_ms)

        def clear(rows: I64, before: I64, forgotten: npt.NDArray[np.bool_]) -> None:
            for row, event, gone in zip(rows.tolist(), before.tolist(), forgotten.tolist(), strict=True):
                self.cleared.append((self.customers[row], self.done + event, gone))

        for wave in waves(states, batch, clear):
            yield Worked(states, batch, wave, self.done)
        self.watermark_ms = int(batch.last_watermark[0])
        end_states(states, self.watermark_ms)
        self.blobs = encode(states, HASH)
        changes = self.tombstones.changes(self.customers, states.tombstone, self.watermark_ms)
        self.tombstones = self.tombstones.after(changes)
        self.done += len(events)

    def run(self, events: Sequence[Event], size: int | None = None) -> list[Worked]:
        """Work all events in batches of `size`; the waves are for their flags only, their logs have moved on."""
        size = size or max(len(events), 1)
        return [worked for i in range(0, len(events), size) for worked in self.work(events[i : i + size])]

    def state(self, customer: str) -> States:
        """The stored state of one customer."""
        return decode([customer], [self.blobs[self.customers.index(customer)]])


def end_states(states: States, watermark_ms: int, rows: I64 | None = None) -> None:
    """End the states (those in `rows`) whose time has come, as the owner of a partition does at the end of a batch."""
    rows = np.arange(len(states.customers)) if rows is None else rows
    newest = states.memory.newest[rows]
    erase(states, rows[(newest >= 0) & (newest + STATE_MS < watermark_ms)])


def plain(states: States, row: int = 0) -> list[Entry]:
    """A customer's log in the oracle's words."""
    low, high = states.logs.offsets[row : row + 2].tolist()
    return [
        Entry(
            time=int(entry["time"]),
            kind=KINDS[int(entry["kind"]) & ~MORE],
            subject=int(entry["subject"]),
            id=int(entry["id"]),
            product=int(entry["product"]),
            value=int(entry["value"]),
            count=int(entry["count"]),
            first=not int(entry["kind"]) & MORE,
            span=("raw", "hour", "day")[int(entry["span"])],
        )
        for entry in states.logs.entries[low:high]
    ]


@dataclass(frozen=True)
class Look:
    """What the fast side made of some asks, and for each ask what the oracle saw: its visible entries and its time.

    The first half of the asks is just before, the second just after the events of `numbers`.
    """

    states: States
    numbers: list[int]
    aggregates: Aggregates
    seen: Sequence[tuple[Sequence[Entry], int]]

    @property
    def view(self) -> View:
        """The rows of the asks."""
        return self.aggregates.view

    def rows(self, ask: int) -> slice:
        """The rows of one ask."""
        return slice(int(self.view.first[ask]), int(self.view.end[ask]))

    def pairs(self, most: int) -> list[tuple[int, int, int]]:
        """(pair, ask, subject) of up to `most` pairs, and of the spare one for an unknown subject at the last ask."""
        pairs = self.aggregates.pairs
        step = 1 + pairs.size // most
        found = list(zip(range(pairs.size), pairs.ask.tolist(), pairs.subject.tolist(), strict=True))
        return [*found[::step], (pairs.size, len(self.seen) - 1, 4_711)]


def judged(events: Sequence[Event], since: int = -1) -> tuple[list[Told], NaiveLogs]:
    """What the oracle says of a partition's events, nothing known of before `since`, and its logs after them."""
    logs = NaiveLogs(since=since)
    return [logs.apply(event, mark) for event, mark in zip(events, watermarks(events), strict=True)], logs


def looks(events: Sequence[Event], size: int | None = None, every: int = 1) -> Iterator[Look]:
    """Looks, wave by wave, just before and just after applied events whose number divides by `every`."""
    told, _ = judged(events)
    partition = Partition(sorted({event.customer for event in events}))
    size = size or max(len(events), 1)
    for start in range(0, len(events), size):
        for worked in partition.work(events[start : start + size]):
            numbers = worked.numbers()
            places = [p for p in np.flatnonzero(worked.wave.applied).tolist() if numbers[p] % every == 0]
            if places:
                aggregates = worked.aggregates(places * 2, [True] * len(places) + [False] * len(places))
                asked_at = [numbers[place] for place in places]
                mine = [(told[number], events[number].time) for number in asked_at]
                seen = [(it.before, at) for it, at in mine] + [(it.after, at) for it, at in mine]
                yield Look(worked.states, asked_at, aggregates, seen)
