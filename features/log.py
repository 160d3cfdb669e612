"""The activity log.

Every customer's bounded list of entries, raw events first, then tiles that old events are folded into.

Many customers' logs lie in one flat array, sorted by (customer, time, order of arrival), with row offsets. Folding,
in order:

1. An append that leaves a customer more than `RAW_LIMIT` raw entries folds the oldest of them, `FOLD_STEP` at a time,
   until at most `RAW_LIMIT` remain (so `RAW_KEPT`, where each event has one entry). What is folded is normally older
   than the watermark, so late events cannot change it; entries that are not are folded all the same (the bound is
   hard) and counted as *forced*. What is folded in the end depends on the number of entries alone, and how it is
   folded on what is folded alone: any order of arrival that forces nothing leaves the same log.
2. A folded entry joins the tile of its kind, subject and aligned slice: an hour if it is younger than `HOUR_TILES_MS`
   (measured from the newest entry that is folded with it), else a day. A tile carries the time of its newest event, so
   recency stays exact; a duration window counts a tile whole or not at all, by that time, so its count is off by at
   most the events of the tiles whose slice holds the window's start. (Seen from the past, as a late outcome is asked
   about, a tile that reaches beyond the ask is not there at all.)
3. More than `TILE_LIMIT` tiles: old hour tiles become day tiles, then all do; then the oldest (of equal time the
   smallest) are dropped and `complete_since` says from when on the log is whole.
4. The ids of the last `ID_LIMIT` folded events are remembered, to recognise duplicates; `floor` is the newest time of
   an id that fell out of that memory: an event at or before it, and not remembered, cannot be verified.
5. States that are rebuilt from a log whose beginning is gone are whole from some time on: that is their
   `complete_since`, and what is older cannot be verified (`features/state.py`, `streams/beginning.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from features.kinds import CODE, OUTCOMES, TOUCHES

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]
Entries = npt.NDArray[np.void]

RAW_LIMIT: Final = 128
RAW_KEPT: Final = 112
FOLD_STEP: Final = RAW_LIMIT + 1 - RAW_KEPT
TILE_LIMIT: Final = 64
ID_LIMIT: Final = 64
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HOUR_TILES_MS: Final = 2 * DAY_MS
SPAN_MS: Final = np.array([0, HOUR_MS, DAY_MS], dtype=np.int64)
"""Length of an entry's slice by its span code: 0 raw, 1 an hour, 2 a day."""

MORE: Final = 0x80
"""Bit in `kind` of every entry of an event but its first: an event with several subjects has an entry for each."""

TOUCH_TABLE: Final = np.zeros(256, dtype=bool)
OUTCOME_TABLE: Final = np.zeros(256, dtype=bool)
for _kind in TOUCHES:
    TOUCH_TABLE[[CODE[_kind], CODE[_kind] | MORE]] = True
for _kind in OUTCOMES:
    OUTCOME_TABLE[[CODE[_kind], CODE[_kind] | MORE]] = True

ENTRY: Final = np.dtype(
    [
        ("time", "<i8"),  # UTC ms; of a tile, its newest event's
        ("subject", "<u8"),  # 0: none
        ("id", "<u8"),  # of a tile 0
        ("product", "<u4"),  # of a tile the one that all of its events are of, else 0
        ("value", "<i4"),  # money in minor units
        ("count", "<u2"),  # events
        ("kind", "u1"),
        ("span", "u1"),
    ]
)

_CUSTOMER_SHIFT: Final = 43  # times in ms stay below 2**43 until the year 2248


