"""A simulated recording is honest about being made up, repeats to the byte, and is neither trivial nor hopeless."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.kinds import KINDS
from intents.catalog import Catalogue
from intents.evaluation import evaluate
from intents.occurrences import Occurrence
from intents.truth import TrueSpan, from_line
from streams.occurrences import occurrences
from streams.recordings import OWN, open_recording
from streams.shop import DEMO_CATALOGUE, OCCASIONS, SHELVES, STAPLES
from streams.simulate import START_MS, simulate, truth_path

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's recording."""
    path = tmp_path_factory.mktemp("made") / "shop.jsonl.gz"
    simulate(path)
    return path


@pytest.fixture(scope="module")
def events(made: Path) -> list[dict[str, Any]]:
    """Its events as they stand in it."""
    return [json.loads(value) for batch in open_recording(made).batches() for value in batch.values]


@pytest.fixture(scope="module")
def spans(made: Path) -> list[TrueSpan]:
    """Its truth."""
    return [from_line(line) for line in truth_path(made).read_bytes().splitlines()]


@pytest.fixture(scope="module")
def told(made: Path) -> list[Occurrence]:
    """Its events as evaluation sees them, subjects by the demo's catalogue."""
    return list(occurrences(open_recording(made), Catalogue.parse(DEMO_CATALOGUE)))


def test_it_says_that_it_is_made_up(made: Path) -> None:
    """The first line is a header that says so, with the seed; the file is one of our own recordings."""
    recording = open_recording(made)
    assert recording.format == OWN
    assert recording.header is not None
    assert recording.header["made_up"] is True
    assert recording.header["seed"] == 7
    assert "Made up" in str(recording.header["note"])


def test_size_order_and_ids(events: list[dict[str, Any]]) -> None:
    """As many events and customers as asked for, ids unique, in order of time, over two and a half days of 2024."""
    assert len(events) == 20_000
    assert len({event["event_id"] for event in events}) == 20_000
    assert len({event["customer_id"] for event in events}) == 600
    times = [event["time"] for event in events]
    assert times == sorted(times)
    assert START_MS <= times[0] < times[-1] < START_MS + 70 * HOUR_MS
    assert times[-1] - times[0] > 48 * HOUR_MS


def test_events_are_clickstream_events(events: list[dict[str, Any]]) -> None:
    """Known kinds, finite prices, short strings, products always at one price: nothing in it is to be dead-lettered."""
    prices: dict[str, set[float]] = {}
    for event in events:
        assert event["kind"] in KINDS
        assert all(isinstance(value, str | float | int) and len(str(value)) < 256 for value in event.values())
        if "product_id" in event:
            prices.setdefault(event["product_id"], set()).add(event["price"])
            assert event["product_id"].startswith(event["category"])
            assert event["name"] and event["currency"] == "EUR"
    assert all(len(each) == 1 for each in prices.values())
    counts = Counter(event["kind"] for event in events)
    for kind in ("view", "search", "favorite", "cart_add", "cart_remove", "checkout", "purchase", "banner_click"):
        assert counts[kind] >= 20, kind
    assert counts["view"] > 0.7 * len(events)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    """Plain, packed and into open files; the truth too; whatever the name or hash seed. Another seed, other lines."""
    paths = [tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz", "c.jsonl")]
    for path in paths:
        simulate(path, customers=20, events=500, seed=3)
    out, truth = io.BytesIO(), io.BytesIO()
    simulate(out, customers=20, events=500, seed=3, truth=truth)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes()[3:8] == bytes(5)  # gzip's flags (no file name) and time (none)
    assert gzip.decompress(paths[0].read_bytes()) == paths[2].read_bytes() == out.getvalue()
    assert len({truth_path(path).read_bytes() for path in paths} | {truth.getvalue()}) == 1
    code = (
        "import sys; from streams.simulate import simulate; "
        "simulate(sys.stdout.buffer, customers=20, events=500, seed=3)"
    )
    env = os.environ | {"PYTHONHASHSEED": "99"}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert other.stdout == out.getvalue()
    simulate(tmp_path / "d.jsonl", customers=20, events=500, seed=4)
    assert not set(lines_of(paths[2])) & set(lines_of(tmp_path / "d.jsonl"))


def lines_of(path: Path) -> list[bytes]:
    """Lines but the header."""
    return path.read_bytes().splitlines()[1:]


def test_what_was_written_is_said(tmp_path: Path) -> None:
    """The result counts what is in the files."""
    path = tmp_path / "a.jsonl"
    made = simulate(path, customers=30, events=400, seed=5)
    times = [json.loads(line)["time"] for line in lines_of(path)]
    assert (made.events, made.first_ms, made.last_ms) == (400, times[0], times[-1])
    assert made.customers == len({json.loads(line)["customer_id"] for line in lines_of(path)})
    assert made.spans == len(truth_path(path).read_bytes().splitlines())


def test_the_truth_lies_beside(tmp_path: Path) -> None:
    """The truth of `x.jsonl.gz` and of `x.jsonl` is `x.truth.jsonl`."""
    names = ("x.jsonl.gz", "x.jsonl", "x")
    assert {truth_path(tmp_path / name) for name in names} == {tmp_path / "x.truth.jsonl"}


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"events": 0}, {"days": 0.0}])
def test_counts_must_be_positive(wrong: dict[str, Any]) -> None:
    """Nothing is written for nobody."""
    out = io.BytesIO()
    with pytest.raises(ValueError, match="positive"):
        simulate(out, **wrong)
    assert not out.getvalue()


