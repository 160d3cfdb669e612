"""The intent event: what recommenders read."""

from typing import Final, Literal
from uuid import UUID, uuid5

import msgspec

Status = Literal["detected", "strengthened", "weakened", "fulfilled", "expired", "forgotten"]

STEP: Final = 10_000
"""Confidences are kept as integers of 1e-4."""
FALLBACK: Final = "fallback"
"""Name of what is served in place of a model that loses to it."""
_SPACE: Final = UUID("b3d86fcf-8bd6-5f0e-9a3c-0d8c6c1f7f52")


class JourneyStep(msgspec.Struct, frozen=True, gc=False):
    """Where on a journey an intent stands: `name` and `stage` (from 1) if declared.

    `next` and its share of what customers wanted next.
    """

    name: str | None
    stage: int | None
    next: str | None
    next_share: float | None = None


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """One thing that spoke for an intent: a feature and its value, or the event that ended it.

    `text` says it in words.
    """

    feature: str
    value: float
    text: str


class ModelName(msgspec.Struct, frozen=True, gc=False):
    """The model that spoke, or "fallback" if it loses to that; `version` is its snapshot's."""

    name: str
    version: str
    variant: str


class Source(msgspec.Struct, frozen=True, gc=False):
    """The clickstream record that changed the intent last."""

    topic: str
    partition: int
    offset: int
    event_id: str


class Intent(msgspec.Struct, frozen=True, gc=False):
    """One change of one intent; times are UTC milliseconds.

    `confidence` is the probability of an outcome before `expires_at`, as of the last change by a question; `soon` that
    within a day, null until the model knows. Keep the highest `sequence` of each `intent_id`, drop the rest.
    """

    intent_id: str
    sequence: int
    customer_id: str
    intent: str
    label: str
    status: Status
    confidence: float
    journey: JourneyStep
    evidence: list[Evidence]
    detected_at: int
    updated_at: int
    expires_at: int
    model: ModelName
    source: Source
    soon: float | None = None


def uuid_text(uuid: bytes) -> str:
    """A UUID's 16 bytes as text, as `str(UUID(bytes=uuid))` says it in a tenth of the time."""
    text = uuid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def intent_uuid(namespace: str, variant: str, customer_id: str, subject: str, detected_at: int, event_id: str) -> UUID:
    """uuid5 of what makes an intent itself, so that a repeat has the same id."""
    return uuid5(_SPACE, "\x1f".join((namespace, variant, customer_id, subject, str(detected_at), event_id)))
