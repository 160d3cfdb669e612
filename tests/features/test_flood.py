"""One customer's flood of events: their state stays bounded, and the others do not pay for it."""

from random import Random

import numpy as np

from features.apply import waves
from features.log import FOLD_STEP, RAW_LIMIT, TILE_LIMIT
from features.state import decode
from tests.features.building import Partition, batch_of, judged, plain
from tests.features.naive_log import Event
from tests.features.naive_moves import START

CRAWLER = "crawler"


def flood(count: int, customer: str = CRAWLER, step: int = 400, first: int = 1) -> list[Event]:
    """Views of twenty subjects, less than a second apart."""
    return [Event(customer, "view", START + n * step, first + n, (1 + n % 20,), n % 999) for n in range(count)]


def among(events: list[Event], customers: int, each: int) -> list[Event]:
    """Those events with others' few ones among them, in order of time."""
    last, dice = events[-1].time, Random(4)
    for n in range(customers * each):
        time = START + int(dice.random() * (last - START))
        events.append(Event(f"c{n % customers:04}", "view", time, 10**7 + n, (1 + n % 40,)))
    return sorted(events, key=lambda event: event.time)


def test_100_000_events_of_one_customer() -> None:
    """Their state keeps within 8 kB after every batch, each event counts, and a wave works a bounded log."""
    partition, events = Partition([CRAWLER]), flood(100_000)
    rows = 0
    for first in range(0, len(events), 20_000):
        for worked in partition.work(events[first : first + 20_000]):
            assert len(worked.states.logs.entries) <= RAW_LIMIT + 1 + TILE_LIMIT
            rows += len(worked.wave.events)
        assert len(partition.blobs[0] or b"") < 8_000
    assert rows == 100_000
    state = partition.state(CRAWLER)
    assert int(state.logs.entries["count"].sum()) == 100_000
    assert state.memory.complete_since[0] == -1


def test_as_the_oracle_says() -> None:
    """With others among them, the logs of all are those of one event at a time, in whatever batches."""
    events = among(flood(3_000), 30, 40)
    _, naive = judged(events)
    for size in (None, 700):
        partition = Partition(sorted({event.customer for event in events}))
        partition.run(events, size)
        assert len(naive.of) == 31
        for customer, log in naive.of.items():
            assert plain(partition.state(customer)) == log.entries


def test_the_others_do_not_pay() -> None:
    """Waves behind the first ones hold the flood's log only: in all, little more is worked than without a flood."""
    others, each = 500, 40
    before = among(flood(1), others, each)[1:]
    partition = Partition([CRAWLER, *(f"c{n:04}" for n in range(others))])
    partition.run(before)
    mine = flood(1_000, step=70, first=10**6)
    shift = before[-1].time - START
    events = [Event(e.customer, e.kind, e.time + shift, e.id + 10**9, e.subjects) for e in among(mine, others, 1)]
    states = decode(partition.customers, partition.blobs)
    sizes = [
        len(states.logs.entries)
        for _ in waves(states, batch_of(events, partition.customers, partition.watermark_ms), lambda *_: None)
    ]
    assert len(sizes) > (1_000 - RAW_LIMIT) // FOLD_STEP
    assert sizes[0] > others * each
    assert max(sizes[2:]) <= RAW_LIMIT + 1 + TILE_LIMIT
    assert sum(sizes) < 2.5 * sizes[0]
    assert int(states.logs.entries["count"].sum()) == len(before) + len(events)  # and are there again
    assert (np.diff(states.logs.customer) >= 0).all()
