"""Customers ask to be forgotten, and then all comes that could bring them back."""

from collections import defaultdict
from itertools import islice
from pathlib import Path

import orjson

from streams.simulate import simulate
from tests.features.naive_log import WEEK
from tests.job import first_records
from tests.soak.feed import Sent, is_bad, stream
from tests.soak.forgetting import FORGET_EVERY

SENT = 9_000


def sent(folder: Path, seed: int = 1) -> list[Sent]:
    """Three loops of three weeks."""
    path = folder / "shop.jsonl"
    simulate(path, events=3_000, customers=120, days=21)
    return list(islice(stream(first_records(path, 3_000), seed), SENT))


def test_what_comes_of_who_was_forgotten(tmp_path: Path) -> None:
    """After a forget: the same record again, late ones at or before its time, later ones, and the same a week on."""
    came: dict[str, list[str]] = defaultdict(list)
    forgets: dict[str, tuple[str, int, str, int]] = {}
    newest, before, again_after = 0, b"", set()
    for record in sent(tmp_path):
        if is_bad(record.value):
            continue
        event = orjson.loads(record.value or b"")
        number = event["event_id"].removeprefix("forget-").removeprefix("late-").removeprefix("again-")
        if event["kind"] == "forget":
            asked = orjson.loads(before)
            assert record.key.decode() == event["customer_id"] == asked["customer_id"]
            forgets[number] = record.key.decode(), event["time"], asked["event_id"], asked["time"]
        elif number in forgets and event["event_id"] != number:
            who, time, *_ = forgets[number]
            assert event["customer_id"] == who
            assert (event["time"] <= time) == event["event_id"].startswith("late-")
            came[number].append(event["event_id"].split("-")[0])
        for _, _, event_id, first in forgets.values():
            if event["event_id"] == event_id and newest > first + WEEK:
                again_after.add(event_id)
        newest, before = max(newest, event["time"]), record.value or b""
    assert len(forgets) > 0.8 * SENT / FORGET_EVERY
    found = [sorted(came[number]) for number in forgets]
    assert found.count(["late"]) > 0.3 * len(forgets)
    assert found.count(["again", "late"]) > 0.3 * len(forgets)
    assert len(again_after) > 0.2 * len(forgets)


def test_a_seed_gives_one_feed(tmp_path: Path) -> None:
    """Byte for byte; another seed another."""
    assert sent(tmp_path) == sent(tmp_path) != sent(tmp_path, seed=2)
