"""What is fuzzed: each decoder with valid bytes to begin from, and what must hold of any bytes at all.

A check returns whether the bytes were taken; it raises for what must not be. Refusing is by the one error that the
decoder names in its docstring; what is taken can be written again, and worked with, without any other.
"""

import asyncio
import gzip
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from features.memory_store import MemoryStore
from features.pairs import NEVER_RANK
from features.state import UnreadableState, decode, encode
from intents import examples, snapshot_layout, snapshots
from intents.catalog import Catalogue, CatalogueError
from intents.detect import Setup
from intents.training import Trainer
from sinks.records import UnreadableOutbox, pack_outbox, unpack_outbox
from streams.engine import Engine
from streams.recordings import BrokenRecording, UnknownFormat, open_recording
from streams.shop import DEMO_CATALOGUE
from streams.wire import Decoder, Event, Records
from tests.golden.formats import FORMATS, KEY, bytes_of, day_of_a_shop
from tests.intents.steered import HORIZON, STEERED, T, steered_model

ANNA: Final = b"anna"


@dataclass(frozen=True)
class Target:
    """A decoder under its name: valid bytes of it, and the check."""

    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], bool]


def _golden(prefix: str) -> list[bytes]:
    return [bytes_of(name) for name in FORMATS if name.startswith(f"{prefix}-")]


# Events


GOOD: Final = b'{"event_id":"g%d","customer_id":"anna","kind":"view","time":1700000000000,"category":"tea"}'
_EVENTS: Final = [
    GOOD % 7,
    b'{"event_id":"e1","customer_id":"anna","kind":"purchase","time":"2023-11-14T22:13:20.5+01:00","price":12.5,'
    b'"quantity":2,"items":[{"product_id":"p","category":"tea"},{"category":"cake","price":1e3}],"currency":"EUR"}',
    b'{"event_id":"e2","customer_id":"anna","kind":"search","time":1700000000001,"query":"birthday cake \\u00e9"}',
    b'{"event_id":"e3","customer_id":"anna","kind":"forget","time":1700000000002}',
]


def _work(values: Sequence[bytes], blob: bytes | None = None) -> None:
    """Decode events of anna and take them through a step, from her state `blob`: nothing but an answer may come."""
    catalogue = Catalogue()
    engine = Engine(MemoryStore(), Setup(STEERED, catalogue, catalogue.names), steered_model())
    offsets, none = np.arange(len(values)), np.full(len(values), -1, dtype=np.int64)
    records = Records("clickstream", 0, 0, len(values), [ANNA] * len(values), values, offsets, none)
    chunk, _ = Decoder(catalogue).decode(records)

    async def step() -> None:
        partition = await engine.claim(KEY, "mine")
        assert isinstance(engine.store, MemoryStore)
        if blob is not None:
            engine.store._partitions[KEY].states["anna"] = blob
        piece, _ = await engine.cut(partition, chunk)
        _, (commit,) = await engine.step([piece])
        await engine.commit(piece, commit)

    asyncio.run(step())


def wire(value: bytes) -> bool:
    """Any value is an event or refused once, its neighbours are not touched, and detect can work it."""
    values = [GOOD % 0, value, GOOD % 2]
    offsets, none = np.arange(3), np.full(3, -1, dtype=np.int64)
    chunk, refused = Decoder(Catalogue()).decode(Records("c", 0, 0, 3, [ANNA] * 3, values, offsets, none))
    assert {0, 2} <= set(chunk.offset.tolist()) and [refusal.offset for refusal in refused] in ([], [1])
    taken = 1 in chunk.offset
    if taken:
        assert not refused
        event = msgspec.json.decode(value, type=Event)
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
        _work(values)
    return taken


# What is stored


def state(blob: bytes) -> bool:
    """A state is refused as unreadable, or it can be written, read again as the same, and worked on."""
    try:
        states = decode(["anna"], [blob])
    except UnreadableState:
        return False
    (written,) = encode(states, STEERED.hash)
    assert encode(decode(["anna"], [written]), STEERED.hash) == [written]
    newest = int(max(states.memory.newest[0], states.tombstone[0], T))
    views = [b'{"event_id":"s%d","customer_id":"anna","kind":"%s","time":%d,"category":"thing-1","price":120000}']
    kinds = [b"view"] * 20 + [b"purchase", b"view"]
    if newest < 2**43 - 10**9:
        try:
            _work([views[0] % (n, kind, newest + n * 9**6) for n, kind in enumerate(kinds)], blob)
        except UnreadableState:
            return False
    return True


