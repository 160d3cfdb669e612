"""Touches are what customers did to products, with names, sessions and subjects, line by line."""

import json
from pathlib import Path

from intents.catalog import Catalogue
from intents.stages import DAY_MS, Touch
from streams.recordings import open_recording
from streams.touches import sales_of, touches

CATALOGUE = '[intent.tea]\nname = "tea"\n[intent.find]\nquery = "tea"'


def told(tmp_path: Path, *events: dict[str, object], catalogue: str = CATALOGUE) -> list[Touch]:
    """Touches of a recording of these events."""
    path = tmp_path / "day.jsonl"
    usual = {"customer_id": "c", "kind": "view", "time": 5}
    lines = [json.dumps({"event_id": f"e{n}"} | usual | event) for n, event in enumerate(events)]
    path.write_text("\n".join([*lines, "no event"]))
    return list(touches(open_recording(path).batches(), Catalogue.parse(catalogue)))


def test_events_become_touches(tmp_path: Path) -> None:
    """With all that they have; what touches nothing, cannot be read or comes twice is left out."""
    event: dict[str, object] = {"product_id": "p", "name": "Tea pot", "session_id": "s", "category": "pots"}
    found = told(
        tmp_path,
        event,
        {"kind": "search", "query": "green tea"},
        {"kind": "refund"},
        {"event_id": "e0"},
        {"time": "soon"},
        {"category": "pots"},
    )
    assert found == [
        Touch("c", "view", 5, "s", "p", "Tea pot", ("tea",)),
        Touch("c", "search", 5, "", "", "", ("find",)),
        Touch("c", "view", 5, "", "", "", ("pots",)),
    ]


def test_lines_of_a_basket(tmp_path: Path) -> None:
    """Each line is a touch; what it leaves out is the basket's."""
    items = [{"product_id": "a", "name": "Lamp", "category": "x"}, {}]
    found = told(tmp_path, {"kind": "purchase", "name": "tea", "product_id": "p", "category": "y", "items": items})
    assert [(each.product_id, each.name, each.subjects) for each in found] == [
        ("a", "Lamp", ("x",)),
        ("p", "tea", ("tea",)),
    ]


def sold(product: str, name: str, time_ms: int = 0, customer: str = "c", session: str = "") -> Touch:
    """A touch of a product."""
    return Touch(customer, "purchase", time_ms, session, product, name, ())


def test_sales() -> None:
    """Numbers of customers, baskets and products; what has no name is left out, the first name counts."""
    sales = sales_of(
        [sold("p", "tea"), sold("p", "Tea"), sold("q", ""), sold("", "lamp", DAY_MS), sold("p", "tea", 0, "d", "s")]
    )
    assert sales.names == ["tea", "lamp"]
    assert sales.customer.tolist() == [0, 0, 0, 1]
    assert sales.basket.tolist() == [0, 0, 1, 2]
    assert sales.product.tolist() == [0, 0, 1, 0]


def test_the_end_is_held_back() -> None:
    """The last share of the time is not looked at."""
    sales = sales_of([sold("p", "tea", 0), sold("q", "lamp", 79), sold("r", "rug", 80), sold("s", "sofa", 100)], 0.2)
    assert [sales.names[product] for product in sales.product] == ["tea", "lamp"]
    assert sales_of([]).names == [] == sales_of([], 0.5).names
