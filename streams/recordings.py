"""Recordings of clickstreams: recognised by their content, read in batches of records ready for Kafka or for detect."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from intents.evidence import Fold
from streams.recordings_online_retail import ONLINE_RETAIL, OnlineRetailReader, online_retail_columns
from streams.recordings_own import FIELDS, OWN, header_of, json_object, read_own
from streams.recordings_rees46 import REES46, Rees46Reader, rees46_columns
from streams.recordings_rows import NO_TIME, Reader, Row
from streams.recordings_taobao import TAOBAO, TaobaoReader, taobao_columns

__all__ = [
    "KNOWN_FORMATS",
    "LONGEST_LINE",
    "NO_TIME",
    "ONLINE_RETAIL",
    "OTHER_FOLDS",
    "OWN",
    "REES46",
    "TAOBAO",
    "BrokenRecording",
    "Recording",
    "RecordingBatch",
    "UnknownFormat",
    "open_recording",
]

KNOWN_FORMATS: Final = (OWN, TAOBAO, REES46, ONLINE_RETAIL)
"""Names of the formats that open_recording recognises."""

OTHER_FOLDS: Final = "customers of other folds"
"""Why records are left out where only one fold of the customers is read."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_LOOK_AT_LINES: Final = 20
_SHOWN_CHARACTERS: Final = 80
LONGEST_LINE: Final = 64 << 20
"""Bytes of one line; a longer one is no recording, but perhaps a small file that unpacks to an enormous one."""


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


class Recording:
    """One recording file: its format's name, its header if it has one, its size, and its records."""

    def __init__(self, path: Path, format_name: str, header: dict[str, object] | None, reader: Reader) -> None:
        self.path = path
        self.format = format_name
        self.header = header
        self.size_bytes = path.stat().st_size
        self._reader = reader

    def batches(
        self,
        size: int = 5_000,
        limit: int | None = None,
        *,
        sort_by_time: bool = False,
        fold: Fold | None = None,
        left_out: Counter[str] | None = None,
    ) -> Iterator[RecordingBatch]:
        """Batches of `size` records in file order, of the first `limit` those of the customers of `fold`.

        `sort_by_time` reads the whole file into memory and sorts it first, stably; a line without a readable time stays
        behind the line it follows. `left_out` is told how many lines were nobody's event, or another fold's, by reason.
        Raises BrokenRecording at damage in a compressed file.
        """
        left_out = Counter() if left_out is None else left_out
        with self.path.open("rb") as raw:
            rows = self._rows(raw, left_out)
            if sort_by_time:
                rows = iter(_sorted_by_time(list(rows)))
            rows = islice(rows, limit)
            if fold is not None:
                rows = _of_fold(rows, fold, left_out)
            while chunk := list(islice(rows, size)):
                times = np.fromiter((row.time_ms for row in chunk), np.int64, len(chunk))
                yield RecordingBatch([row.key for row in chunk], [row.value for row in chunk], times, raw.tell())

    def share(self, batch: RecordingBatch, count: int, limit: int | None) -> float:
        """How much of reading it is done at this batch, by the file, or by the limit, of which `count` are done."""
        return min(1.0, count / limit if limit else batch.read_bytes / max(1, self.size_bytes))

    def _rows(self, raw: IO[bytes], left_out: Counter[str]) -> Iterator[Row]:
        for number, line in _lines(raw, self.path):
            row = self._reader(line, number)
            if isinstance(row, Row):
                yield row
            elif row is not None:
                left_out[row.reason] += 1


def open_recording(path: Path) -> Recording:
    """Recognise the recording at `path`, plain or gzip, by its content.

    Raises UnknownFormat for anything else, BrokenRecording if its beginning cannot be decompressed, OSError if it
    cannot be opened.
    """
    with path.open("rb") as raw:
        first = [line for _, line in islice(_lines(raw, path), _LOOK_AT_LINES)]
    if not first:
        raise UnknownFormat(path, "the file is empty")
    objects = [json_object(line) for line in first]
    if any("recording" in each or FIELDS & each.keys() for each in objects):
        return Recording(path, OWN, header_of(first[0]), read_own)
    found = _table_of(first, _stem(path))
    if found is not None:
        return Recording(path, found[0], None, found[1])
    shown = first[0][:_SHOWN_CHARACTERS].decode("utf-8", "replace")
    what = "JSON lines without event_id, customer_id, kind" if objects[0] else "the first line"
    raise UnknownFormat(path, f"{what}, beginning {shown!r}")


def _table_of(first: Sequence[bytes], stem: str) -> tuple[str, Reader] | None:
    """Name and reader of the CSV format that these first lines are of."""
    if (columns := rees46_columns(first[0])) is not None:
        return REES46, Rees46Reader(stem, columns)
    if (columns := online_retail_columns(first[0])) is not None:
        return ONLINE_RETAIL, OnlineRetailReader(stem, columns)
    if (columns := taobao_columns(first)) is not None:
        return TAOBAO, TaobaoReader(stem, columns)
    return None


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


def _of_fold(rows: Iterator[Row], fold: Fold, left_out: Counter[str]) -> Iterator[Row]:
    for row in rows:
        if fold.holds(row.key.decode("utf-8", "surrogateescape")):
            yield row
        else:
            left_out[OTHER_FOLDS] += 1


def _sorted_by_time(rows: list[Row]) -> list[Row]:
    times = np.fromiter((row.time_ms for row in rows), np.int64, len(rows))
    last_good = np.maximum.accumulate(np.where(times == NO_TIME, 0, np.arange(len(rows))))
    return [rows[place] for place in np.argsort(times[last_good], kind="stable").tolist()]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")
