"""Recordings of clickstreams: recognised by their content, read in batches of records ready for Kafka or for detect."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

OWN: Final = "micro-intents JSON lines"
TAOBAO: Final = "Taobao UserBehavior CSV"
KNOWN_FORMATS: Final = (OWN, TAOBAO)
"""Names of the formats that open_recording recognises."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_LOOK_AT_LINES: Final = 20
_SHOWN_CHARACTERS: Final = 80
LONGEST_LINE: Final = 64 << 20
"""Bytes of one line; a longer one is no recording, but perhaps a small file that unpacks to an enormous one."""
NO_TIME: Final = -1
"""In place of an event time: the line has none that can be read."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_SECONDS: Final = 12
_LATEST_MS: Final = 2**62
_OWN_FIELDS: Final = frozenset({"event_id", "customer_id", "kind"})
_TAOBAO_COLUMNS: Final = ("user_id", "item_id", "category_id", "behavior", "timestamp")
_TAOBAO_KINDS: Final = {b"pv": "view", b"fav": "favorite", b"cart": "cart_add", b"buy": "purchase"}


class UnknownFormat(ValueError):
    """Raised for a file that is no recording we can read; says what was seen and what is known."""

    def __init__(self, path: Path, seen: str) -> None:
        super().__init__(f"{path}: not a recording of a known format: {seen}. Known: {', '.join(KNOWN_FORMATS)}.")


class BrokenRecording(ValueError):
    """Raised when a compressed recording ends early or is damaged, or a line is endless; the rest was delivered."""


@dataclass(frozen=True, slots=True)
class RecordingBatch:
    """Records in reading order: keys, values (JSON, or a line that cannot be read as it stood in the file), times.

    `times_ms` is event time, UTC, int64, -1 where a line has none that can be read. `read_bytes` of the file were
    consumed so far (compressed bytes of a compressed file).
    """

    keys: list[bytes]
    values: list[bytes]
    times_ms: NDArray[np.int64]
    read_bytes: int


class _Row(NamedTuple):
    """One record: key, value and event time (UTC ms, or -1)."""

    key: bytes
    value: bytes
    time_ms: int


class _Reader(Protocol):
    """What a format does with a line: make it a record, or None for a line that is no event."""

    def __call__(self, line: bytes, number: int) -> _Row | None: ...


class Recording:
    """One recording file: its format's name, its header if it has one, its size, and its records."""

    def __init__(self, path: Path, format_name: str, header: dict[str, object] | None, reader: _Reader) -> None:
        self.path = path
        self.format = format_name
        self.header = header
        self.size_bytes = path.stat().st_size
        self._reader = reader

    def batches(
        self, size: int = 5_000, limit: int | None = None, *, sort_by_time: bool = False
    ) -> Iterator[RecordingBatch]:
        """Batches of `size` records in file order, at most `limit` records altogether.

        `sort_by_time` reads the whole file into memory and sorts it first, stably; a line without a readable time stays
        behind the line it follows. Raises BrokenRecording at damage in a compressed file.
        """
        with self.path.open("rb") as raw:
            rows = self._rows(raw)
            if sort_by_time:
                rows = iter(_sorted_by_time(list(rows)))
            rows = islice(rows, limit)
            while chunk := list(islice(rows, size)):
                times = np.fromiter((row.time_ms for row in chunk), np.int64, len(chunk))
                yield RecordingBatch([row.key for row in chunk], [row.value for row in chunk], times, raw.tell())

    def _rows(self, raw: IO[bytes]) -> Iterator[_Row]:
        for number, line in _lines(raw, self.path):
            row = self._reader(line, number)
            if row is not None:
                yield row


def open_recording(path: Path) -> Recording:
    """Recognise the recording at `path`, plain or gzip, by its content.

    Raises UnknownFormat for anything else, BrokenRecording if its beginning cannot be decompressed, OSError if it
    cannot be opened.
    """
    with path.open("rb") as raw:
        first = [line for _, line in islice(_lines(raw, path), _LOOK_AT_LINES)]
    if not first:
        raise UnknownFormat(path, "the file is empty")
    objects = [_json_object(line) for line in first]
    if any("recording" in found or _OWN_FIELDS & found.keys() for found in objects):
        return Recording(path, OWN, _header_of(first[0]), _read_own)
    columns = _taobao_columns(first)
    if columns is not None:
        return Recording(path, TAOBAO, None, _TaobaoReader(_stem(path), columns))
    shown = first[0][:_SHOWN_CHARACTERS].decode("utf-8", "replace")
    what = "JSON lines without event_id, customer_id, kind" if objects[0] else "the first line"
    raise UnknownFormat(path, f"{what}, beginning {shown!r}")