def test_small_recordings_work() -> None:
    """One customer, one event."""
    out = io.BytesIO()
    assert simulate(out, customers=1, events=1).events == 1
    assert len(out.getvalue().splitlines()) == 2


def test_the_catalogue_fits_the_shop(events: list[dict[str, Any]]) -> None:
    """Each shelf is an intent with a label, the birthday journey is declared, and every rule catches something."""
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    categories = {event["category"] for event in events if "category" in event}
    queries = {event["query"] for event in events if "query" in event}
    assert categories == set(SHELVES)
    assert catalogue.idle_rules(categories, []) == []
    assert catalogue.idle_rules([], queries) == []
    assert catalogue.label("ice_cream") == "Ice cream"
    assert [(each.name, each.stages) for each in catalogue.journeys] == [
        ("birthday", ("party_supplies", "ice_cream", "gift_cards"))
    ]
    for shelf in SHELVES.values():
        for query in (shelf.query, f"{shelf.query} sale"):
            (subject,) = catalogue.subjects(None, query)
            assert catalogue.names[subject] == shelf.category
    assert {*STAPLES, *(stage for occasion in OCCASIONS for stage in occasion.stages)} <= set(SHELVES)


def test_journeys_lead_on(spans: list[TrueSpan]) -> None:
    """Party supplies lead to ice cream and on to gift cards, for most and not for all, within minutes to hours."""
    birthday = [span for span in spans if span.journey == "birthday"]
    reached = Counter(span.intent for span in birthday if span.stage > 1)
    started = Counter(span.intent for span in birthday if span.stage == 1)["party_supplies"]
    assert started > 60
    assert 0.4 * started < reached["ice_cream"] < started
    assert 0.3 * reached["ice_cream"] < reached["gift_cards"] < reached["ice_cream"]
    waits = [
        (later.from_ms - earlier.until_ms) / 60_000
        for earlier, later in pairwise(sorted(birthday, key=lambda span: (span.customer_id, span.from_ms)))
        if earlier.customer_id == later.customer_id and later.stage == earlier.stage + 1
    ]
    assert 5 < np.median(waits) < 30
    assert max(waits) > 60


def test_the_truth_is_in_the_events(spans: list[TrueSpan], told: list[Occurrence]) -> None:
    """Nearly every want shows as a touch or outcome within its span, and most outcomes lie in a want; whims do not."""
    times: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for event in told:
        for subject in event.subjects:
            outcome = event.kind in ("cart_add", "purchase")
            times.setdefault((event.customer_id, subject), []).append((event.time_ms, outcome))
    wants: dict[tuple[str, str], list[TrueSpan]] = {}
    for span in spans:
        wants.setdefault((span.customer_id, span.intent), []).append(span)
    shown = [
        any(span.from_ms <= time < span.until_ms for time, _ in times.get(key, ()))
        for key, each in wants.items()
        for span in each
    ]
    assert np.mean(shown) > 0.85
    bought = [
        any(span.from_ms <= time < span.until_ms for span in wants.get(key, ()))
        for key, each in times.items()
        for time, outcome in each
        if outcome
    ]
    assert 0.8 < np.mean(bought) < 0.97


def test_customers_differ(events: list[dict[str, Any]]) -> None:
    """Some come once, some often; some linger where others rush."""
    counts = sorted(Counter(event["customer_id"] for event in events).values())
    assert counts[0] <= 5
    assert counts[-1] > 5 * counts[len(counts) // 2]


@pytest.mark.parametrize("seed", [7, 11])
def test_neither_trivial_nor_hopeless(tmp_path: Path, seed: int) -> None:
    """4–8 % of the pairs are positive; most recently touched first is mediocre; some outcomes were never touched."""
    path = tmp_path / "shop.jsonl.gz"
    simulate(path, seed=seed)
    found = evaluate([], occurrences(open_recording(path), Catalogue.parse(DEMO_CATALOGUE)))
    assert 0.04 < found.detect.base_rate < 0.08
    assert 0.78 < found.detect_rule.auc < 0.87
    assert found.detect_rule.average_precision < 0.25
    assert 0.03 < 1 - found.rank_rule.all.recall < 0.15
    assert found.rank_rule.all.hit_1 < 0.7
