"""Every record is a valid event or refused for one clear reason; what is refused never changes its neighbours."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import AHEAD_MS, MAX_TIME_MS, Chunk
from features.kinds import CODE, KINDS
from intents.catalog import Catalogue
from intents.subjects import event_hash, product_hash, subject_hash
from streams.wire import MAX_AHEAD_MS, MAX_ITEMS, MAX_RECORD_BYTES, Decoder, Records, Refusal
from tests.intents.replaying import made_up

T: Final = 1_700_000_000_000
DAY: Final = 24 * 60 * 60 * 1000
GOOD: Final[dict[str, Any]] = {"event_id": "e1", "customer_id": "anna", "kind": "view", "time": T}


def body(**changes: Any) -> bytes:
    """A good event with changes; a field set to ... is left out."""
    event = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return json.dumps(event).encode()


def records(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    stamps: Sequence[int] | None = None,
    start: int = 0,
) -> Records:
    """Raw records of one partition; the key is anna unless given."""
    count = len(values)
    return Records(
        "clickstream",
        3,
        start,
        start + count,
        list(keys) if keys is not None else [b"anna"] * count,
        values,
        np.arange(start, start + count),
        np.array(stamps if stamps is not None else [-1] * count, dtype=np.int64),
    )


def decode(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    stamps: Sequence[int] | None = None,
    catalogue: str = "",
) -> tuple[Chunk, list[Refusal]]:
    """Decode records, whose sums must add up."""
    raw = records(values, keys, stamps)
    chunk, refusals = Decoder(Catalogue.parse(catalogue)).decode(raw)
    adds_up(raw, chunk, refusals)
    return chunk, refusals


def adds_up(raw: Records, chunk: Chunk, refusals: Sequence[Refusal]) -> None:
    """Assert that each record is refused once, or an event (or its lines), in order, in columns of one length."""
    offsets = [refusal.offset for refusal in refusals]
    assert offsets == sorted(set(offsets))
    assert not set(offsets) & set(chunk.offset.tolist())
    assert set(offsets) | set(chunk.offset.tolist()) == set(raw.offsets.tolist())
    places = list(zip(chunk.offset.tolist(), chunk.index.tolist(), strict=True))
    assert places == sorted(set(places))
    assert (chunk.topic, chunk.partition, chunk.start, chunk.end) == (raw.topic, raw.partition, raw.start, raw.end)
    columns = (
        chunk.customers,
        chunk.event_ids,
        chunk.kind,
        chunk.time,
        chunk.clock,
        chunk.id,
        chunk.product,
        chunk.value,
    )
    assert {len(column) for column in columns} == {len(chunk)}
    assert len(chunk.subject_offsets) == len(chunk) + 1 and chunk.subject_offsets[-1] == len(chunk.subjects)
    assert all(refusal.reason for refusal in refusals)


def reason_of(value: bytes | None, key: bytes | None = b"anna", stamp: int = -1) -> str:
    """Why a record is refused, though good ones stand around it."""
    chunk, refusals = decode([body(), value, body(event_id="e3")], [b"anna", key, b"anna"], [-1, stamp, -1])
    assert chunk.event_ids == ["e1", "e3"]
    (refusal,) = refusals
    assert refusal.offset == 1
    return refusal.reason


# What an event becomes


def test_columns() -> None:
    """One row an event: ids hashed, kinds as codes, money in minor units, subjects by the catalogue."""
    chunk, refusals = decode(
        [
            body(category="tea", product_id="p1", price=2.5),
            body(event_id="e2", kind="purchase", category="rum", price=9.99, quantity=3),
            body(event_id="e3", kind="checkout"),
        ]
    )
    assert refusals == []
    assert chunk.customers == ["anna"] * 3
    assert chunk.event_ids == ["e1", "e2", "e3"]
    assert chunk.kind.tolist() == [CODE["view"], CODE["purchase"], CODE["checkout"]]
    assert chunk.time.tolist() == chunk.clock.tolist() == [T] * 3
    assert chunk.id.tolist() == [event_hash(name.encode()) for name in ("e1", "e2", "e3")]
    assert chunk.product.tolist() == [product_hash("p1"), 0, 0]
    assert chunk.value.tolist() == [250, 2997, 0]
    assert chunk.subjects.tolist() == [subject_hash("tea"), subject_hash("rum")]
    assert chunk.subject_offsets.tolist() == [0, 1, 2, 2]
    assert chunk.index.tolist() == [0, 0, 0]
    dtypes = (chunk.kind, chunk.time, chunk.id, chunk.product, chunk.value, chunk.subjects)
    assert [column.dtype for column in dtypes] == [np.uint8, np.int64, np.uint64, np.uint32, np.int32, np.uint64]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    """Each kind of the design is an event."""
    chunk, _ = decode([body(kind=kind)])
    assert chunk.kind.tolist() == [CODE[kind]]


@pytest.mark.parametrize(
    ("time", "ms"),
    [
        (0, 0),
        (MAX_TIME_MS, MAX_TIME_MS),
        ("2023-11-14T22:13:20Z", T),
        ("2023-11-14T22:13:20.001Z", T + 1),
        ("2023-11-14T22:13:20.0019Z", T + 1),  # whole milliseconds that have passed
        ("2023-11-14T23:13:20+01:00", T),
        ("2023-11-14t22:13:20.5z", T + 500),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_times(time: Any, ms: int) -> None:
    """UTC milliseconds, or RFC 3339 with an offset; both may stand side by side."""
    chunk, refusals = decode([body(time=time), body(event_id="e2")])
    assert refusals == []
    assert chunk.time.tolist() == [ms, T]


@settings(max_examples=60, derandomize=True, database=None)
@given(st.integers(0, MAX_TIME_MS))
def test_times_are_exact(ms: int) -> None:
    """RFC 3339 gives exactly the milliseconds that it says."""
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    chunk, _ = decode([body(time=text)])
    assert chunk.time.tolist() == [ms]


def test_clock() -> None:
    """A broker's timestamp bounds what an event's time may do to the watermark: five minutes ahead at most."""
    times = [T, T + AHEAD_MS, T + AHEAD_MS + 1, T + AHEAD_MS + 1]
    chunk, _ = decode([body(event_id=f"e{n}", time=t) for n, t in enumerate(times)], stamps=[T, T, T, -1])
    assert chunk.time.tolist() == times
    assert chunk.clock.tolist() == [T, T + AHEAD_MS, T + AHEAD_MS, T + AHEAD_MS + 1]


@pytest.mark.parametrize(
    ("price", "quantity", "value"),
    [
        (1.005, None, 100),
        (0.1 + 0.2, None, 30),
        (-3, None, -300),
        (3, 0, 0),
        (3, -2, -600),
        (None, 5, 0),
        (1e9, 1e9, 2**31 - 1),
        (-1e308, 1e308, -(2**31)),
        (1e308, 1e308, 2**31 - 1),
    ],
)
def test_money(price: float | None, quantity: float | None, value: int) -> None:
    """Price × quantity in hundredths, rounded, kept within 32 bits."""
    chunk, _ = decode([body(price=price, quantity=quantity)])
    assert chunk.value.tolist() == [value]


def test_unknown_fields_are_ignored() -> None:
    """Producers may send more than we read, as deep as they like within reason."""
    chunk, refusals = decode([body(user_agent="x", nested={"a": [1, {"b": None}]}, price_eur=[float(1)])])
    assert (len(chunk), refusals) == (1, [])


def test_subjects_by_the_catalogue() -> None:
    """An event may have several subjects, by category or by the words of a search."""
    catalogue = '[intent.party]\ncategory = "balloons"\nquery = "birthday"\n[intent.fun]\ncategory = "ball*"\n'
    values = [
        body(category="balloons"),
        body(event_id="e2", kind="search", query="birthday gift"),
        body(event_id="e3", category="socks"),
    ]
    chunk, _ = decode(values, catalogue=catalogue)
    names = {subject_hash(name): name for name in ("party", "fun", "socks")}
    assert [names[subject] for subject in chunk.subjects.tolist()] == ["party", "fun", "party", "socks"]
    assert chunk.subject_offsets.tolist() == [0, 2, 3, 4]


def test_basket_lines() -> None:
    """Lines of a basket are events `event_id#i` at one offset; what a line leaves out is the event's."""
    lines = [{"category": "rum", "price": 2}, {"product_id": "p9", "quantity": 4}, {}]
    chunk, _ = decode(
        [body(), body(event_id="e2", category="tea", price=1, product_id="p1", items=lines), body(event_id="e3")]
    )
    assert chunk.event_ids == ["e1", "e2#0", "e2#1", "e2#2", "e3"]
    assert chunk.offset.tolist() == [0, 1, 1, 1, 2]
    assert chunk.index.tolist() == [0, 0, 1, 2, 0]
    assert chunk.subjects.tolist() == [subject_hash(name) for name in ("rum", "tea", "tea")]
    assert chunk.product.tolist() == [0, product_hash("p1"), product_hash("p9"), product_hash("p1"), 0]
    assert chunk.value.tolist() == [0, 200, 400, 100, 0]
    assert chunk.id.tolist() == [event_hash(name.encode()) for name in chunk.event_ids]