@dataclass(slots=True)
class Logs:
    """Logs of `size` customers.

    `entries` (n,) sorted by (customer, time, arrival), `customer` (n,) and `arrival` (n,) beside them.

    `arrival` is the index of the event in the chunk, -1 for what was there before; `offsets` (size + 1,) are row
    offsets.
    """

    entries: Entries
    customer: I64
    arrival: I64
    offsets: I64

    @staticmethod
    def of(entries: Entries, counts: I64) -> "Logs":
        """Logs of customers 0…, `counts` (size,) entries each, already in order."""
        customer = np.repeat(np.arange(len(counts)), counts)
        return Logs(entries, customer, np.full(len(entries), -1, dtype=np.int64), _offsets(counts))

    @staticmethod
    def together(parts: Sequence["Logs"]) -> "Logs":
        """Logs of the same customers from `parts`, in only one of which a customer has entries."""
        if len(parts) == 1:
            return parts[0]
        customer = np.concatenate([part.customer for part in parts])
        order = np.argsort(customer, kind="stable")
        entries = np.concatenate([part.entries for part in parts])[order]
        arrival = np.concatenate([part.arrival for part in parts])[order]
        return Logs(entries, customer[order], arrival, _offsets(np.bincount(customer, minlength=parts[0].size)))

    def part(self, rows: Bool) -> "Logs":
        """Logs of the same customers with the entries in `rows` (a mask)."""
        customer = self.customer[rows]
        counts = np.bincount(customer, minlength=self.size)
        return Logs(self.entries[rows], customer, self.arrival[rows], _offsets(counts))

    @property
    def size(self) -> int:
        """Number of customers."""
        return len(self.offsets) - 1

    def key(self) -> I64:
        """(customer, time) as one sortable integer per entry."""
        key: I64 = (self.customer << _CUSTOMER_SHIFT) + self.entries["time"]
        return key

    def raw_counts(self) -> I64:
        """Raw entries of each customer."""
        return np.bincount(self.customer, weights=self.entries["span"] == 0, minlength=self.size).astype(np.int64)

    def insert(self, entries: Entries, customer: I64, arrival: I64) -> I64:
        """Insert `entries` (m,), given in order of arrival, at their own times; returns their rows (m,) after that."""
        both = np.concatenate([self.entries, entries])
        customers = np.concatenate([self.customer, customer])
        order = np.argsort((customers << _CUSTOMER_SHIFT) + both["time"], kind="stable")
        self.entries = both[order]
        self.customer = customers[order]
        self.arrival = np.concatenate([self.arrival, arrival])[order]
        self.offsets = _offsets(np.bincount(self.customer, minlength=self.size))
        row = np.empty(len(order), dtype=np.int64)
        row[order] = np.arange(len(order))
        return row[len(order) - len(entries) :]

    def replace(self, gone: Bool, tiles: Entries, customer: I64) -> None:
        """Take the `gone` entries (a mask) out and put `tiles` in; of equal time, tiles come first."""
        kept = ~gone
        both = np.concatenate([tiles, self.entries[kept]])
        customers = np.concatenate([customer, self.customer[kept]])
        arrival = np.concatenate([np.full(len(tiles), -1, dtype=np.int64), self.arrival[kept]])
        order = np.argsort((customers << _CUSTOMER_SHIFT) + both["time"], kind="stable")
        self.entries, self.customer, self.arrival = both[order], customers[order], arrival[order]
        self.offsets = _offsets(np.bincount(self.customer, minlength=self.size))


@dataclass(slots=True)
class Memory:
    """What each customer's log remembers beside its entries; arrays of one row a customer.

    `newest` is the newest event's time (-1: none yet), `floor` and `complete_since` as in the module's text (-1: never
    lost anything; else the log is whole from that time on), `forced` counts forced folds, `ids` and `times` (size,
    ID_LIMIT) are the folded ids, oldest first, `held` of them.
    """

    newest: I64
    floor: I64
    complete_since: I64
    forced: I64
    ids: U64
    times: I64
    held: I64

    @staticmethod
    def empty(size: int) -> "Memory":
        """Memory of customers never seen."""
        unset = np.full(size, -1, dtype=np.int64)
        return Memory(
            unset,
            unset.copy(),
            unset.copy(),
            np.zeros(size, dtype=np.int64),
            np.zeros((size, ID_LIMIT), dtype=np.uint64),
            np.zeros((size, ID_LIMIT), dtype=np.int64),
            np.zeros(size, dtype=np.int64),
        )


def _offsets(counts: npt.NDArray[np.integer]) -> I64:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def expand(starts: I64, counts: I64) -> tuple[I64, I64]:
    """(owner, row) of every row of the ranges [starts[i], starts[i] + counts[i]), range by range."""
    owner = np.arange(len(counts)).repeat(counts)
    before = counts.cumsum() - counts
    return owner, np.arange(len(owner)) + (starts - before).repeat(counts)


def fold(logs: Logs, memory: Memory, watermark_ms: I64) -> None:
    """Fold every customer that has more than RAW_LIMIT raw entries.

    `watermark_ms` (size,) is theirs at their last append.
    """
    raw = logs.raw_counts()
    while (full := raw > RAW_LIMIT).any():  # again only where one event brought more than FOLD_STEP entries
        _fold_step(logs, memory, watermark_ms, full)
        raw -= FOLD_STEP * full


