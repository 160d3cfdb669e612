"""Stored states: what is written is read, old bytes stay readable, and nothing unknown or damaged is guessed."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from features.kinds import CODE
from features.log import ENTRY, ID_LIMIT, MORE
from features.packing import EXTRA, PACKED
from features.state import FOLDED, HEADER, SLOT, SLOTS, States, UnreadableState, decode, encode
from features.state_v1 import HEADER_V1
from tests.features.building import HASH, Partition, plain
from tests.features.naive_log import Entry, Event
from tests.features.naive_moves import ANY, CUSTOMERS, START, Move, events_of


def header(
    version: int = 2, slots: int = 1, entries: int = 2, ids: int = 1, magic: bytes = b"MI", extras: int = 2
) -> bytes:
    """A state's header, by hand."""
    numbers = struct.pack("<IqqqH", 3, START + 9, START - 5, START - 7, extras)
    return magic + struct.pack("<BBHH", version, slots, entries, ids) + bytes.fromhex(HASH) + numbers


def header_v1(tombstone: int = -1) -> bytes:
    """A state's header as version 1 had it, by hand."""
    numbers = struct.pack("<Iqqqq", 3, START + 9, START - 5, START - 7, tombstone)
    return b"MI" + struct.pack("<BBHH", 1, 1, 2, 1) + bytes.fromhex(HASH) + numbers


def time(ms: int) -> bytes:
    """An entry's time: six bytes."""
    return struct.pack("<Q", ms % 2**64)[:6]


RAW = time(START + 9) + struct.pack("<QQIBB", 2**63, 2**64 - 1, 2**32 - 1, CODE["purchase"] | MORE, 0x80)
TILE = time(START) + struct.pack("<QQIBB", 7, 0, 0, CODE["view"], 0x82)
EXTRAS = struct.pack("<iHiH", 1_000, 65_535, -250, 1)
FOLDED_ID = struct.pack("<Qq", 99, START - 1)
INTENT = struct.pack("<QqqqqIHB16s", 7, START, START + 1, START + 2, 4_711, 3, 2_500, 1, bytes(range(16)))
NOTES = b"\x91\xc4\x05hello"
GOLDEN = header() + TILE + RAW + EXTRAS + FOLDED_ID + INTENT + NOTES
"""A state of version 2, by hand: it must be readable as long as this release or the next one reads version 2."""
RAW_V1 = struct.pack("<qQQIiHBB", START + 9, 2**63, 2**64 - 1, 2**32 - 1, -250, 1, CODE["purchase"] | MORE, 0)
TILE_V1 = struct.pack("<qQQIiHBB", START, 7, 0, 0, 1_000, 65_535, CODE["view"], 2)
GOLDEN_V1 = header_v1() + TILE_V1 + RAW_V1 + FOLDED_ID + INTENT + NOTES
"""The same as version 1 had it."""


@pytest.mark.parametrize("blob", [GOLDEN, GOLDEN_V1])
def test_golden(blob: bytes) -> None:
    """A state written byte by byte is read as what it says, and written again as version 2."""
    states = decode(["anna"], [blob])
    raw = Entry(START + 9, "purchase", 2**63, 2**64 - 1, 2**32 - 1, -250, first=False)
    assert plain(states) == [Entry(START, "view", 7, value=1_000, count=65_535, span="day"), raw]
    memory = states.memory
    numbers = [memory.forced, memory.newest, memory.floor, memory.complete_since, states.tombstone, memory.held]
    assert [int(column[0]) for column in numbers] == [3, START + 9, START - 5, START - 7, -1, 1]
    assert (memory.ids[0, 0], memory.times[0, 0]) == (99, START - 1)
    assert states.slots[0, 0].tolist() == (7, START, START + 1, START + 2, 4_711, 3, 2_500, 1, bytes(range(16)))
    assert states.notes == {(0, 0): b"hello"}
    assert encode(states, HASH) == [GOLDEN]


def test_sizes() -> None:
    """The layouts of versions 1 and 2 do not move."""
    assert [dtype.itemsize for dtype in (HEADER, PACKED, EXTRA, FOLDED, SLOT)] == [42, 28, 6, 16, 63]
    assert [dtype.itemsize for dtype in (HEADER_V1, ENTRY)] == [48, 36]


def test_bytes_of_a_usual_customer() -> None:
    """30 entries take 882 bytes; with an intent and its note still less than 1.1 kB."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i, i + 1, (i,)) for i in range(30)])
    assert len(partition.blobs[0] or b"") == 42 + 30 * 28 == 882
    states = partition.state("anna")
    states.slots["subject"][0, 0], states.notes[0, 0] = 7, bytes(60)
    assert len(encode(states, HASH)[0] or b"") < 1_100


def test_bytes_of_the_busiest_customer() -> None:
    """The log is bounded: with all tiles and remembered ids it stays below 8 kB."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i * 10**7, i + 1, (i,)) for i in range(2_000)])
    blob = partition.blobs[0] or b""
    assert 42 + (112 + 64) * 28 + ID_LIMIT * 16 <= len(blob) <= 42 + (128 + 64) * 34 + ID_LIMIT * 16 < 8_000


