"""The columnar detect says what the slow one says, to the byte, however its input was cut."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.core_bundle import CORE
from intents.detect import Setup
from intents.examples import Examples, unpack
from intents.intent import Intent
from intents.life import Rules
from intents.model import Model
from intents.subjects import customer_hash
from intents.tables import RANKS
from sinks.events import intent_json, intent_record
from streams.inprocess import InProcess
from streams.shop import DEMO_CATALOGUE
from streams.wire import Decoder
from tests.intents.naive_detect import NaiveDetect, lines_of
from tests.intents.replaying import (
    MINUTE,
    Drive,
    Pair,
    chunk_of,
    disturbed,
    handmade,
    in_chunks,
    lanes_of,
    learned,
    made_up,
    pair,
    replayed,
    setup_of,
    shuffled,
    unready,
)

CATALOGUE: Final = """
[intent.party]
label = "Party things"
category = ["balloons", "hats*"]
query = ["birthday party"]
[intent.red]
category = ["*red"]
[intent.cake]
category = "cake"
query = "cake"
[journey.birthday]
stages = ["party", "cake", "red"]
"""
CATEGORIES: Final = ["balloons", "hats-red", "cake", "shoes", "books", "shoes-red", None]
SUBJECTS: Final = ["party", "red", "cake", "shoes", "books", "never touched", "nor this"]
KINDS: Final = [
    *["view"] * 8,
    "click",
    "cart_add",
    "cart_add",
    "purchase",
    "favorite",
    "search",
    "impression",
    "refund",
]
GAPS: Final = [0, 1, 5_000, 20_000, 20_000, MINUTE, 4 * MINUTE, 31 * MINUTE, 50 * MINUTE]
BACK: Final = [*[0] * 12, 1, 10_000, 3 * MINUTE, 40 * MINUTE]
RULES: Final = [
    Rules(),
    Rules(horizon_ms=5 * MINUTE, cooldown_ms=12 * MINUTE, step=0.03),
    Rules(threshold=0.05, horizon_ms=10 * MINUTE, cooldown_ms=MINUTE, step=0.02),
]


class Move(NamedTuple):
    """Something that somebody does; `again` sends an earlier event once more, `basket` makes it two lines."""

    customer: int
    kind: str
    category: str | None
    gap: int
    back: int
    again: int
    basket: bool


MOVES: Final = st.builds(
    Move,
    st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4]),
    st.sampled_from([*KINDS * 2, "forget"]),
    st.sampled_from(CATEGORIES),
    st.sampled_from(GAPS),
    st.sampled_from(BACK),
    st.sampled_from([*[0] * 15, 1, 5]),
    st.sampled_from([False] * 7 + [True]),
)


def records_of(moves: Sequence[Move]) -> list[Pair]:
    """What `moves` put into the clickstream."""
    records: list[Pair] = []
    now = 1_700_000_000_000
    for n, move in enumerate(moves):
        now += move.gap
        if 0 < move.again <= len(records):
            records.append(records[-move.again])
            continue
        event: dict[str, Any] = {"event_id": f"e{n}", "customer_id": f"c{move.customer}", "kind": move.kind}
        event |= {"time": now - move.back, "category": move.category, "product_id": f"p{n % 3}", "price": n % 5}
        if move.kind == "search":
            event["query"] = ["birthday party", "red cake", "socks"][n % 3]
        if move.basket:
            event["items"] = [{"category": "cake"}, {"product_id": "other"}]
        records.append(pair(event))
    return records


def judged(setup: Setup, model: Model, lane: Sequence[Pair], number: int = 0) -> NaiveDetect:
    """What the slow detect makes of one partition."""
    naive = NaiveDetect(setup, model, number)
    for line in lines_of(chunk_of(Decoder(setup.catalogue), number, 0, lane)):
        naive.take(line)
    return naive


def same_intents(drive: Drive, naives: Sequence[NaiveDetect]) -> None:
    """Assert that every record of the intents topic is what the slow detect would have published, in its order."""
    for records, naive in zip(drive.records, naives, strict=True):
        published = [record for record in records if record.topic == "intents"]
        for record, told in zip(published, naive.published, strict=True):
            position = told.offset if told.intent.status == "expired" else -1
            value = intent_json(told.intent)
            assert record == intent_record(told.intent, value, "intents", told.watermark, position)


def beaten(model: Model) -> Model:
    """The same model, losing to its fallback, by which what was touched last is wanted often."""
    asked, wanted = np.full(RANKS, 400.0), np.array([280.0, 120.0, 30.0, *[0.0] * (RANKS - 4), 90.0])
    return replace(model, tables=replace(model.tables, ranks=np.stack([asked, wanted])), losing=True)


def compared(moves: Sequence[Move], rules: Rules, seed: int, most: int, state: str = "believed") -> Drive:
    """What happened, cut anyhow: assert that the intents are those of the slow detect, with every published field."""
    lanes = lanes_of(records_of(moves), 2)
    model = handmade(SUBJECTS, intercept=-1.5)
    model = {"believed": lambda: model, "not ready": lambda: unready(model), "losing": lambda: beaten(model)}[state]()
    setup = setup_of(CATALOGUE, rules)
    drive = Drive(setup_of(CATALOGUE, rules), model, lanes, max_customers=most)
    asyncio.run(drive.run(shuffled(lanes, seed, most=30)))
    naives = [judged(setup, model, lane, number) for number, lane in enumerate(lanes)]
    same_intents(drive, naives)
    assert drive.unslotted == sum(naive.unslotted for naive in naives)
    assert state != "not ready" or not any(naive.published for naive in naives)
    for intents in drive.intents:
        one_end_each(intents)
    return drive


@settings(max_examples=40, derandomize=True, database=None)
@given(
    st.lists(MOVES, min_size=20, max_size=60),
    st.sampled_from(RULES),
    st.integers(0, 2**32),
    st.sampled_from(["believed", "believed", "losing", "not ready"]),
)
def test_anything_that_can_happen(moves: list[Move], rules: Rules, seed: int, state: str) -> None:
    """Whatever happens, and however it is cut, the same intents with every published field."""
    compared(moves, rules, seed, 2 + seed % 3, state)


def test_a_model_that_loses() -> None:
    """Intents live by the fallback's probabilities alone, say whose word they are, and what is known beside it."""
    statuses: Counter[str] = Counter()
    said = set()
    for seed in range(6):
        drive = compared(_moves(Random(seed)), RULES[seed % 3], seed, [2, 3, 1_000][seed // 3 % 3], "losing")
        statuses += drive.statuses()
        intents = [intent for lane in drive.intents for intent in lane]
        assert {(intent.model.name, intent.model.version, intent.soon) for intent in intents} == {
            ("fallback", "7-hand", None)
        }
        said |= {(intent.confidence, intent.evidence[0].text) for intent in intents if intent.status == "detected"}
    rates = [round(each, 4) for each in (280.1 / 410, 120.1 / 410, 30.1 / 410)]
    words = [(rates[0], "looked at last"), (rates[1], "looked at lately"), (rates[2], "looked at lately")]
    assert said == {*words} and min(statuses.values()) > 1 and len(statuses) == 6


def test_much_that_happens_together() -> None:
    """The same for customers who do all of it: every status, bursts of deadlines, deadlines within a chunk."""
    statuses: Counter[str] = Counter()
    bursts = mid_chunk = 0
    for seed in range(24):
        drive = compared(_moves(Random(seed)), RULES[seed % 3], seed, [2, 3, 1_000][seed // 3 % 3])
        statuses += drive.statuses()
        bursts, mid_chunk = bursts + drive.bursts, mid_chunk + drive.mid_chunk
    assert statuses["detected"] > 600 and min(statuses.values()) > 10 and len(statuses) == 6
    assert bursts > 10 and mid_chunk > 200


def _moves(random: Random) -> list[Move]:
    return [
        Move(
            customer=random.choice([0, 0, 0, 1, 1, 2, 3, 4]),
            kind=random.choice([*KINDS * 2, "forget"]),
            category=random.choice(CATEGORIES),
            gap=random.choice(GAPS),
            back=random.choice(BACK),
            again=random.choice([*[0] * 15, 1, 5]),
            basket=random.random() < 0.1,
        )
        for _ in range(70)
    ]


def one_end_each(intents: Sequence[Intent]) -> None:
    """Assert that every intent is detected first, counts its changes on, and ends at most once, at its last change."""
    lives: dict[str, list[Intent]] = {}
    for intent in intents:
        lives.setdefault(intent.intent_id, []).append(intent)
    for life in lives.values():
        assert [intent.sequence for intent in life] == list(range(len(life)))
        statuses = [intent.status for intent in life]
        assert statuses[0] == "detected" and "detected" not in statuses[1:]
        assert not {"fulfilled", "expired", "forgotten"} & set(statuses[:-1])
        assert len({(intent.customer_id, intent.intent, intent.detected_at, intent.expires_at) for intent in life}) == 1


@pytest.fixture(scope="module")
def both() -> tuple[Drive, list[NaiveDetect]]:
    """A disturbed simulated recording, by the fast and the slow detect, with a model learned on another one."""
    model = learned(made_up())
    lanes = lanes_of(disturbed(made_up(seed=12, customers=60, events=1_300, days=0.3)))
    drive = Drive(setup_of(DEMO_CATALOGUE), model, lanes, with_examples=True)
    asyncio.run(drive.run(in_chunks(lanes, 5_000)))
    setup = setup_of(DEMO_CATALOGUE)
    return drive, [judged(setup, model, lane, number) for number, lane in enumerate(lanes)]


def test_a_simulated_recording(both: tuple[Drive, list[NaiveDetect]]) -> None:
    """On a made-up shop's customers, with a model learned from others: the same intents with every published field."""
    drive, naives = both
    same_intents(drive, naives)
    assert len(drive.statuses()) == 6
    assert drive.statuses()["detected"] > 150
    evidence = {word.feature for lane in drive.intents for intent in lane for word in intent.evidence}
    assert {"views_5m", "repeat", "recency", "cart_add", "purchase"} <= evidence
    assert {intent.journey.name for lane in drive.intents for intent in lane} == {"birthday", None}
    assert {intent.journey.stage for lane in drive.intents for intent in lane} == {1, 2, 3, None}


def test_what_the_trainer_is_told(both: tuple[Drive, list[NaiveDetect]]) -> None:
    """The examples hold every question with its candidates and vectors as scored, and every outcome, in order."""
    drive, naives = both
    for number, (records, naive) in enumerate(zip(drive.records, naives, strict=True)):
        told = [unpack(record.value) for record in records if record.topic == "examples"]
        assert all((part.topic, part.partition, part.bundle) == ("clickstream", number, CORE.hash) for part in told)
        assert told[-1].watermark == naive.watermark
        asked, outcomes = _asked(told), _outcomes(told)
        assert len(asked) == len(naive.asked) > 100
        assert {part.model for part in told} == {drive.model.version}
        for fast, slow in zip(asked, naive.asked, strict=True):
            event = slow.line.event
            assert fast[:6] == (
                event.time,
                slow.line.offset,
                slow.line.line,
                customer_hash(event.customer, b"micro-intents"),
                event.product,
                (slow.viewed, slow.touched),
            )
            assert fast[6] == [(c.subject, c.rank) for c in slow.candidates]
            np.testing.assert_allclose(fast[7], [c.vector for c in slow.candidates], rtol=2e-7)
            np.testing.assert_allclose(fast[8], [c.said for c in slow.candidates], rtol=2e-6)
        assert outcomes == [
            (o.line.event.time, o.line.offset, o.line.line, o.subject, o.line.event.product, o.recent)
            for o in naive.outcomes
        ]


def _asked(told: Sequence[Examples]) -> list[tuple[Any, ...]]:
    found = []
    for part in told:
        at = 0
        for entry in part.asked:
            place = slice(at, at := at + int(entry["candidates"]))
            subjects, touched = part.subjects[place].tolist(), int(entry["touched"])
            viewed = tuple(subjects[: int(entry["viewed"])])
            what = tuple(int(entry[name]) for name in ("time", "offset", "index", "customer", "product"))
            candidates = list(zip(subjects, part.ranks[place].tolist(), strict=True))
            found.append((*what, (viewed, touched), candidates, part.vectors[:, place].T, part.said[place]))
    return found


def _outcomes(told: Sequence[Examples]) -> list[tuple[Any, ...]]:
    found = []
    for part in told:
        at = 0
        for entry in part.outcomes:
            recent = part.recent[at : (at := at + int(entry["recent"]))].tolist()
            found.append((*(int(entry[name]) for name in ("time", "offset", "index", "subject", "product")), recent))
    return found


@pytest.mark.parametrize("state", ["believed", "losing", "not ready"])
def test_what_the_model_said(state: str) -> None:
    """The trainer is told the model's own word, also while the fallback is served; of one not ready, nothing."""
    records = disturbed(made_up(seed=12, customers=60, events=500, days=0.2))
    ready = handmade(SUBJECTS)
    model = {"believed": ready, "losing": beaten(ready), "not ready": unready(ready)}[state]
    said = []
    for each in (ready, model):
        drive = Drive(setup_of(DEMO_CATALOGUE), each, [records], with_examples=True)
        asyncio.run(drive.run([[(0, 5_000)]]))
        said.append(np.concatenate([unpack(lesson).said for lesson in drive.lessons]))
    assert len(said[0]) > 1_000 and np.isfinite(said[0]).all()
    assert np.isnan(said[1]).all() if state == "not ready" else said[1].tobytes() == said[0].tobytes()


@pytest.mark.parametrize("of", ["learned", "handmade", "not ready", "losing"])
def test_scores(of: str) -> None:
    """A scores file says, in file order, what the slow detect says it should: every candidate's p, best first."""
    records = disturbed(made_up(seed=12, customers=60, events=500, days=0.2))
    model = learned(made_up()) if of == "learned" else handmade(SUBJECTS)
    model = {"not ready": unready, "losing": beaten}.get(of, lambda it: it)(model)
    replay = InProcess(setup_of(DEMO_CATALOGUE, rank_outcomes=True), model, partitions=1)
    lines = [json.loads(line) for output in asyncio.run(replayed(replay, records)) for line in output.scores]
    naive = judged(setup_of(DEMO_CATALOGUE, rank_outcomes=True), model, records)
    assert len(lines) == len(naive.scores) > 300
    assert {line["ask"] for line in lines} == {"rank", "detect"}
    assert sum("soon" in line for line in lines) > 300 * (of == "handmade") - 1
    for fast, slow in zip(lines, naive.scores, strict=True):
        assert fast.keys() == slow.keys()
        for name, value in slow.items():
            if name not in ("scores", "soon"):
                assert fast[name] == value
                continue
            assert [subject for subject, _ in fast[name]] == [subject for subject, _ in value]
            np.testing.assert_allclose([p for _, p in fast[name]], [p for _, p in value], atol=1.1e-6)


def test_scoring_outcomes_changes_nothing_else() -> None:
    """Writing a scores file ranks more candidates before outcomes; intents and examples stay the same bytes."""
    records = disturbed(made_up(seed=12, customers=60, events=500, days=0.2))
    lanes = lanes_of(records)
    drives = []
    for ranked in (False, True):
        setup = setup_of(DEMO_CATALOGUE, rank_outcomes=ranked)
        drive = Drive(setup, learned(made_up()), lanes, with_examples=True)
        drives.append(asyncio.run(drive.run(in_chunks(lanes, 5_000))))
    assert drives[0].records == drives[1].records


def test_order_of_customers_and_partitions() -> None:
    """What else is in a batch, and in which order, changes nothing of a partition's intents."""
    lanes = lanes_of(disturbed(made_up(seed=13, customers=40, events=500, days=0.2)), 3)
    model = learned(made_up())
    alone = [asyncio.run(Drive(setup_of(DEMO_CATALOGUE), model, [lane]).run([[(0, 5_000)]])) for lane in lanes]
    for seed in range(3):
        order = Random(seed).sample(range(3), 3)
        drive = Drive(setup_of(DEMO_CATALOGUE), model, lanes)
        asyncio.run(drive.run([[(number, 5_000) for number in order]]))
        for number, single in enumerate(alone):
            assert _without_partition(drive.intents[number]) == _without_partition(single.intents[0])


def _without_partition(intents: Sequence[Intent]) -> list[Intent]:
    source = msgspec.structs.replace
    return [source(intent, source=source(intent.source, partition=0)) for intent in intents]
