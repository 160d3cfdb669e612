"""Records of made-up and real customers, disturbed as life does, and driven through the engine in any chunks."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from features.core_bundle import CORE
from features.events import Chunk
from features.memory_store import MemoryStore
from features.store import PartitionKey, Store
from intents.catalog import Catalogue
from intents.choice import Choice
from intents.counts import F64
from intents.detect import Setup
from intents.head import Head, Regression
from intents.intent import Intent
from intents.life import Rules
from intents.model import Model
from intents.subjects import subject_hash
from intents.tables import Tables
from intents.training import Trainer
from sinks.records import Record
from streams.engine import Engine
from streams.inprocess import InProcess, Output
from streams.partition import Partition
from streams.partitioner import partition_for
from streams.recordings import RecordingBatch, open_recording
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from streams.wire import Decoder, Records

MINUTE: Final = 60_000
PARTITIONS: Final = 4
WEIGHTS: Final = {
    "views_5m": 1.1,
    "views_2h": 0.5,
    "fresh_1m": 0.9,
    "share_5m": 0.6,
    "carted": -0.8,
    "repeat": 0.4,
    "latest_visits": 0.3,
    "rank_log": -0.7,
    "all_views_session": -0.5,
    "outcome_lift": 0.8,
    "pair_conversion": 0.3,
    "subject_conversion": 0.4,
}
"""Weights of a model made by hand, so that a few events already move its word."""

Pair = tuple[bytes, bytes]
"""A record's key and value."""


def setup_of(catalogue: str = "", rules: Rules | None = None, *, rank_outcomes: bool = False) -> Setup:
    """What detect is set up with, by the text of a catalogue."""
    parsed = Catalogue.parse(catalogue)
    return Setup(CORE, parsed, parsed.names, rules or Rules(), rank_outcomes=rank_outcomes)


def pair(event: dict[str, Any]) -> Pair:
    """An event as a record."""
    return str(event["customer_id"]).encode(), json.dumps(event).encode()


def handmade_regression(weights: F64, intercept: float) -> Regression:
    """A regression of these weights for columns as they are, with labels enough for a head of two to be ready."""
    found = Regression.empty(len(weights), intercept)
    found.weights[:-1], found.variances[:] = weights, 1.0
    found.positives, found.negatives = 50, 500
    return found


def unready(model: Model) -> Model:
    """The same model, one positive label short of being believed."""
    now = model.now.copy()
    now.touched.positives, now.foreseen.positives = 30, 19
    return replace(model, now=now)


def handmade(subjects: Sequence[str], intercept: float = -2.2, seed: int = 1) -> Model:
    """A ready model that nobody trained: WEIGHTS, and counts in which each subject leads to the next."""
    names = Model.untrained(CORE).feature_names
    weights = np.array([WEIGHTS.get(name, 0.0) for name in names])
    foreseen = 1.5 * weights  # anything else than what is said of the touched
    now = Head(handmade_regression(weights, intercept), handmade_regression(foreseen, intercept - 0.5))
    soon = Head(handmade_regression(0.7 * weights, intercept + 1.0), handmade_regression(foreseen / 2, intercept))
    tables, random = Tables(), Random(seed)
    hashes = [subject_hash(name) for name in subjects]
    for at in [random.randrange(len(hashes)) for _ in range(40 * len(hashes))]:
        tables.count_view(hashes[at], hashes[at - 1], 1.0)
        tables.count_together(hashes[at], [hashes[at - 1]], 1.0)
        if random.random() < 0.2:
            tables.count_outcome(hashes[at], [hashes[at - 1], hashes[at - 2]])
    named = dict(zip(hashes, subjects, strict=True))
    choice = Choice(
        np.array([0.9, 1.1, 0.6, 1.3, -0.3, 0.7, -0.1]), 10 * np.eye(7), np.linspace(0.1, 60.0, 7), lists=60
    )
    return Model(CORE, now, soon, choice, tables, named, version="7-hand")


def lanes_of(records: Iterable[Pair], partitions: int = PARTITIONS) -> list[list[Pair]]:
    """Records by partition."""
    lanes: list[list[Pair]] = [[] for _ in range(partitions)]
    for key, value in records:
        lanes[partition_for(key, partitions)].append((key, value))
    return lanes