@pytest.mark.parametrize("items", [[], None])
def test_no_lines(items: Any) -> None:
    """An empty basket is the event itself."""
    chunk, _ = decode([body(items=items)])
    assert chunk.event_ids == ["e1"]


def test_no_records() -> None:
    """Nothing is nothing."""
    chunk, refusals = decode([])
    assert (len(chunk), refusals) == (0, [])


def test_a_recording() -> None:
    """A whole recording is decoded as a plain loop would."""
    pairs = made_up()[:2_000]
    raw = records([value for _, value in pairs], [key for key, _ in pairs], start=50)
    catalogue = Catalogue()
    chunk, refusals = Decoder(catalogue).decode(raw)
    adds_up(raw, chunk, refusals)
    events = [json.loads(value) for _, value in pairs]
    assert chunk.customers == [event["customer_id"] for event in events]
    assert chunk.event_ids == [event["event_id"] for event in events]
    assert [KINDS[kind] for kind in chunk.kind] == [event["kind"] for event in events]
    assert chunk.time.tolist() == [event["time"] for event in events]
    assert chunk.value.tolist() == [round(event.get("price", 0) * 100) for event in events]
    assert [catalogue.names[s] for s in chunk.subjects.tolist()] == [e["category"] for e in events if "category" in e]


def test_names_of_products() -> None:
    """A catalogue's rules on names see an event's name, and a line's own; names of refused records stay apart."""
    catalogue = Catalogue.parse('[intent.party]\nname = "party"\n[intent.tea]\nname = "tea"')
    values = [
        body(event_id="e1", name="PARTY bag", category="bags"),
        body(event_id="e2", name="tea", time=-1),
        body(event_id="e3", name="Tea tin", items=[{}, {"name": "tea party"}, {"name": "lamp"}]),
        body(event_id="e4", category="bags"),
    ]
    chunk, refusals = Decoder(catalogue).decode(records(values))
    found = [
        [catalogue.names[subject] for subject in chunk.subjects[low:high].tolist()]
        for low, high in zip(chunk.subject_offsets, chunk.subject_offsets[1:], strict=False)
    ]
    assert found == [["party"], ["tea"], ["party", "tea"], [], ["bags"]]
    assert [refusal.offset for refusal in refusals] == [1]


