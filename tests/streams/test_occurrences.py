"""Evaluation reads recordings by itself: subjects by the catalogue, unreadable events left out."""

import json
from pathlib import Path

from intents.catalog import Catalogue
from intents.occurrences import Occurrence
from streams.occurrences import occurrences
from streams.recordings import open_recording

CATALOGUE = """
[intent.party]
label = "Party"
category = ["party_*"]
query = ["birthday party"]
[intent.fun]
category = ["party_games"]
name = "balloon"
"""


def line(number: int, **fields: object) -> bytes:
    """An event in our wire format."""
    return json.dumps({"event_id": f"e{number}", "customer_id": "c", "kind": "view", "time": number} | fields).encode()


def told(tmp_path: Path, lines: list[bytes], catalogue: str = "", limit: int | None = None) -> list[Occurrence]:
    """Occurrences of a recording of these lines."""
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"\n".join(lines))
    return list(occurrences(open_recording(path), Catalogue.parse(catalogue), limit))


def test_without_a_catalogue_a_category_is_its_subject(tmp_path: Path) -> None:
    """An event is about its category, or about nothing; a search without a category about nothing."""
    found = told(tmp_path, [line(1, category="tents"), line(2), line(3, kind="search", query="tents")])
    assert found == [
        Occurrence("c", "view", 1, ("tents",), "e1"),
        Occurrence("c", "view", 2, (), "e2"),
        Occurrence("c", "search", 3, (), "e3"),
    ]


def test_the_catalogue_names_subjects(tmp_path: Path) -> None:
    """Categories and searches map through the catalogue, to several subjects where several match."""
    lines = [
        line(1, category="party_games"),
        line(2, kind="search", query="Best birthday party"),
        line(3, category="x"),
    ]
    assert [event.subjects for event in told(tmp_path, lines, CATALOGUE)] == [("party", "fun"), ("party",), ("x",)]


def test_names_map_too(tmp_path: Path) -> None:
    """A product's name is compared with the catalogue's rules; a line of a basket without a name has the basket's."""
    lines = [line(1, name="Red BALLOON"), line(2, name="balloon", items=[{}, {"name": "Lamp"}])]
    assert [event.subjects for event in told(tmp_path, lines, CATALOGUE)] == [("fun",), ("fun",), ()]


def test_lines_of_a_basket_are_events_of_their_own(tmp_path: Path) -> None:
    """Each of `items` is an event `id#i` about its own category, else the basket's; an empty basket is one event."""
    basket = line(1, kind="purchase", category="whole", items=[{"category": "a", "price": 1}, {}])
    found = told(tmp_path, [basket, line(2, items=[], category="b")])
    assert [(event.event_id, event.subjects) for event in found] == [
        ("e1#0", ("a",)),
        ("e1#1", ("whole",)),
        ("e2", ("b",)),
    ]


def test_unreadable_events_are_left_out(tmp_path: Path) -> None:
    """What a worker would refuse for its form is not judged: the model was never asked about it."""
    bad = [
        b"{",
        b'{"event_id":"x\xff"}',
        b'{"x":' + b"[" * 100_000,
        line(2, kind="gaze"),
        line(3, time="soon"),
        line(4, customer_id=""),
        line(5, event_id=""),
        line(6, category=7),
    ]
    assert [event.event_id for event in told(tmp_path, [line(1), *bad, line(9)])] == ["e1", "e9"]


def test_how_far_it_has_read_is_told(tmp_path: Path) -> None:
    """The share of the file, or of the limit where that is nearer, and the records read; it ends with 1."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(line(n) for n in range(1, 5)) + b"\n")
    for limit, wanted in ((None, (1.0, 4)), (2, (1.0, 2))):
        heard: list[tuple[float, int]] = []
        list(occurrences(open_recording(path), limit=limit, told=lambda share, count: heard.append((share, count))))  # noqa: B023  # heard at once
        assert heard[-1] == wanted


def test_limit_counts_events_of_the_recording(tmp_path: Path) -> None:
    """`limit` is the replay's: bad lines count too."""
    assert [event.event_id for event in told(tmp_path, [line(1), b"{", line(3), line(4)], limit=3)] == ["e1", "e3"]
