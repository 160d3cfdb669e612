"""States as version 1 had them, rewritten as version 2: read once of each customer after an upgrade."""

from typing import Final

import numpy as np

from features.log import ENTRY
from features.packing import HAS_EXTRA, pack

HEADER_V1: Final = np.dtype(
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
        ("tombstone", "<i8"),  # -1, or up to when the customer is forgotten: the partition keeps it now
    ]
)


def upgraded(blob: bytes, header: np.dtype) -> tuple[bytes, int]:
    """A blob of version 1 as one of version 2 with this `header`, and its tombstone; ValueError if it is damaged."""
    (old,) = np.frombuffer(blob[: HEADER_V1.itemsize], dtype=HEADER_V1)
    rest = HEADER_V1.itemsize + int(old["entries"]) * ENTRY.itemsize
    entries = np.frombuffer(blob[HEADER_V1.itemsize : rest], dtype=ENTRY, count=int(old["entries"]))
    if (entries["time"] < 0).any() or (entries["time"] >= 2**48).any() or (entries["span"] >= HAS_EXTRA).any():
        raise ValueError("a time or a span that no release has written")
    packed, extras, _ = pack(entries)
    head = np.zeros(1, dtype=header)
    for name in HEADER_V1.names or ():
        if name != "tombstone":
            head[name] = old[name]
    head["version"], head["extras"] = 2, len(extras)
    return head.tobytes() + packed.tobytes() + extras.tobytes() + blob[rest:], int(old["tombstone"])
