"""Taobao UserBehavior: CSV of user, item, category, behaviour and seconds, with or without a header."""

from collections.abc import Sequence
from typing import Final

import orjson

from streams.recordings_rows import Row, cells_of, columns_of, unread

TAOBAO: Final = "Taobao UserBehavior CSV"
_COLUMNS: Final = ("user_id", "item_id", "category_id", "behavior", "timestamp")
_KINDS: Final = {b"pv": "view", b"fav": "favorite", b"cart": "cart_add", b"buy": "purchase"}
_LONGEST_SECONDS: Final = 12


def taobao_columns(first: Sequence[bytes]) -> tuple[int, ...] | None:
    """Where user, item, category, behaviour and seconds stand in a row; None if this is no such file."""
    columns = columns_of(first[0], *_COLUMNS)
    if columns is not None:
        return columns
    rows = [cells_of(line) for line in first]
    plausible = sum(len(row) == len(_COLUMNS) and row[3] in _KINDS and row[4].isdigit() for row in rows)
    return tuple(range(len(_COLUMNS))) if plausible * 2 > len(rows) else None


class TaobaoReader:
    """Turns rows into events in our wire format; a row that cannot be read goes on as it is, to be dead-lettered."""

    def __init__(self, stem: str, columns: tuple[int, ...]) -> None:
        """Rows become the events `stem:line`."""
        self._stem = stem
        self._user, self._item, self._category, self._behavior, self._seconds = columns
        self._width = max(columns) + 1

    def __call__(self, line: bytes, number: int) -> Row | None:
        """The event of a row, None for the header."""
        if number == 1 and columns_of(line, *_COLUMNS) is not None:
            return None
        cells = cells_of(line)
        if len(cells) < self._width:
            return unread(line)
        user, seconds = cells[self._user], cells[self._seconds]
        kind = _KINDS.get(cells[self._behavior])
        if kind is None or not seconds.isdigit() or len(seconds) > _LONGEST_SECONDS or not line.isascii():
            return unread(line, user)
        time_ms = int(seconds) * 1000
        event = {
            "event_id": f"{self._stem}:{number}",
            "customer_id": user.decode(),
            "kind": kind,
            "time": time_ms,
            "product_id": cells[self._item].decode(),
            "category": cells[self._category].decode(),
        }
        return Row(user, orjson.dumps(event), time_ms)
