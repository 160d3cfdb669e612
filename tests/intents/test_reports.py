"""What detect found is published in words for people, and packed for the trainer in records of bounded size."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from intents.examples import Examples, unpack
from intents.intent import Evidence, Intent, Status
from intents.reports import ASKS_PER_RECORD, MAX_EVIDENCE
from intents.subjects import as_key, subject_hash
from intents.tables import Tables
from tests.intents.replaying import MINUTE, Drive, Pair, handmade, in_chunks, pair, setup_of
from tests.intents.steered import HORIZON, Shop, T, steered_model

BASKET = """
[intent.party]
category = ["balloons"]
[intent.fun]
category = "ball*"
"""


def view(n: int, category: str, kind: str = "view", at: int = 0, **more: Any) -> Pair:
    """An event of anna's."""
    event = {"event_id": f"e{n}", "customer_id": "anna", "kind": kind, "time": T + at, "category": category}
    return pair(event | more)


def told(records: Sequence[Pair], catalogue: str = "", size: int = 5_000, intercept: float = -1.0) -> Drive:
    """What is published of some records, with the model made by hand."""
    model = handmade(["tea", "rum", "party", "fun"], intercept=intercept)
    drive = Drive(setup_of(catalogue), model, [list(records)], with_examples=True)
    return asyncio.run(drive.run(in_chunks(drive.lanes, size)))


def examples_of(drive: Drive) -> list[Examples]:
    """The examples records of a run's only partition."""
    return [unpack(record.value) for record in drive.records[0] if record.topic == "examples"]


# In words


def evidence(intents: Sequence[Intent], status: Status) -> list[Evidence]:
    """The evidence of the last intent event of a status."""
    return [intent for intent in intents if intent.status == status][-1].evidence


def test_evidence_in_words() -> None:
    """What spoke for an intent: the strongest counts, one window of each, with the number in words."""
    records = [view(n, "tea", at=n * 1_000, product_id="p") for n in range(3)]
    intents = told(records, intercept=-3.0).intents[0]
    assert evidence(intents, "detected") == [
        Evidence("views_5m", 1, "1 view in 5 min"),
        Evidence("repeat", 1, "1 look at one item"),
    ]
    assert evidence(intents, "strengthened")[0].text in ("2 views in 5 min", "3 views in 5 min")
    assert MAX_EVIDENCE == 3


def test_evidence_only_for_what_speaks_for_it() -> None:
    """A count that speaks against an intent is no evidence of it."""
    records = [view(0, "tea", "cart_add"), view(1, "tea", at=1_000), view(2, "tea", at=2_000)]
    for intent in told(records).intents[0]:
        assert "carted" not in [word.feature for word in intent.evidence]


def test_evidence_of_what_was_foreseen() -> None:
    """An intent of a subject that was never touched says that it often comes next."""
    tables = Tables()
    for _ in range(50):
        tables.count_together(subject_hash("rum"), [subject_hash("tea")], 1.0)
    model = steered_model(tables=tables)
    model.now.foreseen.weights[-1] = 0.0
    shop = Shop(model=replace(model, names={subject_hash("rum"): "rum"}))
    shop.view(0, "tea", 0.3)
    found = {intent.intent: intent.evidence for intent in shop.intents()}
    assert found["rum"] == [Evidence("foreseen", 1, "often next")]
    assert found["tea"] == [Evidence("recency", 1, "looked at last")]


@pytest.mark.parametrize(("kind", "text"), [("cart_add", "put into the cart"), ("purchase", "bought")])
def test_evidence_of_an_end(kind: str, text: str) -> None:
    """The outcome is the evidence of a fulfilled intent; an expired one has none."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    shop.view(1, "rum", 0.3)
    shop.do(kind, MINUTE, "tea")
    shop.clock(HORIZON + 10)
    intents = shop.intents()
    assert evidence(intents, "fulfilled") == [Evidence(kind, 1, text)]
    assert evidence(intents, "expired") == []


def test_label_and_name() -> None:
    """`intent` is the catalogue's key, `label` what people call it; without a catalogue both are the category."""
    catalogue = '[intent.party]\nlabel = "Party things"\ncategory = "balloons"\n'
    (first,) = told([view(0, "balloons")], catalogue).intents[0][:1]
    assert (first.intent, first.label) == ("party", "Party things")
    (first,) = told([view(0, "tea")]).intents[0][:1]
    assert (first.intent, first.label) == ("tea", "tea")


