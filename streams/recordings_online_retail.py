"""UCI Online Retail (and Online Retail II): CSV of invoices' lines, products with names but without categories."""

from datetime import datetime
from typing import Final

import orjson

from streams.recordings_rows import NO_TIME, LeftOut, Row, columns_of, milliseconds, number_of, texts_of, unread

ONLINE_RETAIL: Final = "UCI Online Retail CSV"
_COLUMNS: Final = (
    *(("invoiceno", "invoice"), "stockcode", "description", "quantity"),
    *("invoicedate", ("unitprice", "price"), ("customerid", "customer id")),
)
NO_CUSTOMER: Final = "no CustomerID"
NO_SALE: Final = "a quantity below 1 that is no cancellation"


def online_retail_columns(header: bytes) -> tuple[int, ...] | None:
    """Where the columns stand in a row; None if this is no such header."""
    return columns_of(header, *_COLUMNS)


class OnlineRetailReader:
    """Turns an invoice's lines into purchases, and those of a cancellation (C…) into refunds of as many.

    The invoice is the session. Prices are in pounds; times have no zone and are taken as UTC. A line without a
    CustomerID is left out: nobody can say whose it was, nor which of them were one customer's.
    """

    def __init__(self, stem: str, columns: tuple[int, ...]) -> None:
        """Rows become the events `stem:line`."""
        self._stem, self._columns = stem, columns
        self._width = max(columns) + 1

    def __call__(self, line: bytes, number: int) -> Row | LeftOut | None:
        """The event of a row, None for the header."""
        if number == 1:
            return None
        cells = texts_of(line)
        if len(cells) < self._width:
            return unread(line)
        invoice, product, name, count, date, price, customer = (cells[at] for at in self._columns)
        if not customer:
            return LeftOut(NO_CUSTOMER)
        customer = customer.removesuffix(".0")  # a number that some tool took for a fraction
        quantity, amount, time_ms = number_of(count), number_of(price), _time_ms(date)
        if quantity is None or amount is None or time_ms == NO_TIME:
            return unread(line, customer.encode())
        cancelled = invoice[:1] in ("C", "c")
        if quantity < 1 and not cancelled:
            return LeftOut(NO_SALE)
        event = {
            "event_id": f"{self._stem}:{number}",
            "customer_id": customer,
            "kind": "refund" if cancelled else "purchase",
            "time": time_ms,
            "product_id": product,
            "name": name,
            "price": amount,
            "quantity": abs(quantity),
            "currency": "GBP",
            "session_id": invoice,
        }
        found = {field: value for field, value in event.items() if value != ""}
        return Row(customer.encode(), orjson.dumps(found), time_ms)


def _time_ms(text: str) -> int:
    try:
        return milliseconds(datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return milliseconds(datetime.strptime(text + "Z", "%m/%d/%Y %H:%M%z"))  # as spreadsheets export it
    except ValueError:
        return NO_TIME
