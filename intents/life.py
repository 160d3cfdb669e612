"""An intent's life: detected, strengthened or weakened, then fulfilled or expired; one end each.

What is sequential for one customer runs in rounds: round k is everybody's k-th act of the wave (an ask or an
outcome), vectorised over customers. A deadline fires before the first record whose watermark is greater than it, and
says its own time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from msgspec.structs import replace

from features.events import Batch
from features.log import I64, U64, Bool
from features.state import SLOTS, States
from intents.alarms import DEFAULT
from intents.candidates import Candidates
from intents.change import Change, Note, pack_note, read_note
from intents.intent import STEP, Status, intent_uuid
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


_SPOKEN: Final[tuple[Status, ...]] = ("detected", "weakened", "strengthened")


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
        i, s = np.nonzero(due)
        if not len(i):
            return
        row, where = rows[i], part[i]
        fires = self._opened[row, s] + 1
        for one in np.unique(where).tolist():
            low, high = self.batch.starts[one : one + 2]
            mine, opened = where == one, fires[where == one]
            late = low + np.searchsorted(self.batch.watermark[low:high], slots["expires_at"][row, s][mine], "right")
            fires[mine] = np.where((opened > 0) & (np.maximum(late, opened) >= high), -1, np.maximum(late, opened))
        now = fires >= 0
        row, s, where, fires = row[now], s[now], where[now], fires[now]
        deadlines = slots["expires_at"][row, s]
        changes = self._changes(row, s, ["expired"] * len(row), fires, deadlines, self._notes(row, s))
        for change in changes:
            change.deadline = True
            change.order = change.subject
        self.changes += changes
        slots["open"][row, s] = 0  # its cool-down is over at a question of the customer's own, not by the watermark
        for key in zip(row.tolist(), s.tolist(), strict=True):
            self.states.notes.pop(key, None)

    def forget(self, rows: I64, events: I64) -> None:
        """End the open intents of `rows` (m,) at the `forget` events (m,)."""
        i, s = np.nonzero(self.states.slots["open"][rows] == 1)
        self._end(rows[i], s, "forgotten", events[i])

    def _end(self, rows: I64, s: I64, status: Status, events: I64) -> list[Change]:
        """Changes of the intents in slots (`rows`, `s`) (m,) that end by `events` (m,), in their order."""
        ids = [self.batch.event_ids[event] for event in events.tolist()]
        notes = [replace(note, event_id=one) for note, one in zip(self._notes(rows, s), ids, strict=True)]
        changes = self._changes(rows, s, [status] * len(rows), events, self.batch.time[events], notes)
        for change, offset in zip(changes, self.batch.offset[events].tolist(), strict=True):
            change.offset, change.order = offset, change.subject
        self.changes += changes
        return changes

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
            i, s = np.nonzero(fulfilled)
            for change in self._end(rows[i], s, "fulfilled", events[i]):
                change.order = j
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
        i, k = np.nonzero(new | moved)
        if len(i):
            at = np.where(new[i, k], free.order[i, nth[i, k]], slot[i, k])
            said = _Said(place[i, k], confidence[place[i, k]], soon[place[i, k]], new[i, k], delta[i, k] > 0, k)
            self._say(rows[i], at, events[i], subject[i, k], said)

    def _say(self, rows: I64, s: I64, events: I64, subject: U64, said: "_Said") -> None:
        """Detect, or change, the intents of `subject` in slots (`rows`, `s`) by the questions of `events` (m,)."""
        slots = self.states.slots
        offset, ids = self.batch.offset[events], [self.batch.event_ids[event] for event in events.tolist()]
        moved = ~said.new
        self._notes(rows[moved], s[moved])  # raises for a damaged one, which would be overwritten without a word
        slots["sequence"][rows[moved], s[moved]] += 1
        self._open(rows[said.new], s[said.new], events[said.new], subject[said.new])
        slots["confidence"][rows, s], slots["offset"][rows, s] = said.confidence, offset
        speaker, notes = (self.journeys.version, self.journeys.fallback), []
        for event_id, subject_, soon in zip(ids, subject.tolist(), said.soon.tolist(), strict=True):
            version, fallback = speaker
            notes.append(Note(event_id, version, self.journeys.step(subject_), soon if soon >= 0 else None, fallback))
        status = np.where(said.new, 0, 1 + said.up).tolist()
        changes = self._changes(rows, s, [_SPOKEN[one] for one in status], events, self.batch.time[events], notes)
        places = zip(changes, said.candidate.tolist(), said.order.tolist(), strict=True)
        for change, candidate, order in places:
            change.candidate, change.order = candidate, order
        self.changes += changes
        self.states.notes.update(zip(zip(rows.tolist(), s.tolist(), strict=True), map(pack_note, notes), strict=True))

    def _open(self, rows: I64, s: I64, events: I64, subject: U64) -> None:
        """Fill the free slots (`rows`, `s`) (m,) with intents of `subject` that begin at `events` (m,)."""
        batch, time = self.batch, self.batch.time[events]
        opened = np.zeros(len(rows), dtype=self.states.slots.dtype)
        opened["subject"], opened["detected_at"], opened["open"] = subject, time, 1
        opened["expires_at"] = time + self.rules.horizon_ms
        opened["cool_until"] = time + self.rules.cooldown_ms
        whose = zip(rows.tolist(), subject.tolist(), time.tolist(), events.tolist(), strict=True)
        uuids = [
            intent_uuid(
                self.namespace, self.variant, self.states.customers[row], f"{of:016x}", at, batch.event_ids[event]
            ).bytes
            for row, of, at, event in whose
        ]
        opened["intent_id"] = np.frombuffer(b"".join(uuids), dtype="V16")
        self.states.slots[rows, s] = opened
        self._opened[rows, s] = events

    def _changes(
        self, rows: I64, s: I64, status: Sequence[Status], events: I64, updated_at: I64, notes: Sequence[Note]
    ) -> list[Change]:
        """Changes of the intents in slots (`rows`, `s`) (m,), their sequences counted on where an intent ends."""
        slots = self.states.slots
        if status and status[0] not in _SPOKEN:
            slots["sequence"][rows, s] += 1
        columns = zip(
            slots[rows, s].tolist(),
            rows.tolist(),
            self.parts[rows].tolist(),
            events.tolist(),
            updated_at.tolist(),
            status,
            notes,
            strict=True,
        )
        return [
            Change(
                part=part,
                event=event,
                row=row,
                subject=subject,
                status=is_now,
                intent_id=intent_id,
                sequence=sequence,
                confidence=confidence,
                updated_at=updated,
                detected_at=detected_at,
                expires_at=expires_at,
                order=0,
                offset=offset,
                note=note,
            )
            for (
                subject,
                detected_at,
                expires_at,
                _,
                offset,
                sequence,
                confidence,
                _,
                intent_id,
            ), row, part, event, updated, is_now, note in columns
        ]

    def _notes(self, rows: I64, s: I64) -> list[Note]:
        """What the slots (`rows`, `s`) (m,) keep in words."""
        return [read_note(self.states.notes[key]) for key in zip(rows.tolist(), s.tolist(), strict=True)]

    def _free(self, rows: I64, s: I64) -> None:
        self.states.slots[rows, s] = np.zeros((), dtype=self.states.slots.dtype)
        for key in zip(rows.tolist(), s.tolist(), strict=True):
            self.states.notes.pop(key, None)

    def _free_slots(self, rows: I64) -> "_Free":
        used: Bool = self.states.slots["subject"][rows] != 0
        return _Free(np.argsort(used, axis=1, kind="stable"), SLOTS - used.sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Said:
    """What was said of the pairs (m,) that change intents.

    `candidate` is each one's place among the candidates, `order` that among its question's; probabilities are in 1e-4.
    """

    candidate: I64
    confidence: I64
    soon: I64
    new: Bool
    up: Bool
    order: I64


@dataclass(frozen=True, slots=True)
class _Free:
    """Free slots of some rows: `order` (m, SLOTS) lists them first, `counts` (m,) says how many there are."""

    order: I64
    counts: I64
