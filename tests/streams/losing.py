"""A shop's busy partition, and a worker whose store can be lost at any moment."""

import asyncio
import copy
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import orjson

from features.state import decode
from intents.model import Model
from tests.intents.replaying import MINUTE, Pair
from tests.intents.steered import Shop, steered_model
from tests.streams.working import KEY, StandIn, TroubledStore, worker

ENDS: Final = ("fulfilled", "expired", "forgotten")
SUBJECTS: Final = ("tea", "cups", "honey", "books")


def busy_shop(seed: int, events: int = 160, *, forgets: bool = True) -> list[Pair]:
    """Views that make, change and end intents of a few customers, baskets, late and repeated events, forgets."""
    dice, shop, at = random.Random(seed), Shop(), 0
    for _ in range(events):
        at += dice.choice((0, 1_000, 20_000, MINUTE, 4 * MINUTE))
        customer, subject = f"c{dice.randrange(5)}", dice.choice(SUBJECTS)
        roll = dice.random()
        if roll < 0.6:
            shop.view(at, subject, dice.choice((0.05, 0.2, 0.35, 0.6)), customer)
        elif roll < 0.8:
            shop.do(dice.choice(("cart_add", "purchase")), at, subject, customer)
        elif roll < 0.85:
            shop.do("purchase", at, None, customer, items=[{"category": name} for name in SUBJECTS[:3]])
        elif roll < 0.9:
            shop.do("view", max(at - 90_000, 0), subject, customer)
        elif roll < 0.93 and shop.records:
            shop.records.append(dice.choice(shop.records))
        elif roll < 0.95 and forgets:
            shop.do("forget", at, None, customer)
        else:
            shop.clock(at)
    shop.clock(at + 24 * 60 * MINUTE)
    return shop.records


@dataclass
class Job:
    """A worker, a log and a store that can be lost at any moment."""

    records: list[Pair]
    size: int = 7
    model: Model = field(default_factory=steered_model)

    def __post_init__(self) -> None:
        self.app, self.store = StandIn(self.records), TroubledStore()
        self.worker = worker(self.app, self.store, model=self.model)
        self.backups = {0: copy.deepcopy(self.store._partitions)}

    def until(self, offset: int) -> None:
        """Work on until the store is at `offset` or later."""

        async def go() -> None:
            while self.app.sought < min(offset, len(self.records)):
                chunk = self.app.chunk(self.app.sought, min(self.app.sought + self.size, len(self.records)))
                await self.worker.work_ahead([chunk])
                if chunk.generation == self.app.current:
                    self.app.sought = chunk.end
                    self.backups[chunk.end] = copy.deepcopy(self.store._partitions)
            await self.worker.steps.published()

        asyncio.run(go())

    def restart(self, model: Model | None = None, acknowledged: int = -1) -> None:
        """A new worker in place of this one, which begins at Redis' position, or where Kafka has it."""
        self.app.acknowledged = acknowledged
        self.app.seek(max(self.store.at().position, acknowledged, 0) if KEY in self.store._partitions else acknowledged)
        self.app.sought = max(self.app.sought, 0)
        self.worker = worker(self.app, self.store, model=model or self.model)

    def lose(self, back_to: int) -> None:
        """Put the store back to what it was at `back_to` (0: empty)."""
        self.store._partitions = copy.deepcopy(self.backups[back_to])

    def logs(self) -> dict[str, bytes]:
        """Every customer's activity log."""
        states = self.store.states()
        return {name: decode([name], [blob]).logs.entries.tobytes() for name, blob in states.items()}

    def lives(self) -> dict[str, list[str]]:
        """Statuses of each intent, by sequence, repeats dropped; sequences have no holes."""
        told: dict[str, dict[int, str]] = defaultdict(dict)
        self.app.said()  # none was said again in other words
        for record in self.app.of("intents"):
            intent = orjson.loads(record.value)
            told[intent["intent_id"]][intent["sequence"]] = intent["status"]
        assert all(sorted(said) == list(range(len(said))) for said in told.values())
        return {intent: [said[n] for n in sorted(said)] for intent, said in told.items()}


def logs_of(states: dict[str, bytes]) -> dict[str, bytes]:
    """Activity logs of states."""
    return {name: decode([name], [blob]).logs.entries.tobytes() for name, blob in states.items()}
