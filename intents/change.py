"""One change of an intent, and what a slot keeps of it in words."""

from dataclasses import dataclass
from typing import Final

import msgspec

from features.state import UnreadableState
from intents.intent import JourneyStep, Status


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a slot keeps in words, so that its end says the same whoever writes it."""

    event_id: str
    version: str
    journey: JourneyStep
    soon: int | None = None  # the probability within a day when it was last asked, in 1e-4
    fallback: bool = False  # it spoke then, in place of the model


@dataclass(slots=True)
class Change:
    """One change of an intent.

    `event` is the batch's event before (deadline) or at which it is published, or the end of its part if none of them
    is late enough; `candidate` is the scored pair that caused it, -1 if none did.
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


pack_note: Final = msgspec.msgpack.Encoder().encode
_note: Final = msgspec.msgpack.Decoder(Note)


def read_note(note: bytes) -> Note:
    """A note from its bytes; raises UnreadableState."""
    try:
        return _note.decode(note)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableState(
            f"the note of an open intent is damaged ({error}): restore the store, or rebuild it from the log"
        ) from error