def _lines(raw: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, without their ends, with their 1-based number in the file."""
    compressed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    raw.seek(0)
    lines: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if compressed else raw
    try:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), b""), 1):
            if len(line) > LONGEST_LINE:
                raise BrokenRecording(f"{path}: line {number} has more than {LONGEST_LINE:,} bytes")
            bare = (line.removeprefix(_BOM) if number == 1 else line).rstrip(b"\r\n")
            if bare.strip():
                yield number, bare
    except (EOFError, zlib.error, gzip.BadGzipFile) as damage:
        raise BrokenRecording(f"{path}: damaged or cut gzip file: {damage}") from damage


def _sorted_by_time(rows: list[_Row]) -> list[_Row]:
    times = np.fromiter((row.time_ms for row in rows), np.int64, len(rows))
    last_good = np.maximum.accumulate(np.where(times == NO_TIME, 0, np.arange(len(rows))))
    return [rows[place] for place in np.argsort(times[last_good], kind="stable").tolist()]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


# Our own JSON lines


def _json_object(line: bytes) -> dict[str, object]:
    """The line's JSON object, empty where it has none."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _header_of(line: bytes) -> dict[str, object] | None:
    header = _json_object(line).get("recording")
    return header if isinstance(header, dict) else None


def _read_own(line: bytes, number: int) -> _Row | None:
    if number == 1 and _header_of(line) is not None:
        return None
    found = _json_object(line)
    customer = found.get("customer_id")
    return _Row(customer.encode() if isinstance(customer, str) else b"", line, _time_ms(found.get("time")))


def _time_ms(time: object) -> int:
    """Event time in UTC ms from integer milliseconds or RFC 3339, -1 for anything else."""
    if isinstance(time, int) and not isinstance(time, bool):
        return time if 0 <= time < _LATEST_MS else NO_TIME
    if not isinstance(time, str):
        return NO_TIME
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return NO_TIME
    return NO_TIME if moment.tzinfo is None else max(NO_TIME, round((moment - _EPOCH) / timedelta(milliseconds=1)))


# Taobao UserBehavior


def _taobao_columns(first: Sequence[bytes]) -> tuple[int, ...] | None:
    """Where user, item, category, behaviour and seconds stand in a row; None if this is no such file."""
    names = [cell.decode("utf-8", "replace").strip().lower() for cell in _cells(first[0])]
    if set(_TAOBAO_COLUMNS) <= set(names):
        return tuple(names.index(name) for name in _TAOBAO_COLUMNS)
    rows = [_cells(line) for line in first]
    plausible = sum(len(row) == len(_TAOBAO_COLUMNS) and row[3] in _TAOBAO_KINDS and row[4].isdigit() for row in rows)
    return tuple(range(len(_TAOBAO_COLUMNS))) if plausible * 2 > len(rows) else None


def _cells(line: bytes) -> list[bytes]:
    if b'"' not in line:
        return line.split(b",")
    try:
        return [cell.encode() for cell in next(csv.reader([line.decode("utf-8", "replace")]))]
    except csv.Error:
        return []


class _TaobaoReader:
    """Turns rows into events in our wire format; a row that cannot be read goes on as it is, to be dead-lettered."""

    def __init__(self, stem: str, columns: tuple[int, ...]) -> None:
        self._stem = stem
        self._user, self._item, self._category, self._behavior, self._seconds = columns
        self._width = max(columns) + 1

    def __call__(self, line: bytes, number: int) -> _Row | None:
        cells = _cells(line)
        if number == 1 and set(_TAOBAO_COLUMNS) <= {cell.decode("utf-8", "replace").strip().lower() for cell in cells}:
            return None
        if len(cells) < self._width:
            return _Row(b"", line, NO_TIME)
        user, seconds = cells[self._user], cells[self._seconds]
        kind = _TAOBAO_KINDS.get(cells[self._behavior])
        if kind is None or not seconds.isdigit() or len(seconds) > _LONGEST_SECONDS or not line.isascii():
            return _Row(user, line, NO_TIME)
        time_ms = int(seconds) * 1000
        event = {
            "event_id": f"{self._stem}:{number}",
            "customer_id": user.decode(),
            "kind": kind,
            "time": time_ms,
            "product_id": cells[self._item].decode(),
            "category": cells[self._category].decode(),
        }
        return _Row(user, orjson.dumps(event), time_ms)
