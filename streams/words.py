"""Intents in words that a shop's person understands, one sentence a change.

    customer 4711 is planning a birthday: Party supplies → next: Ice cream, 64 %, because 5 views in 5 min

A declared journey is called by its name in the catalogue, so name it by what is planned.
"""

from collections.abc import Mapping
from typing import Final

from intents.intent import Intent

LIKELY: Final = 0.2
"""Share of customers from which on a learned next subject is worth saying; a declared one always is."""
_VOWELS: Final = "aeiou"
_MINUTE_MS: Final = 60_000


class Words:
    """Says intents; learns the labels of subjects from the intents it has said, so that `next` has its label too."""

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        """`labels` are a catalogue's, if there is one."""
        self._labels = dict(labels or {})

    def say(self, intent: Intent) -> str:
        """One sentence about one change of one intent, without control characters."""
        self._labels[intent.intent] = intent.label
        return plain(f"customer {intent.customer_id} {self._rest(intent)}")

    def label(self, subject: str) -> str:
        """What people call a subject."""
        return self._labels.get(subject, subject.replace("_", " "))

    def _rest(self, intent: Intent) -> str:
        want = self.label(intent.intent)
        percent = f"{100 * intent.confidence:.0f} %"
        why = ", ".join(item.text for item in intent.evidence)
        because = f", because {why}" if why else ""
        match intent.status:
            case "detected":
                return f"{self._plan(intent)}{want}{self._next(intent)}, {percent}{because}"
            case "strengthened":
                return f"wants {want} more now{self._next(intent)}, {percent}{because}"
            case "weakened":
                return f"wants {want} less now, {percent}"
            case "fulfilled":
                after = _minutes(intent.updated_at - intent.detected_at)
                return f"got it: {want}, {why or 'as foreseen'}, {after} after it was seen coming{self._next(intent)}"
            case "expired":
                after = _minutes(intent.expires_at - intent.detected_at)
                return f"let it be: {want}, nothing in {after}"
            case "forgotten":
                return f"asked to be forgotten: {want} ends here"

    def _plan(self, intent: Intent) -> str:
        journey = intent.journey.name
        if journey is None:
            return "wants "
        name = journey.replace("_", " ")
        return f"is planning {'an' if name[:1].lower() in _VOWELS else 'a'} {name}: "

    def _next(self, intent: Intent) -> str:
        journey = intent.journey
        if journey.next is None or (journey.name is None and (journey.next_share or 0.0) < LIKELY):
            return ""
        return f" → next: {self.label(journey.next)}"


def plain(text: str) -> str:
    """`text` with everything that could move a terminal's cursor replaced."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def _minutes(ms: int) -> str:
    minutes = round(ms / _MINUTE_MS)
    return f"{minutes} min" if minutes else f"{round(ms / 1000)} s"
