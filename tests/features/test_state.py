"""Stored states: what is written is read, old bytes stay readable, and nothing unknown or damaged is guessed."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from features.kinds import CODE
from features.log import ENTRY, ID_LIMIT, MORE
from features.state import FOLDED, HEADER, SLOT, SLOTS, States, UnreadableState, decode, encode
from tests.features.building import HASH, Partition, plain
from tests.features.naive_log import Entry, Event
from tests.features.naive_moves import ANY, CUSTOMERS, START, Move, events_of


def header(version: int = 1, slots: int = 1, entries: int = 2, ids: int = 1, magic: bytes = b"MI") -> bytes:
    """A state's header, by hand."""
    numbers = struct.pack("<IqqqQ", 3, START + 9, START - 5, START - 7, 2**64 - 1)
    return magic + struct.pack("<BBHH", version, slots, entries, ids) + bytes.fromhex(HASH) + numbers


RAW = struct.pack("<qQQIiHBB", START + 9, 2**63, 2**64 - 1, 2**32 - 1, -250, 1, CODE["purchase"] | MORE, 0)
TILE = struct.pack("<qQQIiHBB", START, 7, 0, 0, 1_000, 65_535, CODE["view"], 2)
FOLDED_ID = struct.pack("<Qq", 99, START - 1)
INTENT = struct.pack("<QqqqqIHB16s", 7, START, START + 1, START + 2, 4_711, 3, 2_500, 1, bytes(range(16)))
NOTES = b"\x91\xc4\x05hello"
GOLDEN = header() + TILE + RAW + FOLDED_ID + INTENT + NOTES
"""A state of version 1, by hand: it must be readable as long as this release or the next one reads version 1."""


def test_golden() -> None:
    """A state written byte by byte is read as what it says, and written again to the same bytes."""
    states = decode(["anna"], [GOLDEN])
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
    """The layout of version 1 does not move."""
    assert [dtype.itemsize for dtype in (HEADER, ENTRY, FOLDED, SLOT)] == [48, 36, 16, 63]


def test_bytes_of_a_usual_customer() -> None:
    """30 entries take 1,128 bytes; with an intent and its note still less than 1.3 kB."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i, i + 1, (i,)) for i in range(30)])
    assert len(partition.blobs[0] or b"") == 48 + 30 * 36 == 1_128
    states = partition.state("anna")
    states.slots["subject"][0, 0], states.notes[0, 0] = 7, bytes(60)
    assert len(encode(states, HASH)[0] or b"") < 1_300


def test_bytes_of_the_busiest_customer() -> None:
    """The log is bounded: with all tiles and remembered ids it stays below 8 kB."""
    partition = Partition(["anna"])
    partition.run([Event("anna", "view", START + i * 10**7, i + 1, (i,)) for i in range(2_000)])
    blob = partition.blobs[0] or b""
    assert 48 + (112 + 64) * 36 + ID_LIMIT * 16 <= len(blob) <= 48 + (128 + 64) * 36 + ID_LIMIT * 16 < 8_000


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
    assert encode(decode([str(i) for i in range(len(mixed))], mixed), HASH) == mixed


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
        (GOLDEN.replace(header(), header(version=2)), "not of version 1"),
        (GOLDEN.replace(header(), header(version=0)), "not of version 1"),
        (GOLDEN.replace(header(), header(magic=b"IM")), "none of ours"),
        (b"", "shorter than its header"),
        (b"{}", "shorter than its header"),
        (GOLDEN.replace(header(), header(slots=SLOTS + 1)) + bytes(63 * SLOTS), "damaged"),
        (GOLDEN.replace(header(), header(ids=ID_LIMIT + 1)) + bytes(16 * ID_LIMIT), "damaged"),
        (GOLDEN + b"x", "damaged"),
        (GOLDEN.replace(NOTES, b"\x92\xc4\x05hello\xc4\x00"), "damaged"),
        (GOLDEN.replace(NOTES, b"\x90"), "damaged"),
        (GOLDEN.replace(NOTES, b"\xc4\x05hello"), "damaged"),
        (header(slots=0) + TILE + RAW + FOLDED_ID + b"x", "damaged"),
        (GOLDEN.replace(TILE + RAW, RAW + TILE), "damaged"),  # not in order of time
        (GOLDEN.replace(TILE, TILE[:-1] + b"\x03"), "damaged"),  # a slice of no length that we know
        (GOLDEN.replace(TILE, TILE[:-2] + b"\x7f\x02"), "damaged"),  # no kind
        (GOLDEN.replace(TILE, struct.pack("<q", -1) + TILE[8:]), "damaged"),
        (GOLDEN.replace(RAW, struct.pack("<q", 2**43) + RAW[8:]), "damaged"),
        (GOLDEN.replace(header(), header()[:-8] + struct.pack("<q", 2**62)), "damaged"),  # forgotten for ever
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
    for length in range(len(GOLDEN)):
        with pytest.raises(UnreadableState):
            decode(["anna", "ben"], [GOLDEN[:length], GOLDEN])
