"""Invoices' lines become purchases and refunds of known customers; the others are counted, not invented."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from streams.recordings import NO_TIME, ONLINE_RETAIL, open_recording
from streams.recordings_online_retail import NO_CUSTOMER, NO_SALE
from tests.streams.test_recordings import joined, write

HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
AT_MS = 1_291_191_960_000


def row(
    invoice: str = "536365",
    quantity: str = "6",
    date: str = "2010-12-01 08:26:00",
    price: str = "2.55",
    who: str = "7.0",
) -> bytes:
    """One line of an invoice."""
    return f'{invoice},85123A,"LOUNGE,METAL SIGN ",{quantity},{date},{price},{who},Eire'.encode()


def read(path: Path) -> tuple[list[dict[str, object]], Counter[str]]:
    """The records as objects, and what was left out."""
    left_out: Counter[str] = Counter()
    values = joined(open_recording(path).batches(left_out=left_out))[1]
    return [json.loads(value) for value in values], left_out


@pytest.mark.parametrize("name", ["retail.csv", "retail.csv.gz"])
def test_lines_become_purchases(tmp_path: Path, name: str) -> None:
    """A line is a purchase with everything that it has; the invoice is the session, the name is stripped."""
    path = write(tmp_path / name, [HEADER, row()])
    assert open_recording(path).format == ONLINE_RETAIL
    assert read(path)[0] == [
        {
            "event_id": "retail:2",
            "customer_id": "7",
            "kind": "purchase",
            "time": AT_MS,
            "product_id": "85123A",
            "name": "LOUNGE,METAL SIGN",
            "price": 2.55,
            "quantity": 6,
            "currency": "GBP",
            "session_id": "536365",
        }
    ]


def test_cancellations_become_refunds(tmp_path: Path) -> None:
    """An invoice C… takes back as many as it says, below zero or not."""
    (one, other), left_out = read(write(tmp_path / "r.csv", [HEADER, row("C5", "-3"), row("C5", "3")]))
    assert (one["kind"], one["quantity"]) == (other["kind"], other["quantity"]) == ("refund", 3)
    assert not left_out


def test_nobodys_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    """Without a CustomerID there is no customer to invent, and a correction of stock is no sale: both are counted."""
    lines = [HEADER, row(who=""), row(), row(quantity="-4"), row(quantity="0"), row(who="", quantity="-1")]
    found, left_out = read(write(tmp_path / "r.csv", lines))
    assert [event["event_id"] for event in found] == ["r:3"]
    assert left_out == {NO_CUSTOMER: 2, NO_SALE: 2}


def test_other_spellings(tmp_path: Path) -> None:
    """Online Retail II's names of columns, whole customer numbers, and a spreadsheet's dates are read, too."""
    header = b"Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
    (event,), _ = read(write(tmp_path / "r.csv", [header, row(date="12/1/2010 8:26", who="7")]))
    assert (event["customer_id"], event["time"]) == ("7", AT_MS)


def test_bad_lines_pass(tmp_path: Path) -> None:
    """A line that cannot be read goes on as it is, without a time, keyed by its customer where there is one."""
    bad = [row(quantity="six"), row(price=""), row(price="inf"), row(date="soon"), b"1,2,3", b'"', b"\xff" + row()]
    keys, values, times = joined(open_recording(write(tmp_path / "r.csv", [HEADER, *bad])).batches())
    assert values == bad
    assert keys == [b"7"] * 4 + [b""] * 3
    assert times == [NO_TIME] * 7


def test_the_real_recording(recordings: Path) -> None:
    """Every line comes out as a naive reader says, or is counted."""
    path = recordings / "online_retail.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    known = [line for line in rows if line["CustomerID"]]
    found, left_out = read(path)
    assert len(found) == len(known) == 232_053
    assert left_out == {NO_CUSTOMER: len(rows) - len(known)}
    for event, line in zip(found, known, strict=True):
        assert event["kind"] == ("refund" if line["InvoiceNo"].startswith("C") else "purchase")
        assert event["quantity"] == abs(int(line["Quantity"])) and event["price"] == float(line["UnitPrice"])
        assert event["name"] == line["Description"].strip()
        assert event["customer_id"] == str(int(float(line["CustomerID"])))
