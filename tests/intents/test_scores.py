"""The scores file says what the model said before it learned, and nothing that comes later changes a byte of it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.life import Rules
from intents.model import Model
from intents.training import Trainer
from streams.inprocess import InProcess
from streams.shop import DEMO_CATALOGUE
from tests.intents.replaying import Pair, made_up, pair, replayed, setup_of


@dataclass(frozen=True)
class Scored:
    """Scores and intents of a replay that learns."""

    scores: bytes
    intents: list[bytes]

    def lines(self) -> list[dict[str, Any]]:
        """The scores, line by line."""
        return [json.loads(line) for line in self.scores.splitlines()]


def run(records: Sequence[Pair]) -> Scored:
    """Replay records, learning from them."""
    trainer = Trainer(CORE, Rules().horizon_ms, durable=False)
    replay = InProcess(setup_of(DEMO_CATALOGUE, rank_outcomes=True), Model.untrained(CORE), trainer=trainer)
    outputs = asyncio.run(replayed(replay, records, size=1_000))
    return Scored(
        b"".join(line for output in outputs for line in output.scores),
        [value for output in outputs for _, value in output.intents],
    )


RECORDS = 2_600
CATALOGUE = Catalogue.parse(DEMO_CATALOGUE)


@cache
def whole() -> Scored:
    """All records of a made-up shop."""
    return run(made_up()[:RECORDS])


def test_repeats_to_the_byte() -> None:
    """Learning happens at moments of event time, so that a replay repeats."""
    assert run(made_up()[:RECORDS]) == whole()
    assert len(whole().intents) > 100


@pytest.mark.parametrize("limit", [1, 700, 1_000, 1_733])
def test_prefix(limit: int) -> None:
    """The scores and intents of the first N records are a byte prefix of the full run's."""
    first = run(made_up()[:limit])
    assert whole().scores.startswith(first.scores) and first.scores.endswith(b"\n")
    assert whole().intents[: len(first.intents)] == first.intents


def test_no_look_ahead() -> None:
    """What later lines of the recording say changes nothing before them."""
    records = list(made_up()[:RECORDS])
    at = 1_500
    for n in range(at, len(records)):
        event = json.loads(records[n][1])
        if event["kind"] == "view":
            event["kind"] = "cart_add"
        records[n] = pair(event | {"category": "tents", "time": event["time"] + 3_600_000})
    before = run(records[:at])
    changed = run(records)
    assert changed.scores.startswith(before.scores) and whole().scores.startswith(before.scores)
    assert changed.scores != whole().scores


def test_every_line() -> None:
    """A line for each view, cart_add and purchase, in file order, with its event's id, customer and time."""
    expected = []
    for _, value in made_up()[:RECORDS]:
        event = json.loads(value)
        ask = {"view": "detect", "cart_add": "rank", "purchase": "rank"}.get(event["kind"])
        if ask is not None:
            expected.append((ask, event["customer_id"], event["time"], event["event_id"]))
    lines = whole().lines()
    assert [(line["ask"], line["customer_id"], line["time"], line["event_id"]) for line in lines] == expected
    for line in lines:
        keys = ["ask", "customer_id", "time", "event_id", *["intent"] * (line["ask"] == "rank"), "scores"]
        assert [key for key in line if key != "ready"] == keys


def test_the_next_day_beside() -> None:
    """Once a day's answers are known, a view's line says the same candidates' chances within a day, best first.

    But not while the model loses, as it does in so small a shop at first.
    """
    lines = run(made_up(seed=4, customers=60, events=2_400, days=4.0)).lines()
    known = [n for n, line in enumerate(lines) if "soon" in line]
    losing = {n for n, line in enumerate(lines) if line.get("losing")}
    assert 300 < len(known) < len(lines) - 300 and len([n for n in losing if n > known[0]]) > 50
    for n, line in enumerate(lines):
        assert ("soon" in line) == (n >= known[0] and line["ask"] == "detect" and n not in losing)
        keys = ["ask", "customer_id", "time", "event_id", *["intent"] * (line["ask"] == "rank"), "scores"]
        assert [key for key in line if key not in ("ready", "losing")] == keys + ["soon"] * ("soon" in line)
    for n in known:
        soon = [p for _, p in lines[n]["soon"]]
        assert soon == sorted(soon, reverse=True) and all(0 <= p <= 1 for p in soon)
        assert sorted(name for name, _ in lines[n]["soon"]) == sorted(name for name, _ in lines[n]["scores"])


def test_scores_are_probabilities_in_order() -> None:
    """Every p is a number in [0, 1], the best first, no subject twice; not-ready lines say so and are ordered too."""
    lines = whole().lines()
    ready = [line.get("ready", True) for line in lines]
    assert ready == sorted(ready) and {True, False} == set(ready)  # first it is not ready, then it is
    for line in lines:
        scores = [p for _, p in line["scores"]]
        assert scores == sorted(scores, reverse=True)
        assert all(isinstance(p, float) and 0 <= p <= 1 and p != 0.5 for p in scores)
        assert len({name for name, _ in line["scores"]}) == len(scores)


def test_six_last_touched() -> None:
    """After a view, at least the six most recently touched subjects are scored, fewer if there are fewer."""
    touched: dict[str, list[str]] = {}
    lines = iter(whole().lines())
    for _, value in made_up()[:RECORDS]:
        event = json.loads(value)
        subjects = _subjects(event)
        mine = touched.setdefault(event["customer_id"], [])
        if event["kind"] in ("cart_add", "purchase"):
            line = next(lines)
            assert set(mine[:32]) <= {name for name, _ in line["scores"]}
            assert line["intent"] == subjects[0]
        for subject in subjects if event["kind"] not in ("cart_remove",) else []:
            if subject in mine:
                mine.remove(subject)
            mine.insert(0, subject)
        if event["kind"] == "view":
            line = next(lines)
            assert set(mine[:6]) <= {name for name, _ in line["scores"]}
            if not line.get("ready", True):
                order = [name for name, _ in line["scores"] if name in mine[:6]]
                assert order == mine[:6]  # before the model is ready, by last touch


def _subjects(event: dict[str, Any]) -> list[str]:
    return [CATALOGUE.names[subject] for subject in CATALOGUE.subjects(event.get("category"), event.get("query"))]


def test_the_moment_before() -> None:
    """A cart_add is ranked by what was known just before it: nothing, for a customer's first event."""
    records = [pair({"event_id": "1", "customer_id": "a", "kind": "cart_add", "time": 1_000_000, "category": "tents"})]
    (line,) = run(records).lines()
    assert line == {
        "ask": "rank",
        "customer_id": "a",
        "time": 1_000_000,
        "event_id": "1",
        "intent": "tents",
        "scores": [],
        "ready": False,
    }


def test_duplicates_are_not_scored_twice() -> None:
    """The same event twice is one event, with one line; a late view asks nothing."""
    event = {"event_id": "1", "customer_id": "a", "kind": "view", "time": 1_000_000, "category": "tents"}
    late = event | {"event_id": "2", "time": 900_000}
    lines = run([pair(event), pair(event), pair(late)]).lines()
    assert [line["event_id"] for line in lines] == ["1"]
