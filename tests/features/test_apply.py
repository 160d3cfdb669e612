"""Events applied in waves give what one event at a time gives: verdicts, lateness, ends of states, whatever the batches."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.apply import STATE_MS
from features.state import decode, encode
from tests.features.building import HASH, LATENESS_MS, Partition, judged, plain, watermarks
from tests.features.naive_log import DAY, HOUR, Event, NaiveLogs
from tests.features.naive_moves import ANY, CUSTOMERS, START, Move, events_of

STEADY = settings(max_examples=60, derandomize=True, database=None)


def views(count: int, step: int, start: int = START, customer: str = "anna", first_id: int = 1) -> list[Event]:
    """Views of one subject, `step` ms apart."""
    return [Event(customer, "view", start + i * step, first_id + i, (7,)) for i in range(count)]


@settings(STEADY, max_examples=120)
@given(ANY, st.sampled_from([None, 1, 7, 50]))
def test_verdicts_and_logs(moves: list[Move], size: int | None) -> None:
    """Each event is applied, dropped or unverifiable, late or not, as the oracle says; so are the logs in the end."""
    events = events_of(moves)
    partition = Partition(CUSTOMERS)
    told = judged(events)
    seen = 0
    for worked in partition.run(events, size):
        wave = worked.wave
        assert (wave.events[1:] > wave.events[:-1]).all()  # in order of arrival
        for place, number in enumerate(worked.numbers()):
            seen += 1
            assert wave.applied[place] == (told[number].verdict == "applied")
            assert wave.unverifiable[place] == (told[number].verdict == "unverifiable")
            assert wave.late[place] == told[number].late
    assert seen == len(events)  # no event is left out, none worked twice
    naive = NaiveLogs()
    for event, mark in zip(events, watermarks(events), strict=True):
        naive.apply(event, mark)
    for customer, log in naive.of.items():
        log.end(partition.watermark_ms)
        state = partition.state(customer)
        memory = state.memory
        assert plain(state) == log.entries
        held = int(memory.held[0])
        assert list(zip(memory.ids[0, :held].tolist(), memory.times[0, :held].tolist(), strict=True)) == log.folded
        for name in ("newest", "floor", "complete_since", "forced"):
            assert getattr(memory, name)[0] == getattr(log, name), name
        assert state.tombstone[0] == log.tombstone


@settings(STEADY)
@given(ANY, st.permutations(CUSTOMERS))
def test_batches(moves: list[Move], customers: list[str]) -> None:
    """Batches of 1, of 7 and of all events leave the same bytes, in whatever order the states are held."""
    events = events_of(moves)
    partitions = [Partition(CUSTOMERS), Partition(CUSTOMERS), Partition(CUSTOMERS), Partition(customers)]
    for partition, size in zip(partitions, [1, 7, None, 7], strict=True):
        partition.run(events, size)
    blobs = [dict(zip(partition.customers, partition.blobs, strict=True)) for partition in partitions]
    assert blobs[0] == blobs[1] == blobs[2] == blobs[3]


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """The same events, of distinct times, in two orders of arrival within the lateness, and nothing folded before its time."""
    times = START
    events: list[Event] = []
    steps = st.sampled_from([1, 7_000, 20_000, 45_000, 60_000, 40 * 60_000, 3 * HOUR, DAY])
    for step, count, customer, wide in draw(
        st.lists(st.tuples(steps, st.integers(1, 90), st.sampled_from(CUSTOMERS), st.booleans()), min_size=1, max_size=5)
    ):
        for _ in range(count):
            times += step
            number = len(events)
            subjects = (7, 8, 9)[: 1 + number % 3] if wide else (number % 4,)
            kind = ("view", "view", "cart_add", "favorite", "purchase")[number % 5]
            events.append(Event(customer, kind, times, number + 1, subjects, product=number % 6, value=number))
    jitter = random.Random(draw(st.integers(0, 10**6)))
    arrival = sorted(events, key=lambda event: event.time + jitter.randint(0, LATENESS_MS))
    return events, arrival


@settings(STEADY, max_examples=300)
@given(orders(), st.sampled_from([None, 7]))
def test_order_of_arrival(both: tuple[list[Event], list[Event]], size: int | None) -> None:
    """Any order of arrival within the allowed lateness leaves the same bytes, once nothing was folded before its time."""
    blobs = []
    for events in both:
        partition = Partition(CUSTOMERS)
        partition.run(events, size)
        forced = [decode([c], [b]).memory.forced[0] for c, b in zip(CUSTOMERS, partition.blobs)]
        blobs.append((partition.blobs, forced))
    from hypothesis import assume
    assume(not any(blobs[0][1]) and not any(blobs[1][1]))
    assert blobs[0][0]==blobs[1][0]
