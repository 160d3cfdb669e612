"""A log's entries as they are stored: without what most of them do not have."""

from typing import Final

import numpy as np

from features.log import ENTRY, Bool, Entries

PACKED: Final = np.dtype(
    [
        ("low", "<u4"),  # of the time
        ("high", "<u2"),
        ("subject", "<u8"),
        ("id", "<u8"),
        ("product", "<u4"),
        ("kind", "u1"),
        ("span", "u1"),  # and HAS_EXTRA
    ]
)
"""An entry; times stay below 2**48 until the year 10889."""
EXTRA: Final = np.dtype([("value", "<i4"), ("count", "<u2")])
"""A value but 0, or a count but 1."""
HAS_EXTRA: Final = 0x80
_SAME: Final = ("subject", "id", "product", "kind", "span")


def pack(entries: Entries) -> tuple[Entries, Entries, Bool]:
    """PACKED (n,) of ENTRY (n,), EXTRA (m,) of those that have one, and which these are (n,)."""
    packed = np.empty(len(entries), dtype=PACKED)
    packed["low"], packed["high"] = entries["time"] & 0xFFFF_FFFF, entries["time"] >> 32
    for name in _SAME:
        packed[name] = entries[name]
    has: Bool = (entries["value"] != 0) | (entries["count"] != 1)
    packed["span"][has] |= HAS_EXTRA
    extras = np.empty(int(has.sum()), dtype=EXTRA)
    extras["value"], extras["count"] = entries["value"][has], entries["count"][has]
    return packed, extras, has


def has_extra(packed: Entries) -> Bool:
    """Which entries have an extra (n,)."""
    has: Bool = packed["span"] >= HAS_EXTRA
    return has


def unpack(packed: Entries, extras: Entries) -> Entries:
    """ENTRY (n,) of PACKED (n,) and the EXTRA (m,) of those that have one."""
    entries = np.empty(len(packed), dtype=ENTRY)
    entries["time"] = packed["low"].astype(np.int64) | (packed["high"].astype(np.int64) << 32)
    for name in _SAME:
        entries[name] = packed[name]
    entries["value"], entries["count"] = 0, 1
    if len(extras):
        has = has_extra(packed)
        entries["span"] &= HAS_EXTRA - 1
        entries["value"][has], entries["count"][has] = extras["value"], extras["count"]
    return entries
