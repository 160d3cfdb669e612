"""A replay in one process is the engine over a memory store, its outputs in file order, learning at fixed moments."""

import asyncio
import json
from collections.abc import Sequence
from itertools import groupby, pairwise
from random import Random
from typing import Any, Final

import pytest

from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.head import ARRAYS
from intents.life import Rules
from intents.model import Model
from intents.training import Trainer
from sinks.events import dead_letter
from streams.inprocess import LEARN_EVERY_MS, InProcess, Output
from streams.partitioner import crc32_partition_for, partition_for
from streams.shop import DEMO_CATALOGUE
from tests.intents.replaying import (
    MINUTE,
    Drive,
    Pair,
    disturbed,
    in_chunks,
    lanes_of,
    learned,
    made_up,
    pair,
    replayed,
    setup_of,
)
from tests.intents.steered import HORIZON, LATENESS, STEERED, Shop, T, steered_model

OTHERS: Final = disturbed(made_up(seed=12, customers=60, events=1_300, days=0.3))


def frozen(**options: Any) -> InProcess:
    """A replay with a model that was learned on other customers."""
    return InProcess(setup_of(DEMO_CATALOGUE), learned(made_up()), **options)


def run(replay: InProcess, records: Sequence[Pair], size: int = 5_000) -> list[Output]:
    """What a replay says."""
    return asyncio.run(replayed(replay, records, size))


def values(outputs: Sequence[Output]) -> list[bytes]:
    """The intents' records."""
    return [value for output in outputs for _, value in output.intents]


def test_same_as_the_engine() -> None:
    """Partition by partition, the intents are those of the engine on the records that the partitioner sends there."""
    lanes = lanes_of(OTHERS, 8)
    drive = asyncio.run(Drive(setup_of(DEMO_CATALOGUE), learned(made_up()), lanes).run(in_chunks(lanes, 300)))
    told = [intent for output in run(frozen(), OTHERS) for intent, _ in output.intents]
    assert len(told) > 300
    for number, intents in enumerate(drive.intents):
        assert [intent for intent in told if intent.source.partition == number] == intents


@pytest.mark.parametrize("size", [1, 13, 400])
def test_batches_of_any_size(size: int) -> None:
    """How many lines are read at a time changes nothing."""
    records = OTHERS[:400] if size == 1 else OTHERS
    assert values(run(frozen(), records, size)) == values(run(frozen(), records))


def test_small_commits() -> None:
    """Nor does it change anything how many customers a commit takes."""
    replay = frozen(partitions=2)
    replay.engine.max_customers = 2
    assert values(run(replay, OTHERS, 500)) == values(run(frozen(partitions=2), OTHERS))


def test_in_file_order() -> None:
    """Intents come in the order of the lines that brought them, whatever the partition."""
    line_of: dict[str, int] = {}
    for line, (_, value) in enumerate(OTHERS):
        line_of.setdefault(json.loads(value)["event_id"], line)
    lines, outputs = [], run(frozen(), OTHERS)
    for intent, value in (item for output in outputs for item in output.intents):
        assert json.loads(value)["intent_id"] == intent.intent_id
        if intent.status not in ("expired", "forgotten"):
            lines.append(line_of[intent.source.event_id])
    assert len(lines) > 200
    assert lines == sorted(lines)


def test_deadlines_of_a_burst_keep_their_line() -> None:
    """Deadlines that fire in commits of their own come at the line that fires them, not at a refused one before it."""
    names = {number: [f"c{n}" for n in range(40) if partition_for(b"c%d" % n, 2) == number] for number in (0, 1)}
    shop = Shop()
    for n in range(6):
        shop.view(n, "tea", 0.3, names[0][n])
    records = [*shop.records, (names[0][0].encode(), b"{")]
    shop.view(10, "tea", 0.3, names[1][0])
    shop.view(2 * HORIZON, "tea", 0.3, names[0][7])
    records += shop.records[6:]

    def told(most: int) -> list[tuple[str, str]]:
        catalogue = setup_of()
        setup = type(catalogue)(STEERED, catalogue.catalogue, catalogue.names)
        replay = InProcess(setup, steered_model(), partitions=2)
        replay.engine.max_customers = most
        return [(i.status, i.customer_id) for output in run(replay, records, 6) for i, _ in output.intents]

    assert told(2) == told(3) == told(1_000)
    assert [status for status, _ in told(2)] == ["detected"] * 7 + ["expired"] * 6 + ["detected"]


