"""Whether an event costs more where there is more of everything: in process, without Kafka and Redis, CPU µs an event.

`python -m benchmarks.growth` makes up views of products and a cart now and then, of so many customers, with so many
events before, of so many subjects, in so many partitions, and works the last of them in steps of 5,000. Of these
numbers one at a time differs from the usual: 10,000 customers with 30 events each, 64 subjects, 8 partitions.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice

import click
import numpy as np
import orjson

from benchmarks.part import Part, Spread
from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.model import Model
from intents.snapshots import decode
from streams.commands.console import progress
from streams.inprocess import InProcess
from streams.recordings import RecordingBatch
from tests.job import cut, learned

CHUNK = 5_000
MEASURED = 3
"""Chunks that are timed, the last ones."""
CASES = {
    "1,000 customers": (1_000, 30, 64, 8),
    "10,000 customers": (10_000, 30, 64, 8),
    "100,000 customers": (100_000, 30, 64, 8),
    "10,000 customers, 3 events of each": (10_000, 3, 64, 8),
    "1,000,000 customers, 3 events of each": (1_000_000, 3, 64, 8),
    "10 events of each customer": (10_000, 10, 64, 8),
    "30 events of each customer": (10_000, 30, 64, 8),
    "100 events of each customer": (10_000, 100, 64, 8),
    "1,500 customers, 30 events of each": (1_500, 30, 64, 8),
    "1,500 customers, 300 events of each": (1_500, 300, 64, 8),
    "150 customers, 300 events of each": (150, 300, 64, 8),
    "150 customers, 10,000 events of each": (150, 10_000, 64, 8),
    "4 subjects": (10_000, 30, 4, 8),
    "64 subjects": (10_000, 30, 64, 8),
    "256 subjects": (10_000, 30, 256, 8),
    "8 partitions": (10_000, 30, 64, 8),
    "64 partitions": (10_000, 30, 64, 64),
    "256 partitions": (10_000, 30, 64, 256),
}
"""Customers, events of each, subjects, partitions."""


def _events(customers: int, each: int, subjects: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Keys, values and times of made-up events: visits of half an hour to a few subjects, customers by turns."""
    dice = np.random.default_rng(5)
    total = customers * each
    who = dice.integers(0, customers, total)
    taste = dice.integers(0, subjects, (customers, 6))
    what = taste[who, dice.integers(0, 6, total)]
    cart, product = dice.random(total) < 0.05, dice.integers(0, 50, total)
    step_ms = max(1, each * 20 * 60_000 // total)  # 20 minutes from event to event of one customer
    for n, (one, subject, carts, item) in enumerate(
        zip(*(c.tolist() for c in (who, what, cart, product)), strict=True)
    ):
        at = 1_700_000_000_000 + n * step_ms
        event = {"event_id": f"e{n}", "customer_id": f"c{one}", "kind": "cart_add" if carts else "view", "time": at}
        yield b"c%d" % one, orjson.dumps(event | {"category": f"s{subject}", "product_id": f"s{subject}-{item}"}), at


def _batch(rows: list[tuple[bytes, bytes, int]]) -> RecordingBatch:
    keys, values, times = zip(*rows, strict=True)
    return RecordingBatch(list(keys), list(values), np.array(times, dtype=np.int64), 0)


async def _cost(model: Model, case: tuple[int, int, int, int]) -> float:
    catalogue = Catalogue()
    engine = InProcess(Setup(CORE, catalogue, catalogue.names), model, partitions=case[3])
    events = _events(*case[:3])
    left = case[0] * case[1]
    spent = 0.0
    while left > 0:
        timed = left <= MEASURED * CHUNK
        size = CHUNK if timed else min(4 * CHUNK, left - MEASURED * CHUNK)
        batch = _batch(list(islice(events, size)))
        began = time.process_time()
        async for _ in engine.run(batch):
            pass
        spent += (time.process_time() - began) * timed
        left -= len(batch.keys)
    return spent / min(case[0] * case[1], MEASURED * CHUNK) * 1e6


@click.command(help=__doc__)
@click.option("--rounds", default=1, show_default=True, help="How often.")
def main(rounds: int) -> None:
    """Measure, and print one JSON line."""
    first = _batch(list(_events(500, 30, 64)))
    model = decode(learned(cut(first, 0, len(first.keys))), CORE).model
    costs: dict[str, list[float]] = {name: [] for name in CASES}
    with progress("working", "cases") as update:
        for n in range(rounds * len(CASES)):
            name = list(CASES)[n % len(CASES)]
            costs[name].append(asyncio.run(_cost(model, CASES[name])))
            update((n + 1) / (rounds * len(CASES)), n + 1)
    spreads = {name: Spread.of(several) for name, several in costs.items()}
    notes = (f"in process, the last {MEASURED * CHUNK:,} events in steps of {CHUNK:,}",)
    click.echo(Part("growth", "python -m benchmarks.growth", "µs an event", spreads, notes).line())


if __name__ == "__main__":
    main()
