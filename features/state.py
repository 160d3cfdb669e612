"""A customer's stored state: one blob with a header, the log's entries, the folded ids, and the slots of their intents.

Blob: HEADER, then `entries` × PACKED and `extras` × EXTRA (`packing.py`), `ids` × (id, time), `slots` × SLOT, then the
slots' notes (msgpack list of bytes). Little-endian. A release reads the previous version (`state_v1.py`); an unknown
one is refused, never guessed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from features.kinds import KINDS
from features.log import I64, ID_LIMIT, MORE, SPAN_MS, Entries, Logs, Memory, expand
from features.packing import EXTRA, PACKED, has_extra, pack, unpack
from features.state_v1 import upgraded
from features.tombstones import REBUILD_MS

MAGIC: Final = 0x494D  # "MI"
VERSION: Final = 2
SLOTS: Final = 16
"""Most intents of one customer that are open or cooling down at a time."""

HEADER: Final = np.dtype(
    [
        ("magic", "<u2"),
        ("version", "u1"),
        ("slots", "u1"),
        ("entries", "<u2"),
        ("ids", "<u2"),
        ("bundle", "V4"),
        ("forced", "<u4"),
        ("newest", "<i8"),
        ("floor", "<i8"),
        ("complete_since", "<i8"),
        ("extras", "<u2"),
    ]
)
FOLDED: Final = np.dtype([("id", "<u8"), ("time", "<i8")])
SLOT: Final = np.dtype(
    [
        ("subject", "<u8"),  # 0: the slot is free
        ("detected_at", "<i8"),
        ("expires_at", "<i8"),
        ("cool_until", "<i8"),
        ("offset", "<i8"),  # of the source record that changed the intent last
        ("sequence", "<u4"),
        ("confidence", "<u2"),  # last published, in 1e-4
        ("open", "u1"),
        ("intent_id", "V16"),
    ]
)
_OF_V1: Final = MAGIC.to_bytes(2, "little") + b"\x01"
_SANE_MS: Final = 2**43
"""Times are below this: logs sort by customer and time packed into one number."""
_notes = msgspec.msgpack.Decoder(list[bytes])
_DAMAGED: Final = "a state is damaged: restore the store, or rebuild it from the log"


class UnreadableState(Exception):
    """A blob of another version, or damaged: the partition must be rebuilt or the right release run."""


@dataclass(slots=True)
class States:
    """States of some customers, as columns of one row a customer.

    `tombstone` (n,) is the time up to which events are forgotten (-1: none); it is not part of the blob, though
    read from those of version 1: the partition keeps it (`features/tombstones.py`). `since` (n,) is the
    partition's, too: see `begin`. `slots` (n, SLOTS) are SLOT records and `notes[row, slot]` the bytes that a slot's
    owner keeps beside them. `rebuild_ms` is how long tombstones count.
    """

    customers: list[str]
    logs: Logs
    memory: Memory
    tombstone: I64
    slots: Entries
    notes: dict[tuple[int, int], bytes]
    since: I64
    rebuild_ms: int = REBUILD_MS

    def begin(self, since: I64) -> None:
        """Say that nothing is known of what happened before `since` (n,; -1: all is): older events are unverifiable.

        It was in a log that is gone. Perhaps an event that seems to be new was in there already.
        """
        self.since = since
        self.memory.floor = np.maximum(self.memory.floor, since - 1)
        self.memory.complete_since = np.maximum(self.memory.complete_since, since)


def decode(customers: Sequence[str], blobs: Sequence[bytes | None]) -> States:
    """States of `customers` from their blobs (None: never seen), in the order given."""
    size = len(customers)
    known = [i for i, blob in enumerate(blobs) if blob is not None]
    found, buried = _newest([blob for blob in blobs if blob is not None])
    head, width = _heads(found), HEADER.itemsize
    names = ("entries", "extras", "ids", "slots")
    n_entries, n_extras, n_ids, n_slots = (head[name].astype(np.int64) for name in names)
    extras_at = width + n_entries * PACKED.itemsize
    ids_at = extras_at + n_extras * EXTRA.itemsize
    slots_at = ids_at + n_ids * FOLDED.itemsize
    notes_at = slots_at + n_slots * SLOT.itemsize
    length = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    if (length < notes_at).any():
        raise UnreadableState("a state is cut short: restore the store, or rebuild it from the log")
    if ((n_ids > ID_LIMIT) | (n_slots > SLOTS) | ((n_slots == 0) & (length > notes_at))).any():
        raise UnreadableState(_DAMAGED)
    et, at, bt, ct = extras_at.tolist(), ids_at.tolist(), slots_at.tolist(), notes_at.tolist()
    packed = np.frombuffer(b"".join([blob[width:e] for blob, e in zip(found, et, strict=True)]), dtype=PACKED)
    extras = np.frombuffer(b"".join([blob[e:a] for blob, e, a in zip(found, et, at, strict=True)]), dtype=EXTRA)
    _check_extras(packed, n_entries, n_extras)
    entries = unpack(packed, extras)
    counts = np.zeros(size, dtype=np.int64)
    counts[known] = n_entries
    logs, free = Logs.of(entries, counts), np.zeros((size, SLOTS), dtype=SLOT)
    _check(logs, head)
    states = States(list(customers), logs, Memory.empty(size), np.full(size, -1), free, {}, np.full(size, -1))
    for name in ("newest", "floor", "complete_since", "forced"):
        getattr(states.memory, name)[known] = head[name]
    states.tombstone[known] = buried
    rows = np.asarray(known, dtype=np.int64)
    if n_ids.any():
        folded = np.frombuffer(b"".join([blob[a:b] for blob, a, b in zip(found, at, bt, strict=True)]), dtype=FOLDED)
        owner, column = expand(np.zeros(len(rows), dtype=np.int64), n_ids)
        states.memory.ids[rows[owner], column] = folded["id"]
        states.memory.times[rows[owner], column] = folded["time"]
        states.memory.held[rows] = n_ids
    if n_slots.any():
        slots = np.frombuffer(b"".join([blob[b:c] for blob, b, c in zip(found, bt, ct, strict=True)]), dtype=SLOT)
        if (slots["open"] > 1).any():
            raise UnreadableState(_DAMAGED)
        owner, column = expand(np.zeros(len(rows), dtype=np.int64), n_slots)
        states.slots[rows[owner], column] = slots
        for index in np.flatnonzero(n_slots).tolist():  # customers with intents only
            for slot, note in enumerate(_read_notes(found[index][ct[index] :], int(n_slots[index]))):
                states.notes[known[index], slot] = note
    return states


def _newest(blobs: list[bytes]) -> tuple[list[bytes], list[int]]:
    """Blobs as this version would have them, and the tombstones that those of version 1 had (-1: none)."""
    if any(len(blob) < HEADER.itemsize for blob in blobs):
        raise UnreadableState("a state is shorter than its header: restore the store, or rebuild it from the log")
    buried = [-1] * len(blobs)
    for n in [n for n, blob in enumerate(blobs) if blob[:3] == _OF_V1]:
        try:
            blobs[n], buried[n] = upgraded(blobs[n], HEADER)
        except ValueError as error:
            raise UnreadableState(_DAMAGED) from error
    if not all(-1 <= at < _SANE_MS for at in buried):
        raise UnreadableState(_DAMAGED)
    return blobs, buried


def _heads(blobs: list[bytes]) -> Entries:
    """The headers of blobs, which are of this version."""
    head = np.frombuffer(b"".join([blob[: HEADER.itemsize] for blob in blobs]), dtype=HEADER)
    if (head["magic"] != MAGIC).any():
        raise UnreadableState("a state is none of ours: restore the store, or rebuild it from the log")
    if (head["version"] != VERSION).any():
        raise UnreadableState(
            f"a state is not of version {VERSION}: run the release that wrote it, or rebuild from the log"
        )
    return head


def _check_extras(packed: Entries, entries: I64, extras: I64) -> None:
    """Raise UnreadableState unless as many `entries` of each blob (b,) say that they have an extra as there are."""
    owner, _ = expand(np.zeros(len(entries), dtype=np.int64), entries)
    if (np.bincount(owner[has_extra(packed)], minlength=len(entries)) != extras).any():
        raise UnreadableState(_DAMAGED)


def _check(logs: Logs, head: Entries) -> None:
    """Raise UnreadableState for entries or times that no release has written: they would break what reads them."""
    entries = logs.entries
    key = logs.key()
    sane = (entries["span"] < len(SPAN_MS)).all() and ((entries["kind"] & ~np.uint8(MORE)) < len(KINDS)).all()
    sane &= (entries["time"] >= 0).all() and (entries["time"] < _SANE_MS).all() and (key[1:] >= key[:-1]).all()
    for name in ("newest", "floor", "complete_since"):
        sane &= ((head[name] >= -1) & (head[name] < _SANE_MS)).all()
    if not sane:
        raise UnreadableState(_DAMAGED)


def _read_notes(tail: bytes, slots: int) -> list[bytes]:
    """The notes of as many slots from the end of a blob."""
    try:
        notes = _notes.decode(tail)
    except msgspec.DecodeError as error:
        raise UnreadableState(_DAMAGED) from error
    if len(notes) != slots:
        raise UnreadableState(_DAMAGED)
    return notes


def encode(states: States, bundle: str) -> list[bytes | None]:
    """Blobs of all the states, None for a customer of whom nothing is left to keep.

    `bundle` is the hash of the feature bundle.
    """
    size = len(states.customers)
    memory, logs = states.memory, states.logs
    used = states.slots["subject"] != 0
    n_entries, n_slots = np.diff(logs.offsets), used.sum(axis=1)
    head = np.zeros(size, dtype=HEADER)
    head["magic"], head["version"], head["bundle"] = MAGIC, VERSION, np.void(bytes.fromhex(bundle))
    packed, extras, has = pack(logs.entries)
    n_extras = np.bincount(logs.customer[has], minlength=size)
    head["entries"], head["extras"], head["ids"], head["slots"] = n_entries, n_extras, memory.held, n_slots
    for name in ("newest", "floor", "complete_since", "forced"):
        head[name] = getattr(memory, name)
    heads, entries, more = head.tobytes(), packed.tobytes(), extras.tobytes()
    width = HEADER.itemsize
    ends = (logs.offsets * PACKED.itemsize).tolist()
    blobs: list[bytes | None] = [
        heads[i * width : (i + 1) * width] + entries[ends[i] : ends[i + 1]] for i in range(size)
    ]
    extra_ends = np.concatenate([[0], np.cumsum(n_extras) * EXTRA.itemsize]).tolist()
    for row in np.flatnonzero(n_extras).tolist():
        blobs[row] = (blobs[row] or b"") + more[extra_ends[row] : extra_ends[row + 1]]
    for row, tail in _tails(states, used):
        blobs[row] = (blobs[row] or b"") + tail
    nothing = (n_entries == 0) & (memory.held == 0) & (n_slots == 0)
    for row in np.flatnonzero(nothing).tolist():
        blobs[row] = None
    return blobs


def _tails(states: States, used: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> Iterator[tuple[int, bytes]]:
    """Folded ids, slots and notes of each customer who has any; used slots move to the front, in order of subject."""
    memory, held, slots = states.memory, states.memory.held, used.sum(axis=1)
    rows = np.flatnonzero((held > 0) | (slots > 0))
    seat, place = np.nonzero(np.arange(memory.ids.shape[1]) < held[:, None])
    folded = np.empty(len(seat), dtype=FOLDED)
    folded["id"], folded["time"] = memory.ids[seat, place], memory.times[seat, place]
    row, slot = np.nonzero(used)
    order = np.lexsort((states.slots["subject"][row, slot], row))
    row, slot = row[order], slot[order]
    ids, intents = folded.tobytes(), states.slots[row, slot].tobytes()
    notes = [states.notes.get(key, b"") for key in zip(row.tolist(), slot.tolist(), strict=True)]
    id_ends, slot_ends = np.cumsum(held)[rows].tolist(), np.cumsum(slots)[rows].tolist()
    id_at = slot_at = 0
    for one, id_end, slot_end in zip(rows.tolist(), id_ends, slot_ends, strict=True):
        tail = ids[id_at * FOLDED.itemsize : id_end * FOLDED.itemsize]
        if slot_end > slot_at:
            tail += intents[slot_at * SLOT.itemsize : slot_end * SLOT.itemsize]
            tail += msgspec.msgpack.encode(notes[slot_at:slot_end])
        yield one, tail
        id_at, slot_at = id_end, slot_end
