"""Apply a batch of events to customers' logs, in waves.

A wave takes from each customer as many of their next events as fit before their log must be folded, or before their
state ends or is forgotten; it inserts all of them at once, and each entry knows the event it arrived with, so that
every event's view of the log can be computed from the one merged array. Folding happens between waves. A wave is thus
as wide as the batch has customers, and a batch needs several only where somebody has more than a dozen events in it.
Logs of those who have no more events are laid aside meanwhile: whoever floods a batch pays for their waves alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.events import Batch
from features.kinds import CODE
from features.log import I64, RAW_LIMIT, Bool, Logs, expand, fold
from features.state import SLOT, States
from features.tombstones import is_buried

_FORGET: Final = CODE["forget"]
_SHIFT: Final = 43  # times in ms stay below 2**43 until the year 2248
STATE_MS: Final = 30 * 86_400_000
"""A customer's state ends this long after their last event."""

Clear = Callable[[I64, I64, Bool], None]
"""Called with state rows (m,), the events (m,) before which their states end, and which of them are forgotten (m,)."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Events of one wave in order of arrival: `events` (n,) are indices into the batch.

    `applied` (n,): in the log now; the others are duplicates, forgotten, or `unverifiable` (n,). `late` (n,): older
    than the
    customer's newest. `first` and `stop` (n,) are the rows of an applied event's entries in the logs, [first, stop).
    """

    events: I64
    applied: Bool
    unverifiable: Bool
    late: Bool
    first: I64
    stop: I64


def waves(states: States, batch: Batch, clear: Clear) -> Iterator[Wave]:
    """Apply `batch` wave by wave; the logs in `states` are those of the wave until the next one is asked for.

    They may then lack customers without further events; after the last wave they are whole again.
    """
    fold(states.logs, states.memory, np.full(len(states.customers), np.iinfo(np.int64).max))  # written with more room
    order = np.argsort(batch.customer, kind="stable")
    counts = np.bincount(batch.customer, minlength=len(states.customers))
    ends = np.cumsum(counts)
    at = ends - counts
    entries = np.maximum(np.diff(batch.subject_offsets), 1)
    aside: list[Logs] = []
    while (more := at < ends).any():
        _lay_aside(states, ~more, aside)
        who = np.flatnonzero(more)
        first = order[at[who]]
        _end_states(states, batch, who, first, clear)
        raw = states.logs.raw_counts()
        seat, place = expand(at[who], np.minimum(ends - at, RAW_LIMIT + 1)[who])
        events, owner = order[place], who[seat]
        before = np.cumsum(entries[events]) - entries[events]
        begins = np.flatnonzero(np.concatenate([[True], seat[1:] != seat[:-1]]))
        before -= before[begins][seat]
        fits = before + raw[owner] <= RAW_LIMIT
        events, owner = events[fits], owner[fits]
        wave = _wave(states, batch, events, owner)
        at[who] += np.bincount(batch.customer[wave.events], minlength=len(at))[who]
        yield wave
        marks = np.full(len(states.customers), -1, dtype=np.int64)
        marks[batch.customer[wave.events]] = batch.watermark[wave.events]  # the last of each customer stays
        fold(states.logs, states.memory, marks)
        states.logs.arrival[:] = -1
    states.logs = Logs.together([*aside, states.logs])


def _lay_aside(states: States, done: Bool, aside: list[Logs]) -> None:
    """Move the logs of the customers who are `done` (a mask) from `states` to `aside`, if that is most of them."""
    rows = done[states.logs.customer]
    if 2 * np.count_nonzero(rows) > len(rows):
        aside.append(states.logs.part(rows))
        states.logs = states.logs.part(~rows)


def _end_states(states: States, batch: Batch, who: I64, first: I64, clear: Clear) -> None:
    """Clear the states that end, or are forgotten, before the first event of this wave."""
    newest, time, watermark = states.memory.newest[who], batch.time[first], batch.watermark[first]
    ended = (newest >= 0) & (newest + STATE_MS < watermark)
    forgotten = (batch.kind[first] == _FORGET) & ~is_buried(time, states.tombstone[who], watermark, states.rebuild_ms)
    gone = ended | forgotten
    if not gone.any():
        return
    clear(who[gone], first[gone], forgotten[gone])
    erase(states, who[gone])
    # what is erased must not come back either, though it may be newer than the event that asks for it
    states.tombstone[who[forgotten]] = np.maximum(time, np.where(ended, -1, newest))[forgotten]


