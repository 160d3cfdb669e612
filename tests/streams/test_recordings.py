"""Recordings are recognised by content and read whole: no line crashes the reader and none vanishes."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.recordings import (
    KNOWN_FORMATS,
    LONGEST_LINE,
    NO_TIME,
    OWN,
    TAOBAO,
    BrokenRecording,
    Recording,
    RecordingBatch,
    UnknownFormat,
    open_recording,
)

HEADER = b"user_id,item_id,category_id,behavior,timestamp"
ROWS = [
    b"1001396,1400714,3982336,pv,1511539225",
    b"1000866,702776,3607361,fav,1511539227",
    b"1000866,702777,3607361,cart,1511539229",
    b"1000866,702777,3607361,buy,1511539230",
]


def own(number: int, time: object = 1_700_000_000_000, customer: object = "c1") -> bytes:
    """One of our own lines."""
    return json.dumps({"event_id": f"e{number}", "customer_id": customer, "kind": "view", "time": time}).encode()


def write(path: Path, lines: Iterable[bytes], end: bytes = b"\n") -> Path:
    """A file of lines, compressed if its name says so."""
    content = b"".join(line + end for line in lines)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def joined(batches: Iterable[RecordingBatch]) -> tuple[list[bytes], list[bytes], list[int]]:
    """Keys, values and times of all batches."""
    every = list(batches)
    return (
        [key for batch in every for key in batch.keys],
        [value for batch in every for value in batch.values],
        [time for batch in every for time in batch.times_ms.tolist()],
    )


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz", "oddly-named.csv"])
def test_own_lines_pass_unchanged(tmp_path: Path, name: str) -> None:
    """Our own lines come out byte for byte, keyed by their customer, timed by their event time, plain or gzip."""
    lines = [own(1), own(2, time="2023-11-14T22:13:21.123Z", customer="größer"), b' {"spaced" : 1 } ']
    recording = open_recording(write(tmp_path / name, lines))
    keys, values, times = joined(recording.batches())
    assert recording.format == OWN
    assert recording.header is None
    assert values == lines
    assert keys == [b"c1", "größer".encode(), b""]
    assert times == [1_700_000_000_000, 1_700_000_001_123, NO_TIME]


def test_header_is_no_event(tmp_path: Path) -> None:
    """A first line {"recording": …} is the header; the same further down is a bad line that passes."""
    header = {"made_up": True, "note": "not real"}
    line = json.dumps({"recording": header}).encode()
    recording = open_recording(write(tmp_path / "day.jsonl", [line, own(1), line]))
    assert recording.header == header
    assert joined(recording.batches())[1] == [own(1), line]


def test_bad_lines_pass(tmp_path: Path) -> None:
    """What cannot be read goes on as it stood, without a time, keyed as far as its customer can be read."""
    bad = [b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b'{"customer_id": 7}', b'{"customer_id": "\\ud800"}']
    bad += [
        b'{"customer_id":"c2","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\x00",
        b'{"customer_id":"c3","time":true}',
    ]
    recording = open_recording(write(tmp_path / "day.jsonl", [*bad, own(1)]))
    keys, values, times = joined(recording.batches())
    assert values == [*bad, own(1)]
    assert keys == [b""] * 9 + [b"c3", b"c1"]
    assert times == [NO_TIME] * 10 + [1_700_000_000_000]


@pytest.mark.parametrize(
    "time",
    [None, True, 1.5, -1, 2**63, "yesterday", "2023-11-14T22:13:20", "1969-01-01T00:00:00Z", "", [], {}],
    ids=repr,
)
def test_unreadable_times_are_said_to_be_so(tmp_path: Path, time: object) -> None:
    """Only integer milliseconds and RFC 3339 with a zone, since 1970, are times; all else is NO_TIME."""
    recording = open_recording(write(tmp_path / "day.jsonl", [own(1, time=time)]))
    assert joined(recording.batches())[2] == [NO_TIME]


def test_own_times_by_zone(tmp_path: Path) -> None:
    """A zone's offset is taken into account, to the nearest millisecond."""
    lines = [own(1, time="2023-11-14T23:13:20.001+01:00"), own(2, time="2023-11-14T22:13:20.0018Z"), own(3, time=0)]
    times = joined(open_recording(write(tmp_path / "a.jsonl", lines)).batches())[2]
    assert times == [1_700_000_000_001, 1_700_000_000_002, 0]


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line and line.strip() != b""), max_size=20))
def test_no_line_vanishes(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """Whatever bytes the lines hold, each comes out once, in order, but for the ends of lines."""
    path = write(tmp_path_factory.mktemp("any") / "day.jsonl", [own(0), *lines])
    assert joined(open_recording(path).batches())[1] == [own(0), *(line.rstrip(b"\r\n") for line in lines)]


@pytest.mark.parametrize("name", ["ub.csv", "ub.csv.gz"])
@pytest.mark.parametrize("with_header", [True, False])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_taobao_becomes_events(tmp_path: Path, name: str, *, with_header: bool, end: bytes) -> None:
    """Each row is an event with our kinds, seconds as milliseconds, and an id of file and line, header counted."""
    lines = [HEADER, *ROWS] if with_header else ROWS
    recording = open_recording(write(tmp_path / name, lines, end))
    keys, values, times = joined(recording.batches())
    events = [json.loads(value) for value in values]
    assert recording.format == TAOBAO
    assert keys == [b"1001396", b"1000866", b"1000866", b"1000866"]
    assert times == [1511539225000, 1511539227000, 1511539229000, 1511539230000]
    assert [event["kind"] for event in events] == ["view", "favorite", "cart_add", "purchase"]
    assert [event["event_id"] for event in events] == [f"ub:{n + with_header}" for n in (1, 2, 3, 4)]
    assert events[0] == {
        "event_id": f"ub:{1 + with_header}",
        "customer_id": "1001396",
        "kind": "view",
        "time": 1511539225000,
        "product_id": "1400714",
        "category": "3982336",
    }


def test_taobao_header_names_the_columns(tmp_path: Path) -> None:
    """With a header the columns may stand in any order, quoted, in any case, behind a byte order mark."""
    lines = [
        b'\xef\xbb\xbf"Timestamp",BEHAVIOR,category_id,item_id,user_id,extra',
        b'1511539225,"pv",3982336,1400714,1001396,x',
    ]
    recording = open_recording(write(tmp_path / "ub.csv", lines))
    (value,) = joined(recording.batches())[1]
    event = json.loads(value)
    assert (event["customer_id"], event["kind"], event["product_id"]) == ("1001396", "view", "1400714")


def test_bad_taobao_rows_pass(tmp_path: Path) -> None:
    """A row that cannot be read goes on as it is, without a time, keyed by its user where there is one."""
    bad = [b"7,1,2,gaze,1511539225", b"7,1,2,pv,soon", b"7,1,2", b"7,1,2,pv,-5", b'"', b"7,1,2,pv,9999999999999"]
    bad.append(b'"' + b"x" * 200_000)  # more than the csv module takes in one field
    recording = open_recording(write(tmp_path / "ub.csv", [HEADER, *ROWS, *bad]))
    keys, values, times = joined(recording.batches())
    assert values[4:] == bad
    assert keys[4:] == [b"7", b"7", b"", b"7", b"", b"7", b""]
    assert times[4:] == [NO_TIME] * 7


def test_blank_lines_count_but_are_no_events(tmp_path: Path) -> None:
    """Blank lines are left out, and later rows keep the number of their line in the file."""
    recording = open_recording(write(tmp_path / "ub.csv", [HEADER, ROWS[0], b"", b"  ", ROWS[1]]))
    assert [json.loads(value)["event_id"] for value in joined(recording.batches())[1]] == ["ub:2", "ub:5"]


def test_limit_is_a_prefix(tmp_path: Path) -> None:
    """`limit` gives the first records of the whole, over any batch size."""
    recording = open_recording(write(tmp_path / "day.jsonl", [own(n, time=n) for n in range(20)]))
    whole = joined(recording.batches())[1]
    for size in (1, 7, 5000):
        for limit in (0, 1, 7, 20, 99):
            batches = list(recording.batches(size, limit))
            assert joined(batches)[1] == whole[:limit]
            assert all(len(batch.keys) == size for batch in batches[:-1])


def test_sorting_is_stable_and_keeps_bad_lines_in_place(tmp_path: Path) -> None:
    """Sorted by event time: equal times keep file order, and a line without time stays behind the line it followed."""
    lines = [b"first", own(1, time=30), b"bad", own(2, time=10), own(3, time=30), own(4, time=10), b"worse"]
    recording = open_recording(write(tmp_path / "day.jsonl", lines))
    wanted = [b"first", own(2, time=10), own(4, time=10), b"worse", own(1, time=30), b"bad", own(3, time=30)]
    assert joined(recording.batches(sort_by_time=True))[1] == wanted
    assert joined(recording.batches(limit=3, sort_by_time=True))[1] == wanted[:3]


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
def test_progress_grows_to_the_size(tmp_path: Path, name: str) -> None:
    """`read_bytes` counts the file's own bytes, never falls, and ends at its size."""
    recording = open_recording(write(tmp_path / name, [own(n, customer=f"c{n * n}") for n in range(20_000)]))
    progress = [batch.read_bytes for batch in recording.batches(1000)]
    assert progress == sorted(progress)
    assert progress[0] < progress[-1] == recording.size_bytes


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"InvoiceNo,StockCode\n1,2\n", "InvoiceNo,StockCode"),
        (b"event_time,event_type,product_id\n1,2,3\n", "event_time,event_type"),
        (b'{"session": 1, "events": []}\n', "without event_id, customer_id, kind"),
        (b"\x00\x01\x02", "first line"),
    ],
)
def test_unknown_formats_say_what_was_seen_and_what_is_known(tmp_path: Path, content: bytes, seen: str) -> None:
    """The error names the file, what it begins with, and every known format."""
    path = tmp_path / "thing.bin"
    path.write_bytes(content)
    with pytest.raises(UnknownFormat) as refused:
        open_recording(path)
    for said in (str(path), seen, *KNOWN_FORMATS):
        assert said in str(refused.value)