def outbox(content: bytes) -> bool:
    """An outbox is refused as unreadable, or packs again to what reads the same."""
    try:
        records = unpack_outbox(content)
    except UnreadableOutbox:
        return False
    assert unpack_outbox(pack_outbox(records)) == records
    return True


def lesson(record: bytes) -> bool:
    """An examples record is refused by its names, or packs again, and a trainer can learn from it and what follows."""
    trainer = Trainer(STEERED, HORIZON)
    try:
        trainer.read(0, record)
    except (examples.UnreadableExamples, examples.NewerExamples):
        return False
    packed = examples.pack(examples.unpack(record))
    assert examples.pack(examples.unpack(packed)) == packed
    for offset, after in enumerate(_lessons(), 1):
        trainer.read(offset, after)
        trainer.resolve()
    written = snapshots.encode(trainer.checkpoint())
    assert snapshots.encode(snapshots.decode(written, STEERED)) == written  # finite, and what a restart can use
    return True


@cache
def _lessons() -> list[bytes]:
    return day_of_a_shop().lessons


def snapshot(content: bytes) -> bool:
    """A snapshot is refused as unusable, or a worker can score with it, and a trainer go on from it."""
    try:
        found = snapshots.decode(content, STEERED)
    except snapshot_layout.UnusableSnapshot:
        return False
    written = snapshots.encode(found)
    assert snapshots.encode(snapshots.decode(written, STEERED)) == written
    found.model.tables.likely_next(np.arange(5, dtype=np.uint64))
    vectors, ranks = np.ones((len(found.model.feature_names), 3), dtype=np.float32), np.array([0, 1, NEVER_RANK])
    for head in (found.model.now, found.model.soon):
        p = head.probability(vectors, ranks)
        assert ((p >= 0) & (p <= 1)).all()
    trainer = Trainer(STEERED, HORIZON, found)
    for offset, after in enumerate(_lessons(), trainer.position):
        trainer.read(offset, after)
        trainer.resolve()
    return True


# What people write


def catalogue(text: bytes) -> bool:
    """A catalogue is refused with where it is wrong, or maps any event to subjects."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        Path(file.name).write_bytes(text)
        try:
            found = Catalogue.load(Path(file.name))
        except CatalogueError:
            return False
    for category, query in (("party hats", "birthday cake"), ("a" * 256, "b " * 500), (None, None), ("[", "*")):
        assert len(found.subjects(category, query, query)) <= 8
    found.steps(), found.idle_rules(["tea"], ["cake"], ["tin"])
    return True


def recording(content: bytes) -> bool:
    """A file is refused as unknown or broken, or every line of it is handed out."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        Path(file.name).write_bytes(content)
        try:
            found = open_recording(Path(file.name))
            for sort in (False, True):
                for batch in found.batches(size=3, sort_by_time=sort):
                    assert len(batch.keys) == len(batch.values) == len(batch.times_ms)
        except (UnknownFormat, BrokenRecording):
            return False
    return True


_TAOBAO: Final = b'user_id,item_id,category_id,behavior,timestamp\n1,2,3,pv,1511544070\n"1",5,6,buy,1511544071\n'
_REES46: Final = b"""event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,21038,,shiseido,35.79,541312140,72d76fde
2019-10-01 00:00:09 UTC,cart,1,2,a.b,,1.5,,
"""
_RETAIL: Final = b"""InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,"SIGN, METAL",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
C536366,84029G,LAMP,-6,12/1/2010 8:26,3.39,,Eire
"""
_RECORDINGS: Final = [
    b'{"recording":{"made_up":true}}\n' + b"\n".join(_EVENTS) + b"\n",
    _TAOBAO,
    _REES46,
    _RETAIL,
    gzip.compress(_TAOBAO, mtime=0),
    gzip.compress(b"\n".join(_EVENTS), mtime=0),
    gzip.compress(bytes(100 << 20), mtime=0),  # a line without an end
]

TARGETS: Final = {
    "wire": Target(lambda: _EVENTS, wire),
    "state": Target(lambda: _golden("state"), state),
    "outbox": Target(lambda: _golden("outbox"), outbox),
    "examples": Target(lambda: [*_golden("examples"), _lessons()[0]], lesson),
    "snapshot": Target(lambda: _golden("snapshot"), snapshot),
    "catalogue": Target(
        lambda: [DEMO_CATALOGUE.encode(), b'[intent.a]\ncategory = ["[a-z]*", "t?a"]\nname = "tea tin"'], catalogue
    ),
    "recording": Target(lambda: _RECORDINGS, recording),
}
"""By name."""
