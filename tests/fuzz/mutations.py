"""Bytes for a decoder to choke on: anything at all, and valid bytes with bits flipped, cut, spliced and overwritten."""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

NUMBERS: Final = [
    *(
        n.to_bytes(size, order)
        for order in ("little", "big")
        for size in (2, 4, 8)
        for n in (0, 1, 2 ** (8 * size) - 1)
    ),
    *((2**40).to_bytes(8, order) for order in ("little", "big")),
    *((2**63 - 1).to_bytes(8, order) for order in ("little", "big")),
    bytes.fromhex("000000000000f07f"),  # infinity
    bytes.fromhex("000000000000f87f"),  # not a number
    b"\xdd\xff\xff\xff\xff",  # msgpack: an array of 4 billion
    b"\xdf\xff\xff\xff\xff",  # a map
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xd8",
    b"\xc0",
    b"\xed\xa0\x80",  # half of a pair, as UTF-8
    b"[" * 3_000,
    b"9" * 5_000,
    b'"\\ud800"',
    b"-1",
    b"1e999",
]
"""What lengths, times and counts may be overwritten with."""


def _edit(content: bytes, seeds: Sequence[bytes], kind: str, where: float, size: int, other: int, more: bytes) -> bytes:
    at = int(where * len(content))
    if kind == "flip":
        changed = bytearray(content or b"\0")
        changed[min(at, len(changed) - 1)] ^= 1 << (other % 8)
        return bytes(changed)
    if kind == "byte":
        return content[:at] + bytes([other % 256]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "remove":
        return content[:at] + content[at + size :]
    if kind == "twice":
        return content[: at + size] + content[at:]
    if kind == "number":
        number = NUMBERS[other % len(NUMBERS)]
        return content[:at] + number + content[at + len(number) :]
    if kind == "insert":
        return content[:at] + NUMBERS[other % len(NUMBERS)] + more + content[at:]
    splice = seeds[other % len(seeds)]
    return content[:at] + splice[int(where * len(splice)) :]


KINDS: Final = ("flip", "byte", "cut", "remove", "twice", "number", "insert", "splice")


def mutants(seeds: Sequence[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes now and then, else one of `seeds` with up to `most` edits; early places are likelier."""
    place = st.floats(0, 1, exclude_max=True)
    edit = st.tuples(
        st.sampled_from(KINDS),
        st.one_of(place, place.map(lambda p: p**4)),
        st.integers(1, 40),
        st.integers(0, 2**16),
        st.binary(max_size=4),
    )

    def edited(drawn: tuple[bytes, list[tuple[str, float, int, int, bytes]]]) -> bytes:
        content, edits = drawn
        for one in edits:
            content = _edit(content, seeds, *one)
        return content

    changed = st.tuples(st.sampled_from(list(seeds)), st.lists(edit, min_size=1, max_size=most)).map(edited)
    return st.one_of(changed, changed, changed, changed, st.binary(max_size=300))