def test_a_cut_gzip_file_gives_what_it_has_then_says_so(tmp_path: Path) -> None:
    """Records before the damage come out; then the damage is named, not passed over."""
    whole = gzip.compress(b"\n".join(own(n, customer=f"c{n * n}") for n in range(20_000)))
    path = tmp_path / "day.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    recording = open_recording(path)
    values: list[bytes] = []

    def read() -> None:
        for batch in recording.batches(100):
            values.extend(batch.values)

    with pytest.raises(BrokenRecording, match=r"day\.jsonl\.gz"):
        read()
    assert values == [own(n, customer=f"c{n * n}") for n in range(len(values))]
    assert len(values) > 5_000


def test_a_recording_is_read_afresh_each_time(tmp_path: Path) -> None:
    """Two readings of one Recording, interleaved, are both whole."""
    recording = open_recording(write(tmp_path / "day.jsonl", [own(n) for n in range(10)]))
    one, other = recording.batches(3), recording.batches(4)
    next(one), next(other)
    assert sum(len(batch.keys) for batch in one) == 7
    assert sum(len(batch.keys) for batch in other) == 6


def naive_taobao(path: Path) -> list[dict[str, object]]:
    """The slow judge: Python's csv module, row by row."""
    kinds = {"pv": "view", "fav": "favorite", "cart": "cart_add", "buy": "purchase"}
    with gzip.open(path, "rt") as lines:
        rows = [line.rstrip("\n").split(",") for line in lines]
    return [
        {
            "event_id": f"taobao_user_behavior:{number}",
            "customer_id": user,
            "kind": kinds[behavior],
            "time": int(seconds) * 1000,
            "product_id": item,
            "category": category,
        }
        for number, (user, item, category, behavior, seconds) in enumerate(rows[1:], 2)
    ]


def test_the_real_recording(recordings: Path) -> None:
    """All 60,989 events of the Taobao recording come out as a naive reader says, in event-time order."""
    path = recordings / "taobao_user_behavior.csv.gz"
    recording: Recording = open_recording(path)
    keys, values, times = joined(recording.batches())
    naive = naive_taobao(path)
    assert len(values) == 60_989
    assert [json.loads(value) for value in values] == naive
    assert keys == [str(event["customer_id"]).encode() for event in naive]
    assert (np.diff(times) >= 0).all()
    assert joined(recording.batches(sort_by_time=True))[1] == values


def test_a_line_without_an_end(tmp_path: Path) -> None:
    """A small file that unpacks to one enormous line is refused before it fills the memory; what is before it comes."""
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(own(1) * 30 + b"\n" + bytes(LONGEST_LINE + 1)))
    with pytest.raises(BrokenRecording, match="line 2 has more than 67,108,864 bytes"):
        list(open_recording(path).batches(1))
