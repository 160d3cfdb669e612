"""What customers touched in a recording: products with their names, sessions, and subjects by the catalogue."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from features.kinds import TOUCHES
from intents.catalog import Catalogue
from intents.occurrences import columns
from intents.stages import DAY_MS, Touch
from intents.themes import Sales
from streams.recordings import NO_TIME, RecordingBatch


class _Item(msgspec.Struct):
    product_id: str | None = None
    category: str | None = None
    name: str | None = None


class _Event(msgspec.Struct):
    event_id: str
    customer_id: str
    kind: str
    product_id: str | None = None
    category: str | None = None
    name: str | None = None
    query: str | None = None
    session_id: str | None = None
    items: list[_Item] = []


_DECODER: Final = msgspec.json.Decoder(_Event)


def touches(
    batches: Iterable[RecordingBatch],
    catalogue: Catalogue,
    told: Callable[[RecordingBatch, int], None] = lambda batch, count: None,
) -> Iterator[Touch]:
    """The touches of a recording's batches in file order, a line of a basket (`items`) as one of its own.

    Events that cannot be read or repeat an event_id are left out; `told` hears after each batch how many there were.
    """
    seen: set[str] = set()
    for batch in batches:
        for value, time_ms in zip(batch.values, batch.times_ms.tolist(), strict=True):
            event = _read(value)
            if event is None or time_ms == NO_TIME or event.event_id in seen:
                continue
            seen.add(event.event_id)
            for item in event.items or (_Item(),):
                name = event.name if item.name is None else item.name
                category = event.category if item.category is None else item.category
                found = catalogue.subjects(category, event.query, name)
                yield Touch(
                    event.customer_id,
                    event.kind,
                    time_ms,
                    event.session_id or "",
                    (event.product_id if item.product_id is None else item.product_id) or "",
                    name or "",
                    tuple(catalogue.names[subject] for subject in found),
                )
        told(batch, len(seen))


def _read(value: bytes) -> _Event | None:
    try:
        event = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if event.kind in TOUCHES and event.event_id and event.customer_id else None


def sales_of(found: Iterable[Touch], hold_back: float = 0.0) -> Sales:
    """Touches of products that have names, but for those in the last `hold_back` share of the time.

    A basket is a customer's session, or day; a product is its id, or its name where it has none, and is called as when
    it was seen first.
    """
    customers: dict[str, int] = {}
    baskets: dict[tuple[str, object], int] = {}
    products: dict[str, int] = {}
    names: list[str] = []
    rows: list[tuple[int, ...]] = []
    for touch in found:
        if touch.name:
            product = products.setdefault(touch.product_id or touch.name, len(products))
            if product == len(names):
                names.append(touch.name)
            customer = customers.setdefault(touch.customer_id, len(customers))
            basket = baskets.setdefault((touch.customer_id, touch.session or touch.time_ms // DAY_MS), len(baskets))
            rows.append((customer, basket, product, touch.time_ms))
    customer_of, basket_of, product_of, time_ms = columns(rows, 4)
    if rows and hold_back:
        keep = time_ms < time_ms.max() - (time_ms.max() - time_ms.min()) * hold_back
        customer_of, basket_of, product_of = customer_of[keep], basket_of[keep], product_of[keep]
    return Sales(customer_of, basket_of, product_of, names)