def erase(states: States, rows: I64) -> None:
    """Leave nothing of the customers in `rows` but what their partition keeps: tombstones, and since when it knows."""
    erased = np.zeros(len(states.customers), dtype=bool)
    erased[rows] = True
    states.logs.replace(erased[states.logs.customer], states.logs.entries[:0], rows[:0])
    states.memory.newest[rows] = -1
    states.memory.floor[rows] = np.maximum(states.since[rows] - 1, -1)
    states.memory.complete_since[rows] = states.since[rows]
    states.memory.forced[rows] = 0
    states.memory.held[rows] = 0
    states.slots[rows] = np.zeros((), dtype=SLOT)
    for key in [key for key in states.notes if erased[key[0]]]:
        del states.notes[key]


def _wave(states: States, batch: Batch, events: I64, owner: I64) -> Wave:
    """Judge and insert `events` (by customer, in order of arrival), up to each customer's next end of state."""
    time, memory = batch.time[events], states.memory
    forget = batch.kind[events] == _FORGET
    known = _remembered(states, batch.id[events], owner)
    forgotten = is_buried(time, states.tombstone[owner], batch.watermark[events], states.rebuild_ms) | forget
    unverifiable = ~forgotten & ~known & (time <= memory.floor[owner])
    applied = ~(known | forgotten | unverifiable)
    applied[applied] = _first_of_id(batch.id[events[applied]], owner[applied])
    newest = _newest_before(np.where(applied, time, -1), owner, memory.newest)
    begins = np.concatenate([[True], owner[1:] != owner[:-1]])
    barrier = ~begins & (forget | ((newest >= 0) & (newest + STATE_MS < batch.watermark[events])))
    cut = _from_first(barrier, owner)
    keep = ~cut
    order = np.argsort(events[keep], kind="stable")

    def kept(column: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Bool:
        return column[keep][order]

    events_, owner_, time_ = events[keep][order], owner[keep][order], time[keep][order]
    applied_ = kept(applied)
    np.maximum.at(memory.newest, owner_[applied_], time_[applied_])
    entries, event = batch.entries(events_[applied_])
    rows = states.logs.insert(entries, batch.customer[event], event)
    first, stop = np.full(len(events_), -1), np.full(len(events_), -1)
    sizes = np.maximum(np.diff(batch.subject_offsets), 1)[events_[applied_]]
    ends = np.cumsum(sizes)
    first[applied_], stop[applied_] = rows[ends - sizes], rows[ends - 1] + 1
    late = applied_ & (time_ < newest[keep][order])
    return Wave(events_, applied_, kept(unverifiable), late, first, stop)


def _remembered(states: States, ids: "np.ndarray[tuple[int], np.dtype[np.uint64]]", owner: I64) -> Bool:
    """Which ids are among those of their owner's raw entries or folded ids (n,)."""
    logs, memory = states.logs, states.memory
    known = np.zeros(len(ids), dtype=bool)
    seat, row = expand(logs.offsets[owner], logs.offsets[owner + 1] - logs.offsets[owner])
    same = (logs.entries["id"][row] == ids[seat]) & (logs.entries["span"][row] == 0)
    known[seat[same]] = True
    held = np.flatnonzero(memory.held[owner])
    if len(held):
        full = np.arange(memory.ids.shape[1]) < memory.held[owner[held], None]
        known[held] |= ((memory.ids[owner[held]] == ids[held, None]) & full).any(axis=1)
    return known


def _first_of_id(ids: "np.ndarray[tuple[int], np.dtype[np.uint64]]", owner: I64) -> Bool:
    """Events that are the first of their id and owner (n,), given in order of arrival by owner."""
    order = np.lexsort((np.arange(len(ids)), ids, owner))
    first = np.ones(len(ids), dtype=bool)
    again = (ids[order[1:]] == ids[order[:-1]]) & (owner[order[1:]] == owner[order[:-1]])
    first[order[1:]] = ~again
    return first


def _newest_before(time: I64, owner: I64, newest: I64) -> I64:
    """Newest time of each event's customer before that event (n,), given by owner in order of arrival."""
    if not len(time):
        return time
    begins = np.concatenate([[True], owner[1:] != owner[:-1]])
    earlier = np.concatenate([time[:1], time[:-1]])
    earlier = np.where(begins, newest[owner], np.maximum(earlier, newest[owner]))
    seat = np.cumsum(begins) - 1
    running: I64 = np.maximum.accumulate((seat << _SHIFT) + earlier + 1)
    return running - (seat << _SHIFT) - 1


def _from_first(mask: Bool, owner: I64) -> Bool:
    """True from each owner's first True on (n,)."""
    begins = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    total = np.cumsum(mask)
    before: I64 = total[begins] - mask[begins]
    so_far: I64 = total - np.repeat(before, np.diff(np.concatenate([begins, [len(owner)]])))
    return so_far > 0