def test_partitions_and_partitioner() -> None:
    """Records go where the configured partitioner sends their keys; offsets count from 0 in each partition."""
    outputs = run(frozen(partitions=3, partitioner="crc32", topic="clicks"), OTHERS)
    seen: dict[int, set[int]] = {}
    for intent, _ in (item for output in outputs for item in output.intents):
        assert intent.source.topic == "clicks"
        assert intent.source.partition == crc32_partition_for(intent.customer_id.encode(), 3)
        seen.setdefault(intent.source.partition, set()).add(intent.source.offset)
    sizes = [sum(crc32_partition_for(key, 3) == number for key, _ in OTHERS) for number in range(3)]
    assert sorted(seen) == [0, 1, 2]
    assert all(max(offsets) < sizes[number] for number, offsets in seen.items())


def test_everything_is_accounted_for() -> None:
    """Each record is worked or dead-lettered with its bytes, its key and its reason; the sums add up."""
    good = [pair({"event_id": f"e{n}", "customer_id": "a", "kind": "view", "time": T + n}) for n in range(4)]
    bad = [(b"a", b"{half"), (b"b", good[0][1]), (b"", b"")]
    records = [good[0], bad[0], good[1], bad[1], good[2], bad[2], good[3]]
    (output,) = run(frozen(partitions=1), records)
    assert (output.records, output.events) == (7, 4)
    reasons = [dict(letter.headers)["reason"].decode() for letter in output.dead]
    offsets = [int(dict(letter.headers)["offset"]) for letter in output.dead]
    assert offsets == [1, 3, 5]
    assert output.dead == [
        dead_letter("clickstream.dead-letter", "clickstream", 0, offset, reason, *record)
        for offset, reason, record in zip(offsets, reasons, bad, strict=True)
    ]


def test_unverifiable_late() -> None:
    """An event too old to tell from a duplicate is dead-lettered with its bytes, and changes nothing."""
    records = [
        pair({"event_id": f"e{n}", "customer_id": "a", "kind": "view", "time": T + n * MINUTE, "category": "tea"})
        for n in range(200)
    ]
    old = pair({"event_id": "old", "customer_id": "a", "kind": "view", "time": T + 1, "category": "tea"})
    (output,) = run(frozen(partitions=1), [*records, old])
    (letter,) = output.dead
    assert dict(letter.headers)["reason"] == b"unverifiable_late"
    assert (letter.key, letter.value) == old
    assert dict(letter.headers)["offset"] == b"200"


def shop_that_turns() -> Shop:
    """Hours of a shop where what is dear is bought, for 14 hours only what is cheap, then again what is dear."""
    dice, shop = Random(5), Shop()
    for hour in range(56):
        turned = 16 <= hour < 30
        for n in range(80):
            at, dear, subject = hour * 60 * MINUTE + n * 40_000, dice.random() < 0.25, f"thing-{n % 3}"
            shop.do("view", at, subject, f"c{hour}-{n}", price=20.0 if dear else 5.0)
            if dice.random() < (0.8 if dear is not turned else 0.05):
                shop.do("purchase", at + 1_000, subject, f"c{hour}-{n}")
    return shop


