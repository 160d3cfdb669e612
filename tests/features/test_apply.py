"""Events applied in waves give what one event at a time gives: verdicts, lateness, ends of states, in any batches."""

import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from features.apply import erase, waves
from features.events import Batch
from features.state import MAGIC, decode, encode
from features.state_v1 import HEADER_V1
from tests.features.building import HASH, LATENESS_MS, Partition, chunk, end_states, judged, plain, watermarks
from tests.features.naive_log import DAY, HOUR, STATE, Event, NaiveLog, NaiveLogs
from tests.features.naive_moves import ANY, CUSTOMERS, START, Move, events_of

STEADY = settings(max_examples=60, derandomize=True, database=None)
SINCE = st.sampled_from([-1, -1, START - 1, START + 1, START + HOUR, START + 2 * DAY, START + 40 * DAY])
"""Since when anything is known of a partition's customers."""


def views(count: int, step: int, start: int = START, first_id: int = 1, customer: str = "anna") -> list[Event]:
    """Views of one subject, `step` ms apart."""
    return [Event(customer, "view", start + i * step, first_id + i, (7,)) for i in range(count)]


@settings(STEADY, max_examples=100)
@given(ANY, st.sampled_from([None, 1, 7, 50]), SINCE)
def test_verdicts_and_logs(moves: list[Move], size: int | None, since: int) -> None:
    """Each event is applied, dropped or unverifiable, late or not, as the oracle says; so are the logs in the end."""
    events = events_of(moves)
    partition = Partition(CUSTOMERS, since=since)
    told, naive = judged(events, since)
    seen = 0
    for worked in partition.run(events, size):
        wave = worked.wave
        assert (wave.events[1:] > wave.events[:-1]).all()  # in order of arrival
        flags = [flags.tolist() for flags in (wave.applied, wave.unverifiable, wave.late)]
        for number, *flag in zip(worked.numbers(), *flags, strict=True):
            seen += 1
            verdict = told[number].verdict
            assert flag == [verdict == "applied", verdict == "unverifiable", told[number].late]
    assert seen == len(events)  # no event is left out, none worked twice
    for customer, log in naive.of.items():
        log.end(partition.watermark_ms)
        state = partition.state(customer)
        memory = state.memory
        assert plain(state) == log.entries
        held = int(memory.held[0])
        assert list(zip(memory.ids[0, :held].tolist(), memory.times[0, :held].tolist(), strict=True)) == log.folded
        for name in ("newest", "floor", "complete_since", "forced"):
            nothing = partition.blobs[CUSTOMERS.index(customer)] is None
            assert getattr(memory, name)[0] == getattr(NaiveLog() if nothing else log, name), name
        (tombstone,) = partition.tombstones.of([customer]).tolist()
        assert tombstone == (log.tombstone if log.buried(log.tombstone, partition.watermark_ms) else -1)


@STEADY
@given(ANY, st.permutations(CUSTOMERS), SINCE)
def test_batches(moves: list[Move], customers: list[str], since: int) -> None:
    """Batches of 1, of 7 and of all events leave the same bytes, in whatever order the states are held."""
    events = events_of(moves)
    partitions = [Partition(names, since=since) for names in (CUSTOMERS, CUSTOMERS, CUSTOMERS, customers)]
    for partition, size in zip(partitions, [1, 7, None, 7], strict=True):
        partition.run(events, size)
    blobs = [dict(zip(partition.customers, partition.blobs, strict=True)) for partition in partitions]
    assert blobs[0] == blobs[1] == blobs[2] == blobs[3]
    assert all(partition.tombstones == partitions[0].tombstones for partition in partitions)


