"""Recordings as evaluation sees them: what each event was about, by the catalogue, read apart from the engine."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from features.kinds import CODE
from intents.catalog import Catalogue
from intents.occurrences import Occurrence
from streams.recordings import NO_TIME, Recording


class _Item(msgspec.Struct):
    category: str | None = None
    name: str | None = None


class _Event(msgspec.Struct):
    event_id: str
    customer_id: str
    kind: str
    category: str | None = None
    query: str | None = None
    name: str | None = None
    items: list[_Item] | None = None


_event_decoder: Final = msgspec.json.Decoder(_Event)


def occurrences(
    recording: Recording,
    catalogue: Catalogue | None = None,
    limit: int | None = None,
    told: Callable[[float, int], None] = lambda share, count: None,
) -> Iterator[Occurrence]:
    """What evaluation needs of the first `limit` events, subjects by the catalogue; unreadable ones are left out.

    Lines of a basket (`items`) follow one another as events of their own, `event_id#i`; a line without a category has
    the basket's. `told` hears how far the file has been read: its share, and how many records.
    """
    mapped = catalogue or Catalogue()

    def subjects(category: str | None, query: str | None, name: str | None) -> tuple[str, ...]:
        return tuple(mapped.names[subject] for subject in mapped.subjects(category, query, name))

    read = 0
    for batch in recording.batches(limit=limit):
        read += len(batch.values)
        told(min(1.0, max(batch.read_bytes / max(1, recording.size_bytes), read / limit if limit else 0.0)), read)
        for value, time_ms in zip(batch.values, batch.times_ms.tolist(), strict=True):
            event = _told(value)
            if event is None or time_ms == NO_TIME:
                continue
            about = Occurrence(event.customer_id, event.kind, time_ms, (), event.event_id)
            if not event.items:
                yield about._replace(subjects=subjects(event.category, event.query, event.name))
            for number, item in enumerate(event.items or ()):
                category = event.category if item.category is None else item.category
                found = subjects(category, event.query, event.name if item.name is None else item.name)
                yield about._replace(subjects=found, event_id=f"{event.event_id}#{number}")


def _told(value: bytes) -> _Event | None:
    try:
        event = _event_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if event.kind in CODE and event.event_id and event.customer_id else None
