"""The clickstream's wire format, and its decoding into columns; what is refused is named, and the rest goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, compress
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, cast

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from features.events import AHEAD_MS, MAX_TIME_MS, Chunk
from features.kinds import CODE
from features.log import I64
from intents.catalog import Catalogue
from intents.subjects import event_hash, product_hash

Text = Annotated[str, Meta(max_length=256)]
Words = Annotated[str, Meta(max_length=1024)]
Id = Annotated[str, Meta(min_length=1, max_length=256)]
Instant = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)] | Annotated[datetime, Meta(tz=True)]
Kind = Literal[
    "impression",
    "click",
    "view",
    "search",
    "favorite",
    "cart_add",
    "cart_remove",
    "checkout",
    "purchase",
    "refund",
    "banner_impression",
    "banner_click",
    "message",
    "feedback",
    "forget",
    "merge",
]

MAX_RECORD_BYTES: Final = 1_000_000
MAX_AHEAD_MS: Final = 86_400_000
MAX_ITEMS: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One line of a basket; what it leaves out is the event's."""

    product_id: Text | None = None
    category: Text | None = None
    brand: Text | None = None
    name: Words | None = None
    price: float | None = None
    quantity: float | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One clickstream event.

    `time` is UTC: integer milliseconds or RFC 3339 with an offset; prices are in `currency`.
    """

    event_id: Id
    customer_id: Id
    kind: Kind
    time: Instant
    product_id: Text | None = None
    category: Text | None = None
    query: Words | None = None
    price: float | None = None
    quantity: float | None = None
    items: Annotated[list[Item], Meta(max_length=MAX_ITEMS)] | None = None
    channel: Text | None = None
    session_id: Text | None = None
    brand: Text | None = None
    name: Words | None = None
    currency: Text | None = None
    placement: Text | None = None
    banner_id: Text | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that is no valid event: where it is and why."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Records:
    """Raw records of one partition.

    [start, end) with `keys`, `values`, `offsets` (n,) and broker `timestamps` (n,) ms, -1 if none.
    """

    topic: str
    partition: int
    start: int
    end: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    offsets: I64
    timestamps: I64

    def part(self, start: int, end: int) -> "Records":
        """The records of the offsets [start, end)."""
        low, high = np.searchsorted(self.offsets, [start, end]).tolist()
        columns = (self.keys[low:high], self.values[low:high], self.offsets[low:high], self.timestamps[low:high])
        return Records(self.topic, self.partition, start, end, *columns)


class _Memo(dict[Any, Any]):
    """A bounded cache that C code reads, and that only asks its function for what is new."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: Any) -> Any:
        if len(self) > 500_000:
            self.clear()
        value = self[key] = self._function(key)
        return value


_row = attrgetter(
    "event_id", "customer_id", "kind", "time", "product_id", "category", "query", "name", "price", "quantity"
)
_COLUMNS: Final = 10


