"""What was published is true: after a loss of states, intents are taken over from the `intents` topic.

States can be rebuilt from the log, but not with the models that spoke then: other probabilities would contradict what
recommenders have read. So while records are worked again that were worked before, only logs are rebuilt; then every
customer gets the intents that their published records leave open or cooling down, and lives go on from there.

1. Of each customer and subject the newest intent counts, with its highest sequence.
2. One without an end is open. One that has expired cools down, unless an outcome of its subject came after it began.
3. `last` is the highest source offset that anything was published for. Perhaps not all that it led to was: that record
   is worked as usual, but for the subjects `answered`, of which an answer is out.
4. `watermark` is event time that the partition has passed: a deadline before it that has no end gets one. A deadline
   whose end is out tells the `position` at which it fired: all before that was worked, whatever came of it.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from features.log import OUTCOME_TABLE
from features.state import SLOT, SLOTS, States
from intents.change import Note
from intents.intent import FALLBACK, STEP, Intent
from intents.life import Rules
from intents.subjects import Names, subject_hash

_OPEN: Final = frozenset({"detected", "strengthened", "weakened"})
_intent: Final = msgspec.json.Decoder(Intent)


@dataclass(slots=True)
class Published:
    """What one source partition's published intents add up to, in whatever order and how often they come."""

    topic: str
    partition: int
    last: int = -1
    watermark: int = -1
    position: int = -1
    answered: set[int] = field(default_factory=set)
    lives: dict[str, dict[str, Intent]] = field(default_factory=dict)

    def take(self, value: bytes, watermark_ms: int, position: int = -1) -> None:
        """Take a record of the intents topic, its value and two of its headers (-1: none); others' are left."""
        try:
            intent = _intent.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if (intent.source.topic, intent.source.partition) != (self.topic, self.partition):
            return
        if intent.source.offset > self.last:
            self.last, self.answered = intent.source.offset, set()
        if intent.source.offset == self.last:
            self.answered.add(subject_hash(intent.intent))
        # A deadline's record carries the deadline, which the watermark was past.
        self.watermark = max(self.watermark, watermark_ms + (intent.status == "expired"))
        self.position = max(self.position, position)
        lives = self.lives.setdefault(intent.customer_id, {})
        known = lives.get(intent.intent)
        if known is None or (known.detected_at, known.sequence) < (intent.detected_at, intent.sequence):
            lives[intent.intent] = msgspec.structs.replace(intent, evidence=[])

    @property
    def customers(self) -> list[str]:
        """Everybody of whom anything was published, in order."""
        return sorted(self.lives)

    def install(self, states: States, rules: Rules, names: Names) -> dict[int, str]:
        """Put what is open or cooling down into the slots of `states`, in place of what is there.

        Returns the subjects' names.
        """
        states.slots[:] = np.zeros((), dtype=SLOT)
        states.notes.clear()
        told: dict[int, str] = {}
        for row, customer in enumerate(states.customers):
            lasting = [it for it in self.lives.get(customer, {}).values() if _lasts(it, states, row, rules)]
            lasting.sort(key=lambda it: (it.detected_at, it.intent))
            for slot, intent in enumerate(lasting[-SLOTS:]):
                subject = subject_hash(intent.intent)
                names.learn(subject, intent.intent)
                told[subject] = intent.intent
                _fill(states, row, slot, intent, rules)
            if lasting:  # a log that retention has cut short may be older than they are
                states.memory.newest[row] = max(int(states.memory.newest[row]), lasting[-1].detected_at)
        return told


def _lasts(intent: Intent, states: States, row: int, rules: Rules) -> bool:
    """Whether an intent still matters: open, or expired and cooling down, and not of what was forgotten."""
    if intent.detected_at <= states.tombstone[row]:
        return False
    if intent.status in _OPEN:
        return True
    newest = states.memory.newest[row]  # -1: no event of theirs in all of the log, so there is nothing to cool down
    return bool(intent.status == "expired" and 0 <= newest < intent.detected_at + rules.cooldown_ms)


def _wanted_after(intent: Intent, states: States, row: int) -> bool:
    """Whether the customer put the subject into the cart, or bought it, after it was detected."""
    log = states.logs.entries[states.logs.offsets[row] : states.logs.offsets[row + 1]]
    outcomes = OUTCOME_TABLE[log["kind"]] & (log["subject"] == np.uint64(subject_hash(intent.intent)))
    return bool((log["time"][outcomes] > intent.detected_at).any())


def _fill(states: States, row: int, slot: int, intent: Intent, rules: Rules) -> None:
    """Write an intent into a slot, as its life had left it there."""
    open_ = intent.status in _OPEN
    cooldown = 0 if _wanted_after(intent, states, row) else rules.cooldown_ms
    states.slots[row, slot] = np.array(
        (
            subject_hash(intent.intent),
            intent.detected_at,
            intent.expires_at,
            intent.detected_at + cooldown,
            intent.source.offset,
            intent.sequence,
            round(intent.confidence * STEP),
            open_,
            np.void(_uuid_bytes(intent.intent_id)),
        ),
        dtype=SLOT,
    )
    if open_:
        soon = None if intent.soon is None else round(intent.soon * STEP)
        fallback = intent.model.name == FALLBACK
        note = Note(intent.source.event_id, intent.model.version, intent.journey, soon, fallback)
        states.notes[row, slot] = msgspec.msgpack.encode(note)


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))
