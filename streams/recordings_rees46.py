"""REES46's multi-category shop: CSV of views, carts and purchases; a third of the products have a readable category."""

from datetime import datetime
from typing import Final

import orjson

from streams.recordings_rows import NO_TIME, LeftOut, Row, columns_of, milliseconds, number_of, texts_of, unread

REES46: Final = "REES46 e-commerce CSV"
_COLUMNS: Final = (
    *("event_time", "event_type", "product_id", "category_id", "category_code"),
    *("brand", "price", "user_id", "user_session"),
)
_KINDS: Final = {"view": "view", "cart": "cart_add", "remove_from_cart": "cart_remove", "purchase": "purchase"}
NO_USER: Final = "no user_id"


def rees46_columns(header: bytes) -> tuple[int, ...] | None:
    """Where the columns stand in a row; None if this is no such header."""
    return columns_of(header, *_COLUMNS)


class Rees46Reader:
    """Turns rows into events; the category is category_code, or category_id where that is empty."""

    def __init__(self, stem: str, columns: tuple[int, ...]) -> None:
        """Rows become the events `stem:line`."""
        self._stem, self._columns = stem, columns
        self._width = max(columns) + 1

    def __call__(self, line: bytes, number: int) -> Row | LeftOut | None:
        """The event of a row, None for the header; what a row leaves empty its event leaves out."""
        if number == 1:
            return None
        cells = texts_of(line)
        if len(cells) < self._width:
            return unread(line)
        time, what, product, category_id, code, brand, price, user, session = (cells[at] for at in self._columns)
        if not user:
            return LeftOut(NO_USER)
        kind, time_ms, amount = _KINDS.get(what), _time_ms(time), number_of(price)
        if kind is None or time_ms == NO_TIME or (price and amount is None):
            return unread(line, user.encode())
        event = {
            "event_id": f"{self._stem}:{number}",
            "customer_id": user,
            "kind": kind,
            "time": time_ms,
            "product_id": product,
            "category": code or category_id,
            "brand": brand,
            "price": amount,
            "session_id": session,
        }
        return Row(user.encode(), orjson.dumps({name: value for name, value in event.items() if value != ""}), time_ms)


def _time_ms(text: str) -> int:
    try:
        return milliseconds(datetime.fromisoformat(text.removesuffix(" UTC")))
    except ValueError:
        return NO_TIME