@dataclass(slots=True)
class Decoder:
    """Decodes records into chunks by one catalogue."""

    catalogue: Catalogue
    _json: msgspec.json.Decoder[Event] = field(default_factory=lambda: msgspec.json.Decoder(Event))
    _products: _Memo = field(default_factory=lambda: _Memo(product_hash))
    _subjects: _Memo = field(init=False)

    def __post_init__(self) -> None:
        self._subjects = _Memo(lambda key: self.catalogue.subjects(*key))

    def decode(self, records: Records) -> tuple[Chunk, list[Refusal]]:
        """The valid events of `records` as columns, and the refused records in order of offset."""
        events, refusals = self._parse(records)
        place, found = np.arange(len(events)), cast(list[Event], events)
        if refusals:
            place = np.array([i for i, event in enumerate(events) if event is not None], dtype=np.int64)
            found = [event for event in events if event is not None]
        lines = [i for i, event in enumerate(found) if event.items] if any(map(_items, found)) else []
        index = np.zeros(len(found), dtype=np.int64)
        if lines:
            found, place, index = _with_items(found, place, lines)
        columns: list[Sequence[Any]] = list(zip(*map(_row, found), strict=True)) if found else [()] * _COLUMNS
        ids, customers, kinds, times, products, categories, queries, names, prices, quantities = columns
        time = _milliseconds(times)
        refused = self._judge(records, place, index, customers, kinds, time)
        if refused:
            refusals = sorted(refusals + [Refusal(int(o), r) for o, r in refused.items()], key=lambda r: r.offset)
            keep = ~np.isin(records.offsets[place], list(refused))
            place, time, index = place[keep], time[keep], index[keep]
            mask = keep.tolist()
            ids, customers, kinds, products, categories, queries, names, prices, quantities = (
                list(compress(column, mask))
                for column in (ids, customers, kinds, products, categories, queries, names, prices, quantities)
            )
        rest = (ids, customers, kinds, products, categories, queries, names, prices, quantities)
        return self._chunk(records, place, time, index, rest), refusals

    def _parse(self, records: Records) -> tuple[list[Event | None], list[Refusal]]:
        """Events by record, None for those refused here: too long, no value, not JSON, not an event."""
        events: list[Event | None] = []
        refusals: list[Refusal] = []
        for event in self._parsed(records.values):
            if isinstance(event, str):
                refusals.append(Refusal(int(records.offsets[len(events)]), event))
                events.append(None)
            else:
                events.extend(event)
        return events, refusals

    def _parsed(self, values: Sequence[bytes | None]) -> Iterator[list[Event] | str]:
        """Runs of events, and between them the reason why a record was refused. C code loops over the good ones."""
        if max(map(_length, values), default=0) > MAX_RECORD_BYTES or None in values:
            decoded: Iterator[Event] = map(self._decode_checked, values)
        else:
            decoded = map(self._json.decode, values)  # type: ignore[arg-type]  # no None among them
        done = False
        while not done:
            run: list[Event] = []
            try:
                run.extend(decoded)  # keeps what came before an exception
                done = True
                reason = ""
            except msgspec.ValidationError as error:
                reason = f"invalid: {error}"
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                reason = f"not JSON: {error}"
            yield run
            if reason:
                yield reason

    def _decode_checked(self, value: bytes | None) -> Event:
        if value is None:
            raise msgspec.DecodeError("the record has no value")
        if len(value) > MAX_RECORD_BYTES:
            raise msgspec.ValidationError(f"the record has {len(value)} bytes, more than {MAX_RECORD_BYTES}")
        return self._json.decode(value)

    def _judge(
        self,
        records: Records,
        place: I64,
        index: I64,
        customers: Sequence[str],
        kinds: Sequence[str],
        time: I64,
    ) -> dict[int, str]:
        """Reasons, by offset, to refuse what is well formed: reserved kind, key, time."""
        refused: dict[int, str] = {}
        offsets = records.offsets[place]
        keys = list(map(records.keys.__getitem__, place.tolist()))
        if keys != [customer.encode() for customer in customers]:
            for i, (key, customer) in enumerate(zip(keys, customers, strict=True)):
                if key != customer.encode():
                    refused[int(offsets[i])] = f"key {(key or b'')[:64]!r} is not the customer_id {customer[:64]!r}"
        for i in np.flatnonzero((time < 0) | (time > MAX_TIME_MS)).tolist():
            refused[int(offsets[i])] = f"time {time[i]} is before 1970 or after 2248"
        stamp = records.timestamps[place]
        for i in np.flatnonzero((stamp >= 0) & (time > stamp + MAX_AHEAD_MS)).tolist():
            refused[int(offsets[i])] = f"time {time[i]} is more than a day after the broker's {stamp[i]}"
        if "merge" in kinds:
            for i in [i for i, kind in enumerate(kinds) if kind == "merge"]:
                refused[int(offsets[i])] = "kind merge is reserved"
        return refused

    def _chunk(self, records: Records, place: I64, time: I64, index: I64, columns: tuple[Sequence[Any], ...]) -> Chunk:
        ids, customers, kinds, products, categories, queries, names, prices, quantities = columns
        if not self.catalogue.reads_names:
            names = [None] * len(ids)  # fewer keys to remember
        subjects = list(map(self._subjects.__getitem__, zip(categories, queries, names, strict=True)))
        offsets = np.zeros(len(subjects) + 1, dtype=np.int64)
        np.cumsum(list(map(len, subjects)), out=offsets[1:])
        stamp = records.timestamps[place]
        clock = np.where(stamp >= 0, np.minimum(time, stamp + AHEAD_MS), time)
        return Chunk(
            topic=records.topic,
            partition=records.partition,
            start=records.start,
            end=records.end,
            customers=list(customers),
            event_ids=list(ids),
            kind=np.fromiter(map(CODE.__getitem__, kinds), dtype=np.uint8, count=len(ids)),
            time=time,
            clock=clock,
            offset=records.offsets[place],
            index=index,
            id=np.fromiter(map(event_hash, map(str.encode, ids)), dtype=np.uint64, count=len(ids)),
            product=np.fromiter(map(self._products.__getitem__, products), dtype=np.uint32, count=len(ids)),
            value=_minor_units(prices, quantities),
            subjects=np.fromiter(chain.from_iterable(subjects), dtype=np.uint64, count=int(offsets[-1])),
            subject_offsets=offsets,
        )


_items = attrgetter("items")


def _length(value: bytes | None) -> int:
    return len(value) if value is not None else 0


def _milliseconds(times: Sequence[int | datetime]) -> I64:
    try:
        return np.fromiter(times, dtype=np.int64, count=len(times))
    except TypeError:
        ms = [t if isinstance(t, int) else (t - _EPOCH) // _MILLISECOND for t in times]
        return np.array(ms, dtype=np.int64)


def _minor_units(prices: Sequence[float | None], quantities: Sequence[float | None]) -> npt.NDArray[np.int32]:
    """Price × quantity in hundredths of the currency, within 32 bits; 0 without a price."""
    if not any(prices):
        return np.zeros(len(prices), dtype=np.int32)
    price = np.array([p or 0.0 for p in prices])
    quantity = np.array([1.0 if q is None else q for q in quantities])
    with np.errstate(over="ignore"):
        value: npt.NDArray[np.int32] = np.clip(np.rint(price * quantity * 100), -(2**31), 2**31 - 1).astype(np.int32)
        return value


def _with_items(found: list[Event], place: I64, lines: list[int]) -> tuple[list[Event], I64, I64]:
    """Events with `items` replaced by one event a line, `event_id#i`."""
    lined = set(lines)
    events: list[Event] = []
    places: list[int] = []
    index: list[int] = []
    for i, (event, where) in enumerate(zip(found, place.tolist(), strict=True)):
        parts = [event] if i not in lined else [_line(event, item, n) for n, item in enumerate(event.items or [])]
        events += parts
        places += [where] * len(parts)
        index += range(len(parts))
    return events, np.array(places, dtype=np.int64), np.array(index, dtype=np.int64)


def _line(event: Event, item: Item, number: int) -> Event:
    changes = {name: value for name in Item.__struct_fields__ if (value := getattr(item, name)) is not None}
    return msgspec.structs.replace(event, event_id=f"{event.event_id}#{number}", items=None, **changes)