# What is refused


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"  ",
        b"{",
        b"hello",
        b"{'event_id': 'e'}",
        body()[:-1],
        body() + b"}",
        body() + body(event_id="e2"),
        body().replace(b"e1", b"\xff\xfe"),
        b"\xef\xbb\xbf" + body(),
        body(category="x").replace(b'"x"', b'"\\ud800"'),
        b"\x80\x03]q\x00.",
        body(deep=0).replace(b"0}", b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_not_json(value: bytes) -> None:
    """What is no JSON, or not one object alone, is refused as that."""
    assert reason_of(value).startswith("not JSON: ")


def test_no_value() -> None:
    """A record without a value is no event."""
    assert "no value" in reason_of(None)


@pytest.mark.parametrize("value", [b"[]", b"1", b"null", b'"view"', b"true"])
def test_not_an_object(value: bytes) -> None:
    """JSON that is no object is no event."""
    assert "Expected `object`" in reason_of(value)


@pytest.mark.parametrize("name", ["event_id", "customer_id", "kind", "time"])
def test_missing(name: str) -> None:
    """Id, customer, kind and time must be there, and not null."""
    assert f"missing required field `{name}`" in reason_of(body(**{name: ...}))
    assert f"`$.{name}`" in reason_of(body(**{name: None}))


@pytest.mark.parametrize("name", ["event_id", "customer_id"])
def test_empty_id(name: str) -> None:
    """An empty id names nobody."""
    assert f"`$.{name}`" in reason_of(body(**{name: ""}), key=b"")
    assert f"`$.{name}`" in reason_of(body(**{name: 5}))


@pytest.mark.parametrize("key", [None, b"", b"Anna", b"anna ", b"\xff", b"k" * 5_000])
def test_key_is_the_customer(key: bytes | None) -> None:
    """The record's key must be its customer, because the partition is chosen by it; what is quoted of it is short."""
    reason = reason_of(body(), key=key)
    assert "is not the customer_id 'anna'" in reason
    assert len(reason) < 300


def test_key_of_any_letters() -> None:
    """A key is compared as UTF-8."""
    chunk, refusals = decode([body(customer_id="Zoë 🎈")], ["Zoë 🎈".encode()])
    assert (chunk.customers, refusals) == (["Zoë 🎈"], [])


@pytest.mark.parametrize("kind", ["View", "buy", "", 3])
def test_unknown_kind(kind: Any) -> None:
    """A kind that nobody declared is refused with its place."""
    assert "`$.kind`" in reason_of(body(kind=kind))


def test_merge_is_reserved() -> None:
    """`merge` is kept for later: refused by name, so that nobody's use of it breaks then."""
    assert reason_of(body(kind="merge")) == "kind merge is reserved"


@pytest.mark.parametrize(
    "time",
    [
        -1,
        MAX_TIME_MS + 1,
        10**30,
        1.5,
        1e12,
        True,
        "yesterday",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59Z",
        "2248-12-31T00:00:00Z",
        "1700000000000",
    ],
)
def test_bad_times(time: Any) -> None:
    """A time that is no instant, has no offset, or lies where no log can hold it, is refused."""
    assert "time" in reason_of(body(time=time))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("name", ["time", "price", "quantity"])
def test_not_finite(number: str, name: str) -> None:
    """NaN and infinities are refused, whatever JSON library wrote them."""
    assert reason_of(body(**{name: 0}).replace(f'"{name}": 0'.encode(), f'"{name}": {number}'.encode()))
    line = body(items=[{"price": 0}]).replace(b'"price": 0', f'"price": {number}'.encode())
    assert reason_of(line)


def test_a_day_ahead() -> None:
    """A time more than a day after the broker's timestamp is refused; exactly a day, or without one, it is not."""
    reason = reason_of(body(time=T + MAX_AHEAD_MS + 1), stamp=T)
    assert reason == f"time {T + DAY + 1} is more than a day after the broker's {T}"
    chunk, refusals = decode([body(time=T + MAX_AHEAD_MS), body(event_id="e2", time=T + 99 * DAY)], stamps=[T, -1])
    assert (len(chunk), refusals) == (2, [])


SHORT: Final = ("event_id", "customer_id", "product_id", "category", "brand", "channel", "session_id", "currency")
LONG: Final = ("query", "name")


@pytest.mark.parametrize(
    ("name", "limit"), [(n, 256) for n in (*SHORT, "placement", "banner_id")] + [(n, 1024) for n in LONG]
)
def test_string_limits(name: str, limit: int) -> None:
    """A string longer than its limit is refused, counted in characters; at the limit it is fine."""
    text = "ż" * limit
    key = text.encode() if name == "customer_id" else b"anna"
    chunk, refusals = decode([body(**{name: text})], [key])
    assert (len(chunk), refusals) == (1, [])
    assert f"`$.{name}`" in reason_of(body(**{name: text + "ż"}), key=key)


@pytest.mark.parametrize(("name", "limit"), [("product_id", 256), ("category", 256), ("brand", 256), ("name", 1024)])
def test_string_limits_of_lines(name: str, limit: int) -> None:
    """The lines of a basket have the same limits; one bad line refuses its record whole."""
    assert len(decode([body(items=[{name: "x" * limit}])])[0]) == 1
    assert f"`$.items[1].{name}`" in reason_of(body(items=[{}, {name: "x" * (limit + 1)}]))


def test_too_many_lines() -> None:
    """A basket has a bounded number of lines."""
    assert len(decode([body(items=[{}] * MAX_ITEMS)])[0]) == MAX_ITEMS
    assert "`$.items`" in reason_of(body(items=[{}] * (MAX_ITEMS + 1)))


def test_a_record_over_a_megabyte() -> None:
    """A record over 1 MB is refused unread; at the limit it is read."""
    assert MAX_RECORD_BYTES == 1_000_000
    fits = body(padding="").replace(b'""', b'"' + b"x" * (MAX_RECORD_BYTES - len(body(padding=""))) + b'"')
    assert len(decode([fits])[0]) == len(decode([fits, None])[0]) == 1
    assert f"{MAX_RECORD_BYTES + 1} bytes" in reason_of(fits + b" ")
    assert "bytes" in reason_of(b"{" * (MAX_RECORD_BYTES + 1))


@pytest.mark.parametrize("items", [{}, "x", [1], [[]], [{"price": "5"}]])
def test_lines_that_are_none(items: Any) -> None:
    """`items` is a list of objects."""
    assert "`$.items" in reason_of(body(items=items))


# Neighbours


def test_bad_records_never_merge() -> None:
    """Two objects in one record, or halves side by side, are each refused; good ones beside them stay themselves."""
    whole, half = body(event_id="a"), body(event_id="b")
    values = [
        whole + half,
        half[:20],
        half[20:],
        body(event_id="c"),
        b"",
        half[:20] + half[20:],
        b"[" + whole,
        whole + b"]",
    ]
    chunk, refusals = decode(values)
    assert chunk.event_ids == ["c", "b"]
    assert chunk.offset.tolist() == [3, 5]
    assert [refusal.offset for refusal in refusals] == [0, 1, 2, 4, 6, 7]


def test_many_reasons_at_once() -> None:
    """Each refused record has its own reason, in order, and the events between keep their own columns."""
    good = [body(event_id=f"g{n}", category=f"c{n}", time=T + n) for n in range(5)]
    values = [
        good[0],
        b"{",
        good[1],
        body(kind="merge"),
        good[2],
        None,
        body(time=T + 2 * DAY),
        good[3],
        body(),
        good[4],
    ]
    keys = [b"anna"] * 8 + [b"ben"] + [b"anna"]
    chunk, refusals = decode(values, keys, stamps=[T] * 10)
    assert chunk.event_ids == [f"g{n}" for n in range(5)]
    assert chunk.time.tolist() == [T + n for n in range(5)]
    assert chunk.subjects.tolist() == [subject_hash(f"c{n}") for n in range(5)]
    assert [refusal.offset for refusal in refusals] == [1, 3, 5, 6, 8]
    words = ["not JSON", "merge", "no value", "a day after", "is not the customer_id"]
    assert all(word in refusal.reason for word, refusal in zip(words, refusals, strict=True))


@pytest.mark.parametrize("bad", [b"{", body(kind="merge"), None])
def test_holes_in_offsets(bad: bytes | None) -> None:
    """Offsets may have holes; refusals name the record's own, whatever they are refused for."""
    raw = records([body(), bad, body(event_id="e3", items=[{}, {}])])
    raw = Records(raw.topic, 3, 10, 50, raw.keys, raw.values, np.array([10, 30, 49]), raw.timestamps)
    chunk, refusals = Decoder(Catalogue()).decode(raw)
    adds_up(raw, chunk, refusals)
    assert chunk.offset.tolist() == [10, 49, 49]
    assert [refusal.offset for refusal in refusals] == [30]


def test_part_of_records() -> None:
    """A part holds the records of its offsets, holes or not."""
    raw = records([body(event_id=f"e{n}") for n in range(4)])
    raw = Records(raw.topic, 3, 10, 50, raw.keys, raw.values, np.array([10, 20, 30, 40]), raw.timestamps)
    part = raw.part(15, 35)
    assert (part.start, part.end, part.offsets.tolist()) == (15, 35, [20, 30])
    assert Decoder(Catalogue()).decode(part)[0].event_ids == ["e1", "e2"]


def test_a_basket_beside_a_refused_record() -> None:
    """One record less and one line more are as many events as records: each is still judged by its own key."""
    basket = json.dumps(GOOD | {"items": [{"category": "tea"}, {"category": "cups"}]}).encode()
    for values in ([None, basket], [basket, b"{"]):
        chunk, refusals = decode(values, [None if value != basket else b"anna" for value in values])
        assert len(chunk) == 2 and [refusal.offset for refusal in refusals] == [values.index(basket) ^ 1]


# Anything


FIELDS: Final = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.text(max_size=5) | st.just("e"),
        "customer_id": st.just("anna") | st.text(max_size=5),
        "kind": st.sampled_from([*KINDS, "merge", "other"]),
        "time": st.integers() | st.just(T) | st.datetimes().map(lambda t: t.isoformat() + "Z") | st.floats(),
        "category": st.text(max_size=5) | st.none() | st.integers(),
        "price": st.floats() | st.none(),
        "quantity": st.floats(allow_nan=False, allow_infinity=False),
        "items": st.lists(st.fixed_dictionaries({}, optional={"category": st.text(max_size=3)}), max_size=3)
        | st.none(),
        "other": st.text(max_size=3) | st.lists(st.integers()),
    },
)
VALUES: Final = st.one_of(
    st.none(),
    st.binary(max_size=60),
    FIELDS.map(lambda fields: json.dumps(GOOD | fields).encode()),
    FIELDS.map(lambda fields: json.dumps(fields).encode()),
    st.tuples(st.just(json.dumps(GOOD).encode()), st.integers(0, 70), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :]
    ),
)


@settings(max_examples=300, derandomize=True, database=None)
@given(st.lists(st.tuples(VALUES, st.sampled_from([b"anna", b"anna", b"anna", None, b"", b"\xff"])), max_size=8))
def test_anything(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Any bytes are a valid event or refused; the sums add up; a record's fate is its own, whatever is beside it."""
    together, refusals = decode([value for value, _ in pairs], [key for _, key in pairs])
    reasons: Mapping[int, str] = {refusal.offset: refusal.reason for refusal in refusals}
    for n, (value, key) in enumerate(pairs):
        alone, refused = decode([value], [key])
        mine = [i for i, offset in enumerate(together.offset.tolist()) if offset == n]
        assert [refusal.reason for refusal in refused] == ([reasons[n]] if n in reasons else [])
        for name in ("time", "clock", "kind", "id", "product", "value", "index"):
            assert getattr(alone, name).tolist() == getattr(together, name)[mine].tolist()
        assert alone.event_ids == [together.event_ids[i] for i in mine]
        if len(alone):
            assert alone.time.min() >= 0 and alone.time.max() <= MAX_TIME_MS