@settings(max_examples=40, derandomize=True, database=None)
@given(ANY)
def test_round_trip(moves: list[Move]) -> None:
    """Whatever happened, a state that is read and written again keeps its bytes, alone or among others."""
    partition = Partition(CUSTOMERS)
    partition.run(events_of(moves))
    blobs = partition.blobs
    assert encode(decode(CUSTOMERS, blobs), HASH) == blobs
    assert [encode(decode([name], [blob]), HASH)[0] for name, blob in zip(CUSTOMERS, blobs, strict=True)] == blobs
    mixed = [*blobs, None, GOLDEN, None, *blobs]
    names = [str(i) for i in range(len(mixed))]
    assert encode(decode(names, mixed), HASH) == mixed
    before = [GOLDEN_V1 if blob == GOLDEN else blob for blob in mixed]
    assert encode(decode(names, before), HASH) == mixed


def test_nobody_known() -> None:
    """Customers never seen have empty states, which leave no bytes; so has nobody at all."""
    states = decode(["anna", "ben"], [None, None])
    assert [plain(states, row) for row in (0, 1)] == [[], []]
    assert states.memory.newest.tolist() == states.tombstone.tolist() == [-1, -1]
    assert encode(states, HASH) == [None, None]
    assert encode(decode([], []), HASH) == []


@pytest.mark.parametrize("row", [0, 1])
def test_what_is_kept(row: int) -> None:
    """Folded ids or a slot alone are reason to keep a state; a tombstone is not, for the partition keeps it."""

    def kept(change: Callable[[States], None]) -> bool:
        states = decode(["anna", "ben"], [None, None])
        change(states)
        blobs = encode(states, HASH)
        assert blobs[1 - row] is None
        return blobs[row] is not None

    def tombstone(states: States) -> None:
        states.tombstone[row] = 0

    def folded(states: States) -> None:
        states.memory.held[row] = 1

    def slot(states: States) -> None:
        states.slots["subject"][row, 5] = 1

    assert kept(folded) and kept(slot) and not kept(tombstone)


def test_slots_move_to_the_front() -> None:
    """Used slots are stored one after another with their notes; one without a note has an empty one."""
    states = decode(["anna"], [None])
    states.slots["subject"][0, [2, 5, 15]] = [22, 55, 1_515]
    states.notes = {(0, 5): b"five", (0, 15): b"fifteen"}
    again = decode(["anna"], encode(states, HASH))
    assert again.slots["subject"][0].tolist() == [22, 55, 1_515] + [0] * (SLOTS - 3)
    assert again.notes == {(0, 0): b"", (0, 1): b"five", (0, 2): b"fifteen"}


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (GOLDEN.replace(header(), header(version=3)), "not of version 2"),
        (GOLDEN.replace(header(), header(version=0)), "not of version 2"),
        (GOLDEN.replace(header(), header(extras=1)), "damaged"),
        (GOLDEN.replace(header(), header(extras=3)), "damaged|cut short"),
        (GOLDEN.replace(TILE, TILE[:-1] + b"\x02"), "damaged"),  # it has an extra, but does not say so
        (GOLDEN.replace(header(), header(magic=b"IM")), "none of ours"),
        (b"", "shorter than its header"),
        (b"{}", "shorter than its header"),
        (GOLDEN.replace(header(), header(slots=SLOTS + 1)) + bytes(63 * SLOTS), "damaged"),
        (GOLDEN.replace(header(), header(ids=ID_LIMIT + 1)) + bytes(16 * ID_LIMIT), "damaged"),
        (GOLDEN + b"x", "damaged"),
        (GOLDEN.replace(NOTES, b"\x92\xc4\x05hello\xc4\x00"), "damaged"),
        (GOLDEN.replace(NOTES, b"\x90"), "damaged"),
        (GOLDEN.replace(NOTES, b"\xc4\x05hello"), "damaged"),
        (header(slots=0) + TILE + RAW + EXTRAS + FOLDED_ID + b"x", "damaged"),
        (GOLDEN.replace(TILE + RAW, RAW + TILE), "damaged"),  # not in order of time
        (GOLDEN.replace(TILE, TILE[:-1] + b"\x83"), "damaged"),  # a slice of no length that we know
        (GOLDEN.replace(TILE, TILE[:-2] + b"\x7f\x82"), "damaged"),  # no kind
        (GOLDEN.replace(TILE, time(-1) + TILE[6:]), "damaged"),
        (GOLDEN.replace(RAW, time(2**43) + RAW[6:]), "damaged"),
        (GOLDEN_V1.replace(header_v1(), header_v1(2**62)), "damaged"),  # forgotten for ever
        (GOLDEN_V1.replace(header_v1(), header_v1(-2)), "damaged"),
        (GOLDEN_V1.replace(TILE_V1, TILE_V1[:-1] + b"\x82"), "damaged"),
        (GOLDEN_V1.replace(RAW_V1, struct.pack("<q", 2**62) + RAW_V1[8:]), "damaged"),
        (GOLDEN_V1.replace(TILE_V1, struct.pack("<q", -1) + TILE_V1[8:]), "damaged"),
        (GOLDEN.replace(INTENT, INTENT.replace(b"\x01" + bytes(range(16)), b"\x02" + bytes(range(16)))), "damaged"),
    ],
)
def test_unreadable(blob: bytes, words: str) -> None:
    """An unknown version is refused, and so is what does not add up; also among others."""
    with pytest.raises(UnreadableState, match=words):
        decode(["anna"], [blob])
    with pytest.raises(UnreadableState, match=words):
        decode(["ben", "anna", "chris"], [GOLDEN, blob, None])


def test_truncated() -> None:
    """A state cut short anywhere is refused."""
    for whole in (GOLDEN, GOLDEN_V1):
        for length in range(len(whole)):
            with pytest.raises(UnreadableState):
                decode(["anna", "ben"], [whole[:length], GOLDEN])