def _fold_step(logs: Logs, memory: Memory, watermark_ms: I64, full: Bool) -> None:
    """Fold the FOLD_STEP oldest raw entries of the `full` customers (a mask)."""
    is_raw = (logs.entries["span"] == 0) & full[logs.customer]
    order = np.cumsum(is_raw)
    before = np.where(logs.offsets[:-1] > 0, order[logs.offsets[:-1] - 1], 0)
    folded = is_raw & (order - before[logs.customer] <= FOLD_STEP)
    owners = logs.customer[folded]
    old = logs.entries[folded]
    late = old["time"] >= watermark_ms[owners]
    memory.forced += np.bincount(owners[late], minlength=logs.size)
    _remember(memory, owners, old)
    edge = np.full(logs.size, -1, dtype=np.int64)
    edge[owners] = old["time"]  # the newest folded one of each: of repeated indices numpy keeps the last
    old["span"] = np.where(edge[owners] - old["time"] < HOUR_TILES_MS, 1, 2)
    gone = folded | ((logs.entries["span"] > 0) & full[logs.customer])
    tiles = np.concatenate([logs.entries[gone & ~folded], old])
    customer = np.concatenate([logs.customer[gone & ~folded], owners])
    tiles, customer = _merge(tiles, customer)
    tiles, customer = _bound(tiles, customer, memory, edge)
    logs.replace(gone, tiles, customer)


def _remember(memory: Memory, owners: I64, folded: Entries) -> None:
    """Append the ids of `folded` (in time order by owner) to the owners' memories.

    The oldest fall out and raise the floor.
    """
    heads = (folded["kind"] & MORE) == 0
    owners, folded = owners[heads], folded[heads]
    new = np.bincount(owners, minlength=len(memory.held))
    who = np.flatnonzero(new)
    owner, row = expand(np.zeros(len(who), dtype=np.int64), memory.held[who])
    customer = np.concatenate([who[owner], owners])
    ids = np.concatenate([memory.ids[who[owner], row], folded["id"]])
    times = np.concatenate([memory.times[who[owner], row], folded["time"]])
    order = np.argsort(customer, kind="stable")
    customer, ids, times = customer[order], ids[order], times[order]
    total = (memory.held + new)[who]
    ends = np.cumsum(total)
    column = np.arange(len(customer)) - np.repeat(ends - total, total)
    column -= np.repeat(np.maximum(total - ID_LIMIT, 0), total)
    out = column < 0
    np.maximum.at(memory.floor, customer[out], times[out])
    memory.ids[customer[~out], column[~out]] = ids[~out]
    memory.times[customer[~out], column[~out]] = times[~out]
    memory.held[who] = np.minimum(total, ID_LIMIT)


def _merge(tiles: Entries, customer: I64) -> tuple[Entries, I64]:
    """Merge entries of equal (customer, kind, subject, span, slice) into one tile each."""
    piece = tiles["time"] // SPAN_MS[tiles["span"]]
    order = np.lexsort((tiles["time"], piece, tiles["kind"], tiles["subject"], tiles["span"], customer))
    tiles, customer, piece = tiles[order], customer[order], piece[order]
    first = np.ones(len(tiles), dtype=bool)
    first[1:] = customer[1:] != customer[:-1]
    for column in (piece, tiles["kind"], tiles["subject"], tiles["span"]):
        first[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(first)
    if not len(starts):
        return tiles, customer
    merged = tiles[starts]
    merged["time"] = np.maximum.reduceat(tiles["time"], starts)
    merged["count"] = np.minimum(np.add.reduceat(tiles["count"].astype(np.int64), starts), 65_535)
    value = np.add.reduceat(tiles["value"].astype(np.int64), starts)
    merged["value"] = np.clip(value, -(2**31), 2**31 - 1)
    merged["id"] = 0
    lowest, highest = (reduced(tiles["product"], starts) for reduced in (np.minimum.reduceat, np.maximum.reduceat))
    merged["product"] = np.where(lowest == highest, lowest, 0)
    return merged, customer[starts]


def _bound(tiles: Entries, customer: I64, memory: Memory, edge: I64) -> tuple[Entries, I64]:
    """Keep at most TILE_LIMIT tiles a customer: coarser slices first, then the oldest (of equal time the smallest) go.

    `edge` (size,) is the time of the newest entry folded, from which age is measured. The tiles stay in _merge's order.
    """
    for youngest in (HOUR_TILES_MS, np.iinfo(np.int64).min):
        over = np.bincount(customer, minlength=len(memory.newest)) > TILE_LIMIT
        if not over.any():
            return tiles, customer
        coarse = over[customer] & (edge[customer] - tiles["time"] >= youngest)
        tiles = tiles.copy()
        tiles["span"][coarse] = 2
        tiles, customer = _merge(tiles, customer)
    counts = np.bincount(customer, minlength=len(memory.newest))
    order = np.lexsort((tiles["kind"], tiles["subject"], tiles["count"], tiles["time"], customer))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - _offsets(counts)[customer[order]]
    lost = rank < (counts - TILE_LIMIT)[customer]
    ends = (tiles["time"][lost] // DAY_MS + 1) * DAY_MS
    np.maximum.at(memory.complete_since, customer[lost], ends)
    return tiles[~lost], customer[~lost]
