"""Customers ask to be forgotten, then all comes that could bring them back, and the judge sees whether it did."""

from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from itertools import islice
from pathlib import Path

import orjson
import pytest

from features.state import decode as decode_states
from streams.simulate import simulate
from tests.features import naive_log
from tests.features.naive_log import HOUR, WEEK
from tests.job import first_records
from tests.soak.clean import SETTINGS, Clean, wrong
from tests.soak.feed import Sent, is_bad, stream
from tests.soak.forgetting import FORGET_EVERY
from tests.soak.judge import judge, naive_run
from tests.soak.outcome import Outcome

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


def forgotten_in(outcome: Outcome) -> str:
    """A customer who asked to be forgotten and did not come again."""
    logs = naive_run(outcome, SETTINGS).logs
    return next(name for name, log in sorted(logs.items()) if log.tombstone >= 0 and not log.entries)


def bring_back_who_was_forgotten(outcome: Outcome) -> dict[str, int]:
    """A state comes back after its customer was forgotten."""
    name, blob = next(iter(outcome.states.items()))
    outcome.states[forgotten_in(outcome)] = blob
    count = int(decode_states([name], [blob]).logs.entries["count"].sum())
    return {"remembered": 1, "counted_twice": count, "states_wrong": 2}


def keep_the_name_of_who_was_forgotten(outcome: Outcome) -> dict[str, int]:
    """A deadline, or a record of the last commit, still has the name."""
    outcome.named.add(forgotten_in(outcome))
    return {"remembered": 1}


@pytest.mark.parametrize("breaking", [bring_back_who_was_forgotten, keep_the_name_of_who_was_forgotten])
def test_who_comes_back_is_found(clean: Clean, breaking: Callable[[Outcome], dict[str, int]]) -> None:
    """A state, or only a name."""
    outcome = deepcopy(clean[0])
    expected = breaking(outcome)
    assert wrong(judge(outcome, SETTINGS, clean[1])) == expected


@pytest.mark.parametrize("week_ms", [-1, WEEK - 3 * HOUR, WEEK + 3 * HOUR, 2**62])
def test_who_was_forgotten_is_for_a_week(clean: Clean, monkeypatch: pytest.MonkeyPatch, week_ms: int) -> None:
    """The feed has events by which any other length of a tombstone's life shows."""
    monkeypatch.setattr(naive_log, "WEEK", week_ms)
    verdict = judge(deepcopy(clean[0]), SETTINGS, None)
    assert verdict.lost + verdict.counted_twice > 0
