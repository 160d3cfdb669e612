"""REES46's rows become events: nothing is lost, nothing made up, what cannot be read goes on as it stands."""

import csv
import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.recordings import NO_TIME, REES46, open_recording
from streams.recordings_rees46 import NO_USER
from tests.streams.test_recordings import joined, write

HEADER = b"event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
TIME = b"2019-10-01 00:00:01 UTC"


def events(path: Path) -> list[dict[str, object]]:
    """The recording's records as objects."""
    return [json.loads(value) for value in joined(open_recording(path).batches())[1]]


@pytest.mark.parametrize("name", ["oct.csv", "oct.csv.gz"])
def test_rows_become_events(tmp_path: Path, name: str) -> None:
    """A row is an event of our kinds with everything that it has."""
    path = write(tmp_path / name, [HEADER, TIME + b",cart,17,5,furniture.sofa,acme,543.10,u1,s1"])
    recording = open_recording(path)
    assert recording.format == REES46
    assert joined(recording.batches())[::2] == ([b"u1"], [1_569_888_001_000])
    assert events(path) == [
        {
            "event_id": "oct:2",
            "customer_id": "u1",
            "kind": "cart_add",
            "time": 1_569_888_001_000,
            "product_id": "17",
            "category": "furniture.sofa",
            "brand": "acme",
            "price": 543.1,
            "session_id": "s1",
        }
    ]


def test_what_a_row_leaves_empty(tmp_path: Path) -> None:
    """Without a code the category is the id; brand, price and session are left out where they are empty."""
    path = write(tmp_path / "oct.csv", [HEADER, TIME + b",view,17,5,,,,u1,"])
    (event,) = events(path)
    assert event["category"] == "5"
    assert not {"brand", "session_id"} & event.keys() and event.get("price") is None


def test_kinds(tmp_path: Path) -> None:
    """View, cart, remove_from_cart and purchase have our names."""
    words = ("view", "cart", "remove_from_cart", "purchase")
    rows = [TIME + b"," + word.encode() + b",17,5,a,b,1,u1,s" for word in words]
    kinds = [event["kind"] for event in events(write(tmp_path / "oct.csv", [HEADER, *rows]))]
    assert kinds == ["view", "cart_add", "cart_remove", "purchase"]


def test_header_names_the_columns(tmp_path: Path) -> None:
    """Columns may stand in any order, quoted, in any case."""
    header = b'"USER_ID",price,user_session,brand,category_code,category_id,product_id,Event_Type,event_time'
    (event,) = events(write(tmp_path / "o.csv", [header, b'u1,1,s,"a, b",c,5,17,view,' + TIME]))
    assert (event["customer_id"], event["brand"], event["category"]) == ("u1", "a, b", "c")


def test_nobodys_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    """A row without a user is nobody's event: no record, but counted with its reason."""
    good, nobodys = TIME + b",view,17,5,a,b,1,u1,s", TIME + b",view,17,5,a,b,1,,s"
    recording = open_recording(write(tmp_path / "o.csv", [HEADER, nobodys, good, nobodys]))
    left_out: Counter[str] = Counter()
    assert len(joined(recording.batches(left_out=left_out))[1]) == 1
    assert left_out == {NO_USER: 2}


def test_bad_rows_pass(tmp_path: Path) -> None:
    """A row that cannot be read goes on as it is, without a time, keyed by its user where there is one."""
    bad = [
        TIME + b",gaze,17,5,a,b,1,u1,s",
        b"soon,view,17,5,a,b,1,u1,s",
        b"1969-01-01 00:00:00 UTC,view,17,5,a,b,1,u1,s",
        TIME + b",view,17,5,a,b,nan,u1,s",
        TIME + b",view,17,5,a,b,1e999,u1,s",
        TIME + b",view,17",
        TIME + b",view,17,5,\xff,b,1,u1,s",
        b'"',
    ]
    keys, values, times = joined(open_recording(write(tmp_path / "o.csv", [HEADER, *bad])).batches())
    assert values == bad
    assert keys == [b"u1"] * 5 + [b""] * 3
    assert times == [NO_TIME] * 8


def test_the_real_recording(recordings: Path) -> None:
    """Every row comes out as a naive reader says, but for the last one, which breaks off in its user."""
    path = recordings / "rees46_oct2019.csv.gz"
    kinds = {"view": "view", "cart": "cart_add", "purchase": "purchase"}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    keys, values, times = joined(open_recording(path).batches())
    assert len(values) == len(rows) == 17_435
    assert (keys[-1], times[-1]) == (b"", NO_TIME) and values[-1].startswith(rows[-1]["event_time"].encode())
    found = [json.loads(value) for value in values[:-1]]
    for event, row in zip(found, rows[:-1], strict=True):
        moment = datetime.strptime(row["event_time"] + "+0000", "%Y-%m-%d %H:%M:%S UTC%z").astimezone(UTC)
        assert event["time"] == moment.timestamp() * 1000
        assert (event["kind"], event["customer_id"]) == (kinds[row["event_type"]], row["user_id"])
        assert event["category"] == (row["category_code"] or row["category_id"])
        assert event["price"] == float(row["price"]) and event.get("brand", "") == row["brand"]