def test_a_fallback_is_served_and_left_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Customers turn, and turn back: each time the fallback is served for hours, until the model has learned it."""
    monkeypatch.setattr("intents.progress.NEEDED", 300)
    catalogue = Catalogue()
    replay = InProcess(
        Setup(STEERED, catalogue, catalogue.names),
        Model.untrained(STEERED),
        trainer=Trainer(STEERED, HORIZON, durable=False),
        partitions=2,
    )
    told = [intent for output in run(replay, shop_that_turns().records) for intent, _ in output.intents]
    detected = [intent for intent in told if intent.status == "detected"]
    spoke = [(name, list(some)) for name, some in groupby(detected, lambda intent: intent.model.name)]
    assert [name for name, _ in spoke] == ["logistic", "fallback", "logistic", "fallback", "logistic"]
    begins = [(some[0].detected_at - T) / 60 / MINUTE for _, some in spoke]
    assert 16 + 6 < begins[1] < 27 and 30 + 6 < begins[3] < 40
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    for name, some in spoke:
        moves = [abs(one.confidence - other.confidence) for one, other in pairwise(some)]
        assert len(some) > 30 and (max(moves) < 0.01) is (name == "fallback")  # whatever it costs, as likely as ever
        if name == "fallback":
            assert {(intent.soon, intent.evidence[0].text) for intent in some} == {(None, "looked at last")}
            assert some[-1].confidence == pytest.approx(0.38, abs=0.05)


# Learning


def ticking(count: int, step: int) -> list[Pair]:
    """Views of two customers, one after the other, `step` ms apart, from a full five minutes on."""
    start = T // LEARN_EVERY_MS * LEARN_EVERY_MS + LATENESS
    return [
        pair(
            {"event_id": f"e{n}", "customer_id": "ab"[n % 2], "kind": "view", "time": start + n * step, "category": "c"}
        )
        for n in range(count)
    ]


def learning(**options: Any) -> InProcess:
    """A replay that learns."""
    trainer = Trainer(CORE, Rules().horizon_ms, durable=False)
    return InProcess(setup_of(), Model.untrained(CORE), trainer=trainer, **options)


def test_moments_of_learning() -> None:
    """The model changes before the first record whose watermark reaches a multiple of five minutes, nowhere else."""
    records = ticking(100, MINUTE)  # the watermark begins at a multiple, which is no moment yet
    for size in (100, 33, 1):
        replay = learning(partitions=4)
        outputs = run(replay, records, size)
        steps, told = [], 0
        for output in outputs:
            told += output.events
            steps.append(told)
        moments = [5 * n for n in range(1, 20)]
        assert set(moments) <= set(steps)
        if size == 100:
            assert steps == [*moments, 100]


def test_what_is_due_is_learned_at_its_moment() -> None:
    """A question is learned at the first moment at which its own partition's watermark is greater than its end."""
    trainer_labels = []
    for count in range(34, 44):
        replay = learning(partitions=1)
        run(replay, ticking(count, MINUTE))
        assert replay.trainer is not None
        trainer_labels.append(replay.trainer.now.negatives)
    # Record n is seen at minute n + 2, the watermark is n. Record 35 reaches the multiple: what was read before it has
    # the watermark 34, which answers what was asked before minute 4: records 0 and 1. Record 40 does so for 2 to 6.
    assert trainer_labels == [0, 0] + [2] * 5 + [7] * 3


def test_a_jump_learns_once() -> None:
    """After a quiet time there is one moment, not one for each five minutes that nobody saw."""
    replay = learning(partitions=2)
    outputs = run(replay, [*ticking(3, MINUTE), *ticking(200, MINUTE)[150:152]])
    assert [output.events for output in outputs] == [3, 2]


def test_without_a_trainer_the_model_stays() -> None:
    """Nothing is learned, and no examples are made."""
    replay = frozen()
    before = replay.engine.model
    outputs = run(replay, OTHERS[:500], 100)
    assert len(outputs) == 5
    assert replay.engine.model is before
    assert not replay.engine.with_examples


def test_learning_repeats_to_the_byte() -> None:
    """Two replays of one recording learn the same model, and publish the same."""
    ends = []
    for _ in range(2):
        trainer = Trainer(CORE, Rules().horizon_ms, durable=False)
        replay = InProcess(setup_of(DEMO_CATALOGUE), Model.untrained(CORE), trainer=trainer)
        told = values(run(replay, made_up()[:1_500]))
        now, soon = trainer.model().now, trainer.model().soon
        parts = (now.touched, now.foreseen, soon.touched, soon.foreseen)
        numbers = [getattr(part, name).tobytes() for part in parts for name in ARRAYS]
        ends.append((told, numbers, now.positives))
    assert ends[0] == ends[1]
    assert ends[0][2] > 50 and ends[0][0]
