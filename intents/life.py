"""An intent's life: detected, strengthened or weakened, then fulfilled or expired; one end each.

What is sequential for one customer runs in rounds: round k is everybody's k-th act of the wave (an ask or an
outcome), vectorised over customers. A deadline fires before the first record whose watermark is greater than it, and
says its own time.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from features.events import Batch
from features.log import I64, Bool
from features.state import SLOTS, States, UnreadableState
from intents.alarms import DEFAULT
from intents.candidates import Candidates
from intents.intent import STEP, JourneyStep, Status, intent_uuid
from intents.journeys import Journeys
from intents.targets import Target


@dataclass(frozen=True, slots=True)
class Rules:
    """When an intent begins, changes and ends. Probabilities in [0, 1], times in ms.

    `threshold` is a probability, or what the one that each model tells of shall meet.
    """

    threshold: float | Target = DEFAULT
    step: float = 0.10
    horizon_ms: int = 30 * 60_000
    cooldown_ms: int = 30 * 60_000


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What a slot keeps in words, so that its end says the same whoever writes it."""

    event_id: str
    version: str
    journey: JourneyStep
    soon: int | None = None  # the probability within a day when it was last asked, in 1e-4
    fallback: bool = False  # it spoke then, in place of the model


@dataclass(slots=True)
class Change:
    """One change of an intent.

    `event` is the batch's event before (deadline) or at which it is published, or the number of events of its part if
    none of them is late enough; `candidate` is the scored pair that caused it, -1 if none did.
    """

    part: int
    event: int
    row: int
    subject: int
    status: Status
    intent_id: bytes
    sequence: int
    confidence: int
    updated_at: int
    detected_at: int
    expires_at: int
    order: int
    offset: int
    note: Note
    candidate: int = -1
    deadline: bool = False


_DETECTED: Final[Status] = "detected"
_MOVED: Final[tuple[Status, Status]] = ("weakened", "strengthened")
_NEW: Final = Note("", "", JourneyStep(None, None, None))
_note: Final = msgspec.msgpack.Decoder(Note)


def _read_note(note: bytes) -> Note:
    try:
        return _note.decode(note)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableState(
            f"the note of an open intent is damaged ({error}): restore the store, or rebuild it from the log"
        ) from error