def chunk_of(decoder: Decoder, partition: int, start: int, records: Sequence[Pair]) -> Chunk:
    """Records as a decoded chunk of the offsets from `start`; none may be refused."""
    end = start + len(records)
    raw = Records(
        "clickstream",
        partition,
        start,
        end,
        [key for key, _ in records],
        [value for _, value in records],
        np.arange(start, end),
        np.full(len(records), -1, dtype=np.int64),
    )
    chunk, refused = decoder.decode(raw)
    assert not refused
    return chunk


def disturbed(records: Sequence[Pair], seed: int = 3, forget: float = 0.01) -> list[Pair]:
    """The same records with late ones (within the lateness and beyond), duplicates, and customers to be forgotten."""
    random, out = Random(seed), list[Pair]()
    later: list[tuple[int, Pair]] = []
    for n, (key, value) in enumerate(records):
        event = json.loads(value)
        drawn = random.random()
        if drawn < 0.04:  # it arrives after what follows it
            later.append((n + random.randrange(1, 60), (key, value)))
        else:
            out.append((key, value))
        if drawn > 0.97:
            out.append((key, value))
        if 0.04 < drawn < 0.06:  # one more, that happened earlier
            late = event | {
                "event_id": f"late-{n}",
                "time": event["time"] - random.choice([1, 9_000, 10 * MINUTE, 3_600_000]),
            }
            out.append(pair(late))
        if random.random() < forget:
            out.append(pair({**_bare(event), "event_id": f"forget-{n}", "kind": "forget", "time": event["time"] + 1}))
        while later and later[0][0] <= n:
            out.append(later.pop(0)[1])
    return out + [record for _, record in later]


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    return {"customer_id": event["customer_id"], "time": event["time"]}


@cache
def made_up(customers: int = 150, events: int = 5_000, days: float = 0.7, seed: int = 11) -> tuple[Pair, ...]:
    """A simulated recording."""
    out = BytesIO()
    simulate(out, customers=customers, events=events, days=days, seed=seed)
    return tuple(pair(json.loads(line)) for line in out.getvalue().splitlines()[1:])


@cache
def real(path: Path, limit: int) -> tuple[Pair, ...]:
    """The first records of a recording."""
    return tuple(
        found
        for batch in open_recording(path).batches(limit=limit)
        for found in zip(batch.keys, batch.values, strict=True)
    )


def batches(records: Sequence[Pair], size: int = 5_000) -> Iterator[RecordingBatch]:
    """Records as a recording gives them."""
    for i in range(0, len(records), size):
        keys, values = zip(*records[i : i + size], strict=True)
        yield RecordingBatch(list(keys), list(values), np.full(len(keys), -1), 0)


async def replayed(replay: InProcess, records: Sequence[Pair], size: int = 5_000) -> list[Output]:
    """What an in-process replay says of records."""
    return [output for batch in batches(records, size) for output in [o async for o in replay.run(batch)]]


def learned(records: Sequence[Pair], catalogue: str = DEMO_CATALOGUE) -> Model:
    """The model that an in-process replay has learned at the end of some records."""
    return _learned(tuple(records), catalogue)


@cache
def _learned(records: tuple[Pair, ...], catalogue: str) -> Model:
    trainer = Trainer(CORE, Rules().horizon_ms, durable=False)
    asyncio.run(replayed(InProcess(setup_of(catalogue), Model.untrained(CORE), trainer=trainer), records))
    return trainer.model()


