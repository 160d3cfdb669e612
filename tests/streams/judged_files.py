"""A made-up recording of some days and scores files about it, written by a simple rule instead of the engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from intents.catalog import Catalogue
from intents.occurrences import Occurrence
from streams.occurrences import occurrences
from streams.recordings import open_recording
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from tests.intents.naive_evaluation import OUTCOME, TOUCHING

EVENTS, DAYS = 3_000, 3


def write_files(folder: Path) -> None:
    """Write shop.jsonl and shop.toml; scores.jsonl by a rule, new.jsonl with `soon`, bad.jsonl by its opposite."""
    simulate(folder / "shop.jsonl", customers=80, events=EVENTS, days=DAYS, seed=5)
    (folder / "shop.toml").write_text(DEMO_CATALOGUE)
    events = list(occurrences(open_recording(folder / "shop.jsonl"), Catalogue.parse(DEMO_CATALOGUE)))
    for name, soon, turned in (("scores", False, False), ("new", True, False), ("bad", False, True)):
        with (folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in _lines(events, soon=soon, turned=turned))


def _lines(events: list[Occurrence], *, soon: bool, turned: bool) -> Iterator[dict[str, Any]]:
    recent: dict[str, dict[str, int]] = {}
    for event in events:
        mine = recent.setdefault(event.customer_id, {})
        base = {"customer_id": event.customer_id, "time": event.time_ms, "event_id": event.event_id}
        if event.kind in OUTCOME:
            for subject in event.subjects:
                yield {"ask": "rank", **base, "intent": subject, "scores": _scored(mine, event.time_ms, turned)}
        if event.kind in TOUCHING:
            for subject in event.subjects:
                mine.pop(subject, None)
                mine[subject] = event.time_ms
        if event.kind == "view":
            scores = _scored(mine, event.time_ms, turned)
            more = {"soon": [[name, min(1.0, p * 2)] for name, p in scores]} if soon else {}
            yield {"ask": "detect", **base, "scores": scores, **more}


def _scored(recent: dict[str, int], now_ms: int, turned: bool) -> list[list[Any]]:
    """The last eight subjects, likelier the younger their touch, or (turned) the older; and two more at the end."""
    last = list(reversed(recent.items()))[:8]
    p = [0.5 / (1 + (now_ms - time) / 600_000) / (1 + place) for place, (_, time) in enumerate(last)]
    told = [[name, round(0.5 - each if turned else each, 6)] for (name, _), each in zip(last, p, strict=True)]
    new = [name for name in ("ice_cream", "gift_cards") if name not in recent]
    return sorted([*told, *([name, 0.001] for name in new)], key=lambda scored: -scored[1])