def test_confidence_has_four_digits() -> None:
    """A confidence is published in steps of 1e-4, as JSON prints it."""
    drive = told([view(n, "tea", at=n * 1_000) for n in range(4)])
    values = [record.value for record in drive.records[0] if record.topic == "intents"]
    assert values
    for value in values:
        confidence = json.loads(value)["confidence"]
        assert round(confidence * 10_000) / 10_000 == confidence
        assert len(str(confidence)) <= 6


def test_the_model_that_spoke() -> None:
    """An end names the version that spoke last, though another model is at work by then."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    shop.clock(HORIZON + 1)
    old, new = steered_model(version="1-old"), steered_model(version="2-new")

    setup = shop.drive().setup
    before = Drive(setup, old, [shop.records[:1]])
    asyncio.run(before.run([[(0, 1)]]))
    after = Drive(setup, new, [shop.records], store=before.store, begin=1)
    (expired,) = asyncio.run(after.run([[(0, 1)]])).intents[0]
    assert (expired.status, expired.model.version) == ("expired", "1-old")


# For the trainer


def test_many_asks_are_split() -> None:
    """Records hold 300 asks at most, by (offset, line); the last says the new watermark, the first the names."""
    records = [
        view(n, f"c{n % 9}", ["view", "view", "cart_add"][n % 3], at=n * 1_000, items=[{}] * 3 if n % 4 == 0 else None)
        for n in range(700)
    ]
    parts = examples_of(told(records))
    assert len(parts) == -(-(700 + 2 * 175) // ASKS_PER_RECORD) == 4
    assert [len(part.asked) + len(part.outcomes) for part in parts] == [300, 300, 300, 150]
    assert [part.watermark for part in parts] == [-1, -1, -1, T + 699_000 - 2 * MINUTE]
    assert [len(part.names) for part in parts] == [9, 0, 0, 0]
    assert parts[0].names[as_key(subject_hash("c3"))] == "c3"
    order = [_order(part) for part in parts]
    assert [at for part in order for at in part] == sorted({at for part in order for at in part})
    assert order[0][:5] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]


def _order(part: Examples) -> list[tuple[int, int]]:
    entries = [*part.asked, *part.outcomes]
    return sorted((int(entry["offset"]), int(entry["index"])) for entry in entries)


def test_a_record_for_each_commit() -> None:
    """A commit in which nothing was asked has its record too, for the watermark; names are told once."""
    records = [view(0, "tea"), view(1, "tea", "impression", at=5 * MINUTE), view(2, "rum", at=6 * MINUTE)]
    parts = examples_of(told(records, size=1))
    assert [(len(part.asked), part.watermark - T) for part in parts] == [
        (1, -2 * MINUTE),
        (0, 3 * MINUTE),
        (1, 4 * MINUTE),
    ]
    assert [list(part.names.values()) for part in parts] == [["tea"], [], ["rum"]]


def test_several_subjects() -> None:
    """An outcome of several subjects is an entry for each; a view of several says how many of the candidates it was."""
    (part,) = examples_of(
        told([view(0, "tea"), view(1, "balloons", at=1), view(2, "balloons", "cart_add", at=2)], BASKET)
    )
    party, fun, tea = (subject_hash(name) for name in ("party", "fun", "tea"))
    assert part.asked["viewed"].tolist() == [1, 2]
    second = int(part.asked["candidates"][0])
    assert part.subjects[second : second + 3].tolist() == [fun, party, tea]
    assert [(int(o["offset"]), int(o["subject"])) for o in part.outcomes] == [(2, party), (2, fun)]
    assert part.recent.tolist() == [fun, party, tea] * 2


def test_customers_are_hidden() -> None:
    """No customer's id is in an examples record, only its hash, the same for all entries of one customer."""
    drive = told([view(0, "tea"), view(1, "rum", "cart_add", at=1)])
    record = next(record for record in drive.records[0] if record.topic == "examples")
    assert b"anna" not in record.value
    (part,) = examples_of(drive)
    assert part.asked["customer"][0] == part.outcomes["customer"][0] != 0