@dataclass(slots=True)
class Life:
    """Lives of the intents of one batch's customers; slots are changed in `states`, changes pile up in `changes`.

    `parts` (n,) is each state row's part, `threshold` the one in force, in 1e-4. `unslotted` counts detections that
    found no free slot.
    """

    states: States
    batch: Batch
    rules: Rules
    threshold: int
    parts: I64
    journeys: Journeys
    namespace: str
    variant: str
    changes: list[Change] = field(default_factory=list)
    unslotted: int = 0
    _opened: I64 = field(init=False)  # (n, SLOTS) event of the batch that opened the slot, -1: before the batch

    def __post_init__(self) -> None:
        self._opened = np.full(self.states.slots.shape, -1, dtype=np.int64)

    def act(self, events: I64, ask: I64, candidates: Candidates, confidence: I64, soon: I64) -> None:
        """Live through `events` (n,) in order of arrival: ask[i] is the ask of event i, -1 if it is an outcome.

        `confidence` (c,) are the candidates' probabilities in 1e-4, or -1 where the model is not ready to speak; `soon`
        those within a day.
        """
        rows = self.batch.customer[events]
        active = np.zeros(len(self.parts), dtype=bool)
        active[rows] = (self.states.slots["subject"][rows] != 0).any(axis=1)
        strong = confidence >= self.threshold
        loud = np.zeros(len(candidates.touched), dtype=bool)
        loud[candidates.ask[strong]] = True
        active[rows[(ask >= 0) & loud[ask]]] = True
        mine = active[rows]
        events, ask, rows = events[mine], ask[mine], rows[mine]
        order = np.argsort(rows, kind="stable")
        begins = np.flatnonzero(np.diff(rows[order], prepend=-1))
        counts = np.diff(np.append(begins, len(rows)))
        for k in range(int(counts.max(initial=0))):
            now = order[begins[counts > k] + k]
            self.expire(rows[now], self.batch.watermark[events[now]], self.batch.part[events[now]])
            ends = now[ask[now] < 0]
            if len(ends):
                self._outcomes(rows[ends], events[ends])
            asks = now[ask[now] >= 0]
            if len(asks):
                self._asks(rows[asks], events[asks], ask[asks], candidates, confidence, soon)

    def expire(self, rows: I64, watermark: I64, part: I64) -> None:
        """Fire the deadlines of state `rows` (m,) that are before `watermark` (m,): open intents expire.

        Each fires before the first event with a greater watermark that follows the one which opened the intent; if that
        comes in a later chunk, so does the firing.
        """
        slots = self.states.slots
        held = slots["subject"][rows] != 0
        due = held & (slots["open"][rows] == 1) & (slots["expires_at"][rows] < watermark[:, None])
        for i, s in zip(*np.nonzero(due), strict=True):
            row, where = int(rows[i]), int(part[i])
            d = int(slots["expires_at"][row, s])
            low, high = self.batch.starts[where], self.batch.starts[where + 1]
            event = int(low + np.searchsorted(self.batch.watermark[low:high], d, "right"))
            opened = int(self._opened[row, s])
            if opened >= 0 and max(event, opened + 1) >= high:
                continue
            event = max(event, opened + 1)
            change = self._change(row, int(s), "expired", where, event, d)
            change.deadline = True
            change.order = change.subject
            self.changes.append(change)
            slots["open"][row, s] = 0  # its cool-down is over at a question of the customer's own, not by the watermark
            self.states.notes.pop((row, int(s)), None)

    def forget(self, rows: I64, events: I64) -> None:
        """End the open intents of `rows` (m,) at the `forget` events (m,)."""
        for row, event in zip(rows.tolist(), events.tolist(), strict=True):
            for s in np.flatnonzero(self.states.slots["open"][row] == 1).tolist():
                change = self._change(row, s, "forgotten", int(self.parts[row]), event, int(self.batch.time[event]))
                self._source(change, event)
                change.order = change.subject
                self.changes.append(change)

    def _outcomes(self, rows: I64, events: I64) -> None:
        """Fulfil open intents of the subjects of these outcomes, and end their cool-downs."""
        slots, offsets = self.states.slots, self.batch.subject_offsets
        time = self.batch.time[events][:, None]
        count = offsets[events + 1] - offsets[events]
        for j in range(int(count.max())):
            subject = np.where(count > j, self.batch.subjects[np.minimum(offsets[events] + j, offsets[-1] - 1)], 0)
            after = (slots["subject"][rows] == subject[:, None]) & (subject != 0)[:, None]
            after &= slots["detected_at"][rows] < time
            is_open = slots["open"][rows] == 1
            fulfilled = after & is_open & (time <= slots["expires_at"][rows])
            for i, s in zip(*np.nonzero(fulfilled), strict=True):
                row, event = int(rows[i]), int(events[i])
                change = self._change(row, int(s), "fulfilled", int(self.parts[row]), event, int(time[i, 0]))
                self._source(change, event)
                change.order = j
                self.changes.append(change)
            overdue = np.nonzero(after & is_open & ~fulfilled)  # its deadline has not fired yet: no cool-down after it
            slots["cool_until"][rows[overdue[0]], overdue[1]] = slots["detected_at"][rows[overdue[0]], overdue[1]]
            i, s = np.nonzero(fulfilled | (after & ~is_open))
            self._free(rows[i], s)

    def _asks(self, rows: I64, events: I64, ask: I64, candidates: Candidates, confidence: I64, soon: I64) -> None:
        """Detect, strengthen and weaken by the candidates of these asks, one ask a customer."""
        slots, time = self.states.slots, self.batch.time[events]
        over = (slots["subject"][rows] != 0) & (slots["open"][rows] == 0) & (slots["cool_until"][rows] <= time[:, None])
        i, s = np.nonzero(over)
        self._free(rows[i], s)
        first, stop = candidates.offsets[ask], candidates.offsets[ask + 1]
        width = np.arange(int((stop - first).max()))
        place = np.minimum(first[:, None] + width, len(candidates.subject) - 1)
        there = (width < (stop - first)[:, None]) & (confidence[place] >= 0)
        subject = candidates.subject[place]
        match = (slots["subject"][rows][:, None, :] == subject[:, :, None]) & there[:, :, None]
        known, slot = match.any(axis=2), match.argmax(axis=2)
        seat = np.arange(len(rows))[:, None]
        is_open = (
            known & (slots["open"][rows][seat, slot] == 1) & (time[:, None] <= slots["expires_at"][rows][seat, slot])
        )
        delta = confidence[place] - slots["confidence"][rows][seat, slot].astype(np.int64)
        moved = is_open & (np.abs(delta) >= round(self.rules.step * STEP))
        new = there & ~known & (confidence[place] >= self.threshold)
        free = self._free_slots(rows)
        nth = np.cumsum(new, axis=1) - 1
        self.unslotted += int((new & (nth >= free.counts[:, None])).sum())
        new &= nth < free.counts[:, None]
        for i, k in zip(*np.nonzero(new | moved), strict=True):
            row, event, pair = int(rows[i]), int(events[i]), int(place[i, k])
            if new[i, k]:
                at, status = int(free.order[i, nth[i, k]]), _DETECTED
                self._open(row, at, event, int(subject[i, k]))
            else:
                at, status = int(slot[i, k]), _MOVED[int(delta[i, k] > 0)]
            slots["confidence"][row, at] = confidence[pair]
            change = self._change(row, at, status, int(self.parts[row]), event, int(time[i]), new=bool(new[i, k]))
            change.candidate, change.order = pair, int(k)
            within_a_day = int(soon[pair]) if soon[pair] >= 0 else None
            step = self.journeys.step(change.subject)
            speaker = self.journeys.version, step, within_a_day, self.journeys.fallback
            change.note = Note(self.batch.event_ids[event], *speaker)
            self._source(change, event)
            slots["offset"][row, at] = change.offset
            self.states.notes[row, at] = msgspec.msgpack.encode(change.note)
            self.changes.append(change)

    def _open(self, row: int, s: int, event: int, subject: int) -> None:
        at, customer = int(self.batch.time[event]), self.states.customers[row]
        uuid = intent_uuid(self.namespace, self.variant, customer, f"{subject:016x}", at, self.batch.event_ids[event])
        until, cool = at + self.rules.horizon_ms, at + self.rules.cooldown_ms
        self.states.slots[row, s] = (subject, at, until, cool, 0, 0, 0, 1, uuid.bytes)
        self._opened[row, s] = event

    def _change(
        self, row: int, s: int, status: Status, part: int, event: int, updated_at: int, *, new: bool = False
    ) -> Change:
        """A change of the intent in a slot, its sequence counted on.

        What it says beyond the slot is the last note's.
        """
        slots = self.states.slots
        if not new:
            slots["sequence"][row, s] += 1
        subject, detected_at, expires_at, _, offset, sequence, confidence, _, intent_id = slots[row, s].item()
        return Change(
            part=part,
            event=event,
            row=row,
            subject=subject,
            status=status,
            intent_id=intent_id,
            sequence=sequence,
            confidence=confidence,
            updated_at=updated_at,
            detected_at=detected_at,
            expires_at=expires_at,
            order=0,
            offset=offset,
            note=_NEW if new else _read_note(self.states.notes[row, s]),
        )

    def _source(self, change: Change, event: int) -> None:
        change.offset = int(self.batch.offset[event])
        change.note = msgspec.structs.replace(change.note, event_id=self.batch.event_ids[event])

    def _free(self, rows: I64, s: I64) -> None:
        self.states.slots[rows, s] = np.zeros((), dtype=self.states.slots.dtype)
        for key in zip(rows.tolist(), s.tolist(), strict=True):
            self.states.notes.pop(key, None)

    def _free_slots(self, rows: I64) -> "_Free":
        used: Bool = self.states.slots["subject"][rows] != 0
        return _Free(np.argsort(used, axis=1, kind="stable"), SLOTS - used.sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Free:
    """Free slots of some rows: `order` (m, SLOTS) lists them first, `counts` (m,) says how many there are."""

    order: I64
    counts: I64
