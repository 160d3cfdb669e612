"""Whatever models speak after one another, and however often they are swapped, each intent gets exactly one end."""

import asyncio
from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Final

import numpy as np
import pytest

from features.events import Chunk
from features.memory_store import MemoryStore
from features.store import PartitionKey
from intents.intent import Intent
from intents.life import Rules
from intents.model import Model
from streams.engine import Engine
from streams.partition import Piece
from streams.shop import DEMO_CATALOGUE
from streams.wire import Decoder
from tests.intents.replaying import MINUTE, Pair, chunk_of, disturbed, handmade, made_up, setup_of, unready

KEY: Final = PartitionKey("test", "clickstream", 0)
ENDS: Final = {"fulfilled", "expired", "forgotten"}


def random_model(dice: Random, number: int) -> Model:
    """A model that nobody trained: all is drawn; one in five has yet to learn, one in four loses."""
    subjects = ["party_supplies", "ice_cream", "gift_cards", "toys", "bedding", f"never-{number}"]
    made = handmade(dice.sample(subjects, 4), dice.uniform(-4, 2), dice.randrange(99))
    scale = dice.uniform(-2, 3)
    for regression in (made.now.touched, made.now.foreseen, made.soon.touched, made.soon.foreseen):
        regression.weights[:-1] *= scale
    if number % 2:  # it has yet to learn of a day
        made.soon.touched.positives = made.soon.foreseen.positives = 0
    made = unready(made) if dice.random() < 0.2 else made
    made.tables.ranks[:] = np.array([[100.0], [float(number * 7 % 60)]])
    return replace(made, version=f"{number}-swapped", losing=number % 4 == 3)


async def swapped(records: list[Pair], seed: int) -> tuple[list[Intent], set[str]]:
    """What is published with another model in each step, until an hour behind the last event; and who spoke."""
    dice = Random(seed)
    setup = setup_of(DEMO_CATALOGUE, dice.choice([Rules(), Rules(step=0.03, cooldown_ms=5 * MINUTE)]))
    engine = Engine(MemoryStore(), setup, random_model(dice, 0), max_customers=dice.choice([3, 1_000]))
    decoder, partition = Decoder(setup.catalogue), await engine.claim(KEY, "mine")
    told: list[Intent] = []
    models = 0

    async def step(piece: Piece) -> None:
        nonlocal models
        models += 1
        engine.model = random_model(dice, models)
        done, (commit,) = await engine.step([piece])
        await engine.commit(piece, commit)
        told.extend(done.intents[0])

    at = 0
    while at < len(records):
        size = dice.choice([1, 3, 20, 200])
        rest: Chunk | None = chunk_of(decoder, 0, at, records[at : at + size])
        at += len(records[at : at + size])
        while rest is not None:
            piece, rest = await engine.cut(partition, rest)
            await step(piece)
    end = partition.watermark_ms + 60 * MINUTE
    while partition.watermark_ms < end:
        await step(await engine.advance(partition, end))
    return told, {intent.model.version for intent in told}


@pytest.mark.parametrize("seed", range(6))
def test_each_detected_intent_gets_exactly_one_end(seed: int) -> None:
    """One end, the last of its changes, which are counted without a gap; and no two of a subject are open at once."""
    records = disturbed(made_up(seed=12, customers=40, events=600, days=0.2), seed, forget=0.02)
    told, spoke = asyncio.run(swapped(records, seed))
    lives: dict[str, list[Intent]] = defaultdict(list)
    open_: set[tuple[str, str]] = set()
    for intent in told:
        lives[intent.intent_id].append(intent)
        want = (intent.customer_id, intent.intent)
        assert (want in open_) is (intent.status != "detected")
        (open_.add if intent.status not in ENDS else open_.discard)(want)
    assert not open_
    for life in lives.values():
        assert [intent.sequence for intent in life] == list(range(len(life)))
        assert [intent.status in ENDS for intent in life] == [False] * (len(life) - 1) + [True]
        assert len({intent.expires_at for intent in life}) == 1
    assert len(lives) > 50 and len(spoke) > 10
    assert any(len({intent.model.version for intent in life}) > 1 for life in lives.values())
    assert {intent.model.name for intent in told} == {"logistic", "fallback"}
    assert np.isfinite([intent.confidence for intent in told]).all()