@settings(STEADY, max_examples=30)
@given(ANY, ANY)
def test_partitions_in_one_batch(moves: list[Move], more: list[Move]) -> None:
    """Two partitions worked in one batch leave the bytes that each leaves by itself."""
    parts = [events_of(moves), events_of(more)]
    alone = [Partition(CUSTOMERS), Partition(CUSTOMERS)]
    for partition, events in zip(alone, parts, strict=True):
        partition.run(events)
    rows = [CUSTOMERS.index(e.customer) + len(CUSTOMERS) * part for part, events in enumerate(parts) for e in events]
    states = decode(CUSTOMERS * 2, [None] * len(CUSTOMERS) * 2)
    chunks = [chunk(events, partition=part) for part, events in enumerate(parts)]
    batch = Batch.of(chunks, np.array(rows, dtype=np.int64), [-1, -1], LATENESS_MS)
    for _ in waves(states, batch, lambda *_: None):
        pass
    for low in (0, len(CUSTOMERS)):
        end_states(states, int(batch.last_watermark[int(low > 0)]), np.arange(low, low + len(CUSTOMERS)))
    assert encode(states, HASH) == alone[0].blobs + alone[1].blobs


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """The same events, of distinct times, in their own order and in another one that is within the lateness."""
    steps = st.sampled_from([1, 5_000, 20_000, 60_000, 40 * 60_000, DAY, 2 * DAY - 10**6, 2 * DAY - 10**5])
    runs = st.lists(st.tuples(steps, st.integers(1, 150), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=5)
    time, events = START, list[Event]()
    for step, count, customer, width in draw(runs):
        for _ in range(count):
            number, time = len(events), time + step
            kind = ("view", "view", "cart_add", "favorite", "purchase")[number % 5]
            subjects = tuple(range(1 + number % 4, 2 + number % 4 + number % width))
            events.append(Event(CUSTOMERS[customer], kind, time, number + 1, subjects, number % 6, number))
    noise = random.Random(draw(st.integers(0, 10**6)))
    return events, sorted(events, key=lambda event: event.time + noise.randint(0, LATENESS_MS))


@settings(STEADY, max_examples=150)
@given(orders(), st.sampled_from([None, 7]))
def test_order_of_arrival(both: tuple[list[Event], list[Event]], size: int | None) -> None:
    """Any order of arrival within the lateness leaves the same bytes where no fold was forced, tiles included.

    Within one life of a state: whether it lives on can hang on which event comes first after 30 days.
    """
    partitions = [Partition(CUSTOMERS), Partition(CUSTOMERS)]
    for partition, events in zip(partitions, both, strict=True):
        worked = partition.run(events, size)
        assume(not decode(CUSTOMERS, partition.blobs).memory.forced.any())
        assert all(one.wave.applied.all() for one in worked)
    assert partitions[0].blobs == partitions[1].blobs


def test_order_of_arrival_after_two_days() -> None:
    """Whether an entry goes into an hour's tile or a day's does not hang on which event made it fold."""
    old = views(17, 60_000)
    new = views(113, 30_000, START + 2 * DAY - 1 - 111 * 30_000, 100)  # the 129th event is 48 h - 1 ms after the first
    partitions = [Partition(["anna"]), Partition(["anna"])]
    partitions[0].run(old + new)
    partitions[1].run(old + new[:111] + [new[112], new[111]])
    assert partitions[0].blobs == partitions[1].blobs


@settings(STEADY, max_examples=30)
@given(ANY)
def test_clears(moves: list[Move]) -> None:
    """Who calls is told, once, of each state that ends before an event or is forgotten at it."""
    events = events_of(moves)
    partition = Partition(CUSTOMERS)
    partition.run(events)
    naive, told = NaiveLogs(), []
    for number, (event, mark) in enumerate(zip(events, watermarks(events), strict=True)):
        log = naive.of.get(event.customer)
        ended = log is not None and 0 <= log.newest < mark - STATE
        if ended or (event.kind == "forget" and not (log and log.buried(event.time, mark))):
            told.append((event.customer, number))
        naive.apply(event, mark)
    assert sorted((number, customer) for customer, number, _ in partition.cleared) == [(n, c) for c, n in told]


def run(*events: Event) -> tuple[Partition, list[str]]:
    """A partition of anna's and ben's after `events`, and what became of each event."""
    partition = Partition(["anna", "ben"])
    words = [""] * len(events)
    for worked in partition.run(events):
        for place, number in enumerate(worked.numbers()):
            wave = worked.wave
            words[number] = "applied" if wave.applied[place] else "dropped"
            words[number] = "unverifiable" if wave.unverifiable[place] else words[number]
            words[number] += " late" if wave.late[place] else ""
    return partition, words


def test_late() -> None:
    """An event older than the customer's newest is late and is inserted at its time; one of equal time goes behind."""
    times = [10, 30, 20, 30, 19]
    events = [Event("anna", "view", START + at, number, (number,)) for number, at in enumerate(times, 1)]
    partition, words = run(*events[:3], Event("ben", "view", START + 5, 9), *events[3:])
    assert words == ["applied", "applied", "applied late", "applied", "applied", "applied late"]
    assert [entry.id for entry in plain(partition.state("anna"))] == [1, 5, 3, 2, 4]


def test_seen_from_arrival_on() -> None:
    """An event sees what arrived before it, whatever the times of what arrives later in the same wave."""
    partition = Partition(["anna"])
    events = [Event("anna", "view", START + at, number, (number,)) for number, at in enumerate([10, 30, 20, 30], 1)]
    seen = {}
    for worked in partition.work(events):
        for ahead in (False, True):
            view = worked.aggregates(range(4), [ahead] * 4).view
            seen[ahead] = [worked.states.logs.entries["id"][view.entry[view.ask == ask]].tolist() for ask in range(4)]
    assert seen == {False: [[1], [1, 2], [1, 3], [1, 3, 2, 4]], True: [[], [1], [1], [1, 3, 2]]}


def test_duplicates() -> None:
    """An id that was seen changes nothing: in the same batch, raw, folded; another customer's id is another event."""
    first = Event("anna", "view", START, 1, (7,))
    other = Event("ben", "view", START, 1, (7,))
    partition, words = run(first, first, other, Event("anna", "purchase", START + 9, 1))
    assert words == ["applied", "dropped", "applied", "dropped"]
    assert [entry.time for entry in plain(partition.state("anna"))] == [START]
    _, words = run(first, *views(164, 1_000, START + 1, 2), first)
    assert words[-1] == "dropped"  # 51 are folded, the first among them


def test_duplicates_in_a_later_chunk() -> None:
    """An id among the raw entries that an earlier chunk has left changes nothing either."""
    first = Event("anna", "view", START, 1, (7,))
    partition, words = Partition(["anna"]), []
    for event in (first, Event("anna", "view", START + 9, 2, (7,)), first, Event("anna", "view", START + 10, 1, (8,))):
        words += [bool(worked.wave.applied[0]) for worked in partition.run([event])]
    assert words == [True, True, False, False]
    assert [entry.time for entry in plain(partition.state("anna"))] == [START, START + 9]


def test_duplicate_of_another_time() -> None:
    """A duplicate changes nothing even if its time is another: it makes nobody late, and prolongs no state."""
    first = Event("anna", "view", START, 1, (7,))
    events = [first, Event("anna", "view", START + 9, 1, (7,)), Event("anna", "view", START + 5, 2)]
    partition, words = run(*events)
    assert words == ["applied", "dropped", "applied"]
    assert partition.state("anna").memory.newest[0] == START + 5


def test_unverifiable() -> None:
    """What is not newer than the newest of the ids that fell out of memory cannot be told from a duplicate."""
    events = views(197, 60_000)  # five folds of 17: 85 ids, of which the 21 oldest are forgotten
    floor = events[20].time
    again, old, newer = events[20], Event("anna", "view", floor, 900), Event("anna", "view", floor + 1, 901)
    partition, words = run(*events, again, old, newer, events[21])
    assert words[-4:] == ["unverifiable", "unverifiable", "applied late", "dropped"]
    assert partition.state("anna").memory.floor[0] == floor


def test_bursts_take_several_waves() -> None:
    """Folding happens at the customer's own append over 128 entries; the batch's other customers don't wait."""
    partition = Partition(["anna", "ben"])
    sizes = [len(w.wave.events) for w in partition.run([*views(184, 1_000), Event("ben", "view", START, 1)])]
    assert sizes == [130, 17, 17, 17, 4]


def test_state_ends() -> None:
    """A state ends 30 days after the last event: a watermark of just that keeps it, a millisecond more does not."""
    first = Event("anna", "view", START, 1, (7,))
    at = START + 30 * DAY + LATENESS_MS
    partition, _ = run(first, Event("anna", "view", at, 2))
    assert len(plain(partition.state("anna"))) == 2
    partition, _ = run(first, Event("anna", "view", at + 1, 2))
    assert [entry.id for entry in plain(partition.state("anna"))] == [2]
    assert partition.cleared == [("anna", 1, False)]


def test_late_event_does_not_prolong() -> None:
    """A state ends 30 days after its newest event, not after the one that came last."""
    events = [Event("anna", "view", START + DAY, 1), Event("anna", "view", START, 2)]
    partition, _ = run(*events, Event("anna", "view", START + 31 * DAY + LATENESS_MS, 3))
    assert len(plain(partition.state("anna"))) == 3
    partition, _ = run(*events, Event("anna", "view", START + 31 * DAY + LATENESS_MS + 1, 3))
    assert len(plain(partition.state("anna"))) == 1


def test_forget() -> None:
    """A forget leaves a tombstone and nothing else of that customer: what is not newer than it is dropped."""
    forget = Event("anna", "forget", START + 2_100, 50)
    partition, words = run(
        *views(3, 1_000),
        Event("ben", "view", START, 1),
        forget,
        Event("anna", "view", START + 2_100, 60),
        Event("anna", "view", START + 2_101, 1, (7,)),  # its id is forgotten too
        forget,
    )
    assert words == ["applied"] * 4 + ["dropped", "dropped", "applied", "dropped"]
    assert [entry.time for entry in plain(partition.state("anna"))] == [START + 2_101]
    assert partition.tombstones.of(["anna", "ben"]).tolist() == [START + 2_100, -1]
    assert partition.state("anna").memory.newest[0] == START + 2_101
    assert len(plain(partition.state("ben"))) == 1
    assert partition.cleared == [("anna", 4, True)]


def test_forget_erases_what_is_newer() -> None:
    """Events newer than the forget that erases them are erased for good: their duplicates are dropped too."""
    events = views(3, 1_000)
    forget, new = Event("anna", "forget", START + 100, 50), Event("anna", "view", START + 2_001, 60)
    partition, words = run(*events, forget, *events, new)
    assert words == ["applied"] * 3 + ["dropped"] * 4 + ["applied"]
    assert partition.tombstones.of(["anna"]).tolist() == [START + 2_000]


def test_nothing_is_left_of_the_forgotten() -> None:
    """A forgotten customer has no blob; the tombstone is the partition's, and names nobody."""
    partition, _ = run(*views(160, 1_000), Event("anna", "forget", START + 160_000, 500))
    assert partition.blobs[0] is None
    assert list(partition.tombstones.times.values()) == [START + 160_000]
    assert b"anna" not in b"".join(partition.tombstones.times)


def test_forget_after_the_end() -> None:
    """A forget whose time is more than a tombstone's life behind the watermark erases, and drops nothing after it."""
    forget = Event("anna", "forget", START, 1)
    later = [Event("ben", "view", START + 31 * DAY, 2), forget, Event("anna", "view", START, 3)]
    partition, words = run(forget, *later)
    assert words == ["dropped", "applied", "dropped", "applied"]
    assert partition.cleared == [("anna", 0, True), ("anna", 2, True)]
    assert partition.tombstones.times == {}


@pytest.mark.parametrize("days", [7, 1, 20])
def test_tombstone_ends(days: int) -> None:
    """A tombstone drops events until the watermark is more than the window past it, by the watermark alone."""
    forget, again = Event("anna", "forget", START, 1), Event("anna", "view", START, 3)
    for more, word in ((0, "dropped"), (1, "applied")):
        events = [forget, Event("ben", "view", START + days * DAY + LATENESS_MS + more, 2), again]
        for size in (1, 2, 3):
            partition = Partition(["anna", "ben"], rebuild_ms=days * DAY)
            told = [
                bool(worked.wave.applied[place])
                for worked in partition.run(events, size)
                for place, number in enumerate(worked.numbers())
                if number == 2
            ]
            assert told == [word == "applied"]
            assert len(partition.tombstones.times) == 1 - more


def test_a_tombstone_of_an_earlier_release() -> None:
    """A tombstone in a state's blob is honoured, and moves to the partition when the state is next touched."""
    head = np.zeros(1, dtype=HEADER_V1)
    head["magic"], head["version"], head["bundle"] = MAGIC, 1, np.void(bytes.fromhex(HASH))
    for name in ("newest", "floor", "complete_since"):
        head[name] = -1
    head["tombstone"] = START
    partition = Partition(["anna", "ben"], [head.tobytes(), None])
    (worked,) = partition.run([Event("anna", "view", START, 1), Event("anna", "view", START + 1, 2)])
    assert worked.wave.applied.tolist() == [False, True]
    assert partition.tombstones.of(["anna"]).tolist() == [START]
    assert partition.state("anna").tombstone.tolist() == [-1]


def test_erase_takes_notes_and_slots() -> None:
    """What the owner of slots kept of a customer is gone with the customer, and nobody else's."""
    states = decode(["anna", "ben"], [None, None])
    states.slots["subject"][:, 3] = 7
    states.notes = {(0, 3): b"a", (1, 3): b"b"}
    erase(states, np.array([0]))
    assert states.notes == {(1, 3): b"b"}
    assert states.slots["subject"].sum(axis=1).tolist() == [0, 7]


def test_batch_of_one_customer_among_many() -> None:
    """Customers without events in the batch keep their bytes."""
    partition, _ = run(*views(134, 1_000), Event("ben", "view", START, 1))
    before = partition.blobs[0]
    partition.run([Event("ben", "view", START + HOUR, 2)])
    assert partition.blobs[0] == before


def test_nothing_is_known_of_before_a_beginning() -> None:
    """Older events are unverifiable, in whatever life of a state; the log says since when it is whole."""
    partition = Partition(["anna"], since=START)
    forget = Event("anna", "forget", START + 5, 3)
    events = [*views(1, 0, START - 1, 1), *views(1, 0, START, 2), forget, *views(1, 0, START - 1, 4)]
    events += [*views(1, 0, START + 40 * DAY, 5), *views(1, 0, START - 1, 6)]
    for size in (1, None):
        partition = Partition(["anna"], since=START)
        waves_ = [worked.wave for worked in partition.run(events, size)]
        assert [flag for wave in waves_ for flag in wave.applied.tolist()] == [False, True, False, False, True, False]
        flags = [flag for wave in waves_ for flag in wave.unverifiable.tolist()]
        assert flags == [True, False, False, False, False, True]  # in between, it is forgotten
        assert partition.state("anna").memory.complete_since.tolist() == [START]


def test_a_beginning_does_not_undo_what_is_known() -> None:
    """A log that is whole from a later time on stays so, and what it remembers stays a duplicate."""
    old = Partition(["anna"])
    events = views(300, DAY)
    old.run(events)
    later = int(old.state("anna").memory.complete_since[0])
    partition = Partition(["anna"], old.blobs, old.watermark_ms, since=START + 500 * DAY)
    assert START < later < partition.since
    (worked,) = partition.run([events[-1]])
    assert (worked.wave.applied.tolist(), worked.wave.unverifiable.tolist()) == ([False], [False])
    assert partition.state("anna").memory.complete_since.tolist() == [partition.since]
    partition = Partition(["anna"], old.blobs, old.watermark_ms, since=START)
    partition.run(events[:1])
    assert partition.state("anna").memory.complete_since.tolist() == [later]
