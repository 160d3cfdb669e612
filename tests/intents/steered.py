"""A shop in which the test says what the model thinks: the price of a view steers the probability of its subject."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from features.aggregates import OUTCOME, VIEWED, Aggregate
from features.bundle import Bundle, Feature
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.head import Head
from intents.intent import Intent
from intents.life import Rules
from intents.model import Model
from intents.tables import MODEL_FEATURES, Tables
from tests.intents.replaying import MINUTE, Drive, Pair, handmade_regression, in_chunks, pair, unready

T: Final = 1_700_000_000_000
"""When the tests begin, UTC ms."""
LATENESS: Final = 2 * MINUTE
HORIZON: Final = 30 * MINUTE
COUNTS: Final = (
    Feature("views_7d", Aggregate("pair", "count", VIEWED, "7d"), "log1p", words="{n} view{s} in a week"),
    Feature("outcomes", Aggregate("pair", "count", OUTCOME, "7d"), "log1p"),
)
STEERED: Final = Bundle("steered-1", (Feature("steer", Aggregate("pair", "value", ("view",))), *COUNTS))
BASE: Final = -12.0
"""Logit of a subject that no view has steered."""


def steered_model(
    *, ready: bool = True, soon: bool = False, version: str = "1-steered", tables: Tables | None = None
) -> Model:
    """σ(BASE + value / 1e6), whatever else is known; `soon`, where it knows, is e times as likely."""
    size = len(STEERED.features) + len(MODEL_FEATURES)
    weights = np.zeros(size)
    weights[0] = 1e-6
    heads = [
        Head(handmade_regression(weights, logit), handmade_regression(weights, logit)) for logit in (BASE, BASE + 1)
    ]
    if not soon:
        heads[1] = Head.empty(size, BASE + 1)
    model = Model(STEERED, heads[0], heads[1], tables or Tables(), version=version)
    return model if ready else unready(model)


class Said(NamedTuple):
    """What an intent event says, in short; `at` and `until` are ms after T, `watermark` the record's."""

    status: str
    customer: str
    intent: str
    at: int
    p: float
    sequence: int
    source: str
    watermark: int


@dataclass
class Shop:
    """Events of one partition, and what the engine makes of them."""

    rules: Rules = field(default_factory=Rules)
    catalogue: str = ""
    model: Model = field(default_factory=steered_model)
    records: list[Pair] = field(default_factory=list)
    _sums: dict[tuple[str, str], int] = field(default_factory=dict)

    def do(self, kind: str, at: int, subject: str | None = None, customer: str = "anna", **more: Any) -> str:
        """One event `at` ms after T; returns its id."""
        event_id = f"e{len(self.records)}"
        event = {"event_id": event_id, "customer_id": customer, "kind": kind, "time": T + at, "category": subject}
        self.records.append(pair(event | more))
        return event_id

    def view(self, at: int, subject: str, p: float | None = None, customer: str = "anna") -> str:
        """A view after which the probability of its subject is `p`, of others what it was."""
        have = self._sums.get((customer, subject), 0)
        value = 0 if p is None else round((math.log(p / (1 - p)) - BASE) * 1e6) - have
        self._sums[customer, subject] = have + value
        return self.do("view", at, subject, customer, price=value / 100)

    def clock(self, at: int) -> str:
        """Somebody else's event that sets the partition's watermark to `at` ms after T."""
        return self.do("impression", at + LATENESS, None, "clock")

    def drive(self, size: int | None = None) -> Drive:
        """The events, worked in chunks of `size`."""
        catalogue = Catalogue.parse(self.catalogue)
        setup = Setup(STEERED, catalogue, catalogue.names, self.rules)
        drive = Drive(setup, self.model, [self.records])
        return asyncio.run(drive.run(in_chunks(drive.lanes, size or len(self.records))))

    def intents(self) -> list[Intent]:
        """The intents, which are the same whether the events come at once, in pairs, or one by one."""
        drive = self.drive()
        for size in (1, 2):
            again = self.drive(size)
            assert again.records == drive.records
            assert asyncio.run(again.held()) == asyncio.run(drive.held())
        self._records = drive.records[0]
        return drive.intents[0]

    def said(self) -> list[Said]:
        """The intents in short."""
        intents = self.intents()
        marks = [int(dict(record.headers)["watermark"]) for record in self._records]
        return [
            Said(
                intent.status,
                intent.customer_id,
                intent.intent,
                intent.updated_at - T,
                intent.confidence,
                intent.sequence,
                intent.source.event_id,
                mark - T,
            )
            for intent, mark in zip(intents, marks, strict=True)
        ]

    def lives(self) -> list[tuple[str, str, int]]:
        """(status, intent, when) of each intent event."""
        return [(said.status, said.intent, said.at) for said in self.said()]