@dataclass
class Drive:
    """Partitions of records, worked through an engine as a worker does; what it publishes is kept by partition."""

    setup: Setup
    model: Model
    lanes: list[list[Pair]]
    store: Store = field(default_factory=MemoryStore)
    max_customers: int = 1_000
    with_examples: bool = False
    begin: int = 0  # offset of each partition from which to go on
    records: list[list[Record]] = field(default_factory=list)
    intents: list[list[Intent]] = field(default_factory=list)
    lessons: list[bytes] = field(default_factory=list)  # the examples topic, in order of publication
    pieces: int = 0
    mid_chunk: int = 0
    bursts: int = 0
    unslotted: int = 0
    partitions: list[Partition] = field(default_factory=list)
    _at: list[int] = field(default_factory=list)

    async def run(self, plan: Iterable[Sequence[tuple[int, int]]]) -> "Drive":
        """Work `plan`: steps, each of some (partition, number of records), until all is done."""
        engine = Engine(
            self.store, self.setup, self.model, with_examples=self.with_examples, max_customers=self.max_customers
        )
        decoder = Decoder(self.setup.catalogue)
        for number in range(len(self.lanes)):
            self.partitions.append(await engine.claim(PartitionKey("test", "clickstream", number), "mine"))
        self.records, self.intents = [[] for _ in self.lanes], [[] for _ in self.lanes]
        self._at = [self.begin] * len(self.lanes)
        for wanted in plan:
            todo = []
            for number, size in wanted:
                start = self._at[number]
                self._at[number] = min(start + size, len(self.lanes[number]))
                records = self.lanes[number][start : self._at[number]]
                if records:
                    todo.append((number, chunk_of(decoder, number, start, records)))
            await self._work(engine, todo)
        assert self._at == [len(lane) for lane in self.lanes]  # the plan went to the end
        return self

    async def _work(self, engine: Engine, todo: list[tuple[int, Chunk]]) -> None:
        while todo:
            cut = [await engine.cut(self.partitions[number], chunk) for number, chunk in todo]
            pieces = [piece for piece, _ in cut]
            step, commits = await engine.step(pieces)
            self.pieces += len(pieces)
            self.unslotted += step.detected.unslotted
            for change, _ in step.detected.changes:
                low, high = step.batch.starts[change.part : change.part + 2]
                self.mid_chunk += change.deadline and low < change.event < high
            for n, (number, _) in enumerate(todo):
                self.bursts += not len(pieces[n].chunk)
                assert len(commits[n].states) <= self.max_customers
                await engine.commit(pieces[n], commits[n])
                self.records[number] += step.records[n]
                self.lessons += [record.value for record in step.records[n] if record.topic == "examples"]
                self.intents[number] += step.intents[n]
            todo = [(number, rest) for (number, _), (_, rest) in zip(todo, cut, strict=True) if rest is not None]

    async def held(self) -> list[object]:
        """All that the store holds of each partition: how far it came, states, deadlines, names, tombstones."""
        found: list[object] = []
        for partition, lane in zip(self.partitions, self.lanes, strict=True):
            customers = sorted({key.decode() for key, _ in lane})
            cursor = await self.store.cursor(partition.key)
            states = await self.store.peek(partition.key, customers)
            due = await self.store.due(partition.key, 2**52, 1_000_000)
            names = await self.store.names(partition.key)
            buried = (await self.store.claim(partition.key, "mine")).forgotten
            assert buried == partition.tombstones.times
            states_of = dict(zip(customers, states, strict=True))
            found.append((cursor.position, cursor.watermark_ms, states_of, due, names, buried))
        return found

    def statuses(self) -> Counter[str]:
        """How many intents there are of each status."""
        return Counter(intent.status for lane in self.intents for intent in lane)


def in_chunks(lanes: Sequence[Sequence[Pair]], size: int) -> Iterator[list[tuple[int, int]]]:
    """A plan: chunks of `size` records, of all partitions together."""
    for _ in range(0, max(map(len, lanes)), size):
        yield [(number, size) for number in range(len(lanes))]


def shuffled(lanes: Sequence[Sequence[Pair]], seed: int, most: int = 400) -> Iterator[list[tuple[int, int]]]:
    """A plan: in each step some partitions in any order, each with a chunk of any size."""
    random, left = Random(seed), [len(lane) for lane in lanes]
    while any(left):
        some = random.sample([n for n, count in enumerate(left) if count], random.randint(1, sum(map(bool, left))))
        step = [(number, random.choice([1, 2, 7, 60, most])) for number in some]
        for number, size in step:
            left[number] = max(0, left[number] - size)
        yield step
