"""However its input is cut, interleaved and stored, the engine publishes the same bytes and keeps the same states."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from features.events import Chunk
from features.memory_store import MemoryStore
from features.redis_store import RedisStore
from features.store import Commit, PartitionKey, Verdict
from intents.detect import Setup
from intents.examples import unpack
from intents.life import Rules
from intents.model import Model
from intents.subjects import SubjectCollision, subject_hash
from sinks.events import intent_json, intent_record
from streams.engine import Engine, Step, Topics
from streams.partition import LostPartition, Partition
from streams.shop import DEMO_CATALOGUE
from streams.wire import Decoder, Records
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
    real,
    setup_of,
    shuffled,
)
from tests.intents.steered import HORIZON, LATENESS, STEERED, Shop, T, steered_model

KEY: Final = PartitionKey("test", "clickstream", 0)


@dataclass(frozen=True)
class Case:
    """A disturbed recording by partition, a model learned on what was before it, and what whole chunks make of it."""

    catalogue: str
    model: Model
    lanes: list[list[Pair]]
    whole: Drive
    held: list[object]

    def drive(self, **options: Any) -> Drive:
        """A run of it, still to be started."""
        return Drive(setup_of(self.catalogue), self.model, self.lanes, **options)


def case_of(catalogue: str, before: Sequence[Pair], records: Sequence[Pair]) -> Case:
    """Learn on `before`, then work `records`, disturbed, in whole chunks."""
    model = learned(before, catalogue)
    lanes = lanes_of(disturbed(records, forget=0.02), 8)
    whole = asyncio.run(Drive(setup_of(catalogue), model, lanes).run(in_chunks(lanes, 5_000)))
    return Case(catalogue, model, lanes, whole, asyncio.run(whole.held()))


@pytest.fixture(scope="module")
def made() -> Case:
    """A made-up shop."""
    return case_of(DEMO_CATALOGUE, made_up(), made_up(seed=12, customers=110, events=3_000, days=0.5))


@pytest.fixture(scope="module")
def taobao(recordings: Path) -> Case:
    """Real customers: learned on 20,000 events, run on the 10,000 that follow."""
    records = real(recordings / "taobao_user_behavior.csv.gz", 30_000)
    return case_of("", records[:20_000], records[20_000:])


@pytest.fixture(params=["made", "taobao"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each of the two."""
    found: Case = request.getfixturevalue(request.param)
    return found


def same(drive: Drive, case: Case) -> None:
    """Assert that a run published and kept, to the byte, what whole chunks did."""
    assert drive.records == case.whole.records
    assert asyncio.run(drive.held()) == case.held


def test_the_input_is_worth_its_name(case: Case) -> None:
    """There are intents of every status, and deadlines that fire within a chunk, so that nothing below passes empty."""
    statuses = case.whole.statuses()
    assert statuses["detected"] >= 300
    assert len(statuses) == 6 and min(statuses.values()) >= 20
    assert case.whole.mid_chunk >= 20
    assert case.whole.pieces == len(case.lanes)  # a chunk is a commit
    assert sum(map(len, case.whole.records)) == statuses.total()


@pytest.mark.parametrize("size", [1, 7])
def test_chunks_of_any_size(case: Case, size: int) -> None:
    """Chunks of 1 and of 7 records give what chunks of 5,000 give."""
    same(asyncio.run(case.drive().run(in_chunks(case.lanes, size))), case)


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_partitions(case: Case, seed: int) -> None:
    """Partitions may be interleaved in any way, and share their arithmetic or not."""
    same(asyncio.run(case.drive().run(shuffled(case.lanes, seed))), case)


def test_small_commits(made: Case) -> None:
    """A chunk cut because it touches too many customers, and bursts of deadlines, change nothing."""
    for most, pieces in ((2, 500), (6, 40)):
        drive = asyncio.run(made.drive(max_customers=most).run(in_chunks(made.lanes, 400)))
        same(drive, made)
        assert drive.pieces > pieces
        assert drive.bursts > 10 or most > 2


def test_redis_keeps_what_memory_keeps(made: Case, redis_url: str) -> None:
    """The same run over Redis publishes the same records and holds the same states, deadlines and names."""

    async def run() -> tuple[Drive, list[object]]:
        store = RedisStore.from_url(redis_url)
        drive = await made.drive(store=store, max_customers=30).run(shuffled(made.lanes, 4))
        held = await drive.held()
        await store.close()
        return drive, held

    drive, held = asyncio.run(run())
    assert drive.records == made.whole.records
    assert held == made.held


def test_examples_do_not_depend_on_chunks(made: Case) -> None:
    """Cut anyhow, the examples hold the same questions, vectors and outcomes, and end at the same watermark."""
    told = []
    for plan in (in_chunks(made.lanes, 5_000), shuffled(made.lanes, 5)):
        drive = asyncio.run(made.drive(with_examples=True).run(plan))
        told.append([_entries([unpack(r.value) for r in lane if r.topic == "examples"]) for lane in drive.records])
        assert [[r for r in lane if r.topic == "intents"] for lane in drive.records] == made.whole.records
    assert told[0] == told[1]


def _entries(examples: Sequence[Any]) -> list[object]:
    """All that a partition's examples say, joined; a name is told once."""
    names: dict[bytes, str] = {}
    for part in examples:
        assert not names.keys() & part.names.keys()
        names |= part.names
    columns = ("asked", "subjects", "ranks", "outcomes", "recent")
    joined: list[object] = [b"".join(getattr(part, name).tobytes() for part in examples) for name in columns]
    vectors = np.concatenate([part.vectors for part in examples], axis=1)
    return [*joined, vectors.tobytes(), names, examples[-1].watermark]


# One partition, step by step


class Bench:
    """One partition with an engine, driven by hand."""

    def __init__(self, setup: Setup | None = None, model: Model | None = None, **options: Any) -> None:
        """Nothing is claimed yet."""
        catalogue = setup_of()
        self.setup = setup or Setup(STEERED, catalogue.catalogue, catalogue.names)
        self.engine = Engine(MemoryStore(), self.setup, model or steered_model(), **options)
        self.decoder = Decoder(self.setup.catalogue)

    def claim(self, token: str = "mine") -> Partition:
        """Claim the partition."""
        return asyncio.run(self.engine.claim(KEY, token))

    def chunk(self, records: Sequence[Pair], start: int = 0) -> Chunk:
        """Records as a chunk of the offsets from `start`."""
        return chunk_of(self.decoder, 0, start, records)

    def work(self, partition: Partition, chunk: Chunk) -> list[tuple[Step, Commit]]:
        """Work a chunk to its end; the steps with their commits."""
        return asyncio.run(self._work(partition, chunk))

    async def _work(self, partition: Partition, rest: Chunk | None) -> list[tuple[Step, Commit]]:
        done = []
        while rest is not None:
            piece, rest = await self.engine.cut(partition, rest)
            step, (commit,) = await self.engine.step([piece])
            await self.engine.commit(piece, commit)
            done.append((step, commit))
        return done


def test_nothing_is_written_before_the_commit() -> None:
    """A step that is not committed leaves no trace, and gives the same again; a commit moves the cursor."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    bench = Bench()
    partition = bench.claim()
    piece, rest = asyncio.run(bench.engine.cut(partition, bench.chunk(shop.records)))
    assert rest is None
    first = asyncio.run(bench.engine.step([piece]))[1]
    again = asyncio.run(bench.engine.step([piece]))[1]
    assert first == again
    assert partition.cursor.position == -1
    asyncio.run(bench.engine.commit(piece, first[0]))
    assert (partition.cursor.position, partition.cursor.sequence, partition.watermark_ms) == (1, 1, T - LATENESS)
    assert partition.known == {subject_hash("tea")}


def test_outbox_holds_what_is_to_be_published() -> None:
    """A new owner finds the records that the last commit wanted to publish, and the names of subjects."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    bench = Bench()
    ((step, commit),) = bench.work(bench.claim(), bench.chunk(shop.records))
    other = Bench()
    other.engine.store = bench.engine.store
    claimed = other.claim("theirs")
    assert claimed.outbox == step.records[0] != []
    assert [record.topic for record in claimed.outbox] == ["intents", "examples"]
    assert other.setup.names[subject_hash("tea")] == "tea"
    assert claimed.known == {subject_hash("tea")}
    assert claimed.cursor.position == commit.position


def test_names_that_collide_stop_the_claim() -> None:
    """A store whose names contradict ours must not be worked on."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    bench = Bench()
    bench.work(bench.claim(), bench.chunk(shop.records))
    other = Bench()
    other.engine.store = bench.engine.store
    other.setup.names[subject_hash("tea")] = "coffee"
    with pytest.raises(SubjectCollision, match="'coffee' and 'tea'"):
        other.claim("theirs")


@pytest.mark.parametrize(("thief", "start", "verdict"), [(True, 0, Verdict.FENCED), (False, 5, Verdict.GAP)])
def test_lost_partition(thief: bool, start: int, verdict: Verdict) -> None:
    """A commit that the store refuses raises LostPartition with its answer, and the cursor stays."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    shop.view(1, "tea", 0.3)
    bench = Bench()
    partition = bench.claim()
    bench.work(partition, bench.chunk(shop.records[:1]))
    before = partition.cursor
    piece, _ = asyncio.run(bench.engine.cut(partition, bench.chunk(shop.records[1:], start or 1)))
    _, (commit,) = asyncio.run(bench.engine.step([piece]))
    if thief:
        bench.claim("theirs")
    with pytest.raises(LostPartition) as lost:
        asyncio.run(bench.engine.commit(piece, commit))
    assert lost.value.answer.verdict is verdict
    assert partition.cursor == before


def test_commit_twice_is_fine() -> None:
    """A commit whose answer got lost may be given again: it stands once."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    bench = Bench()
    partition = bench.claim()
    piece, _ = asyncio.run(bench.engine.cut(partition, bench.chunk(shop.records)))
    _, (commit,) = asyncio.run(bench.engine.step([piece]))
    asyncio.run(bench.engine.commit(piece, commit))
    asyncio.run(bench.engine.commit(piece, commit))
    assert partition.cursor.sequence == 1


def test_refused_records_move_the_position() -> None:
    """A chunk of refused records only has no events; its commit moves the position, and the examples are told."""
    bench = Bench()
    partition = bench.claim()
    raw = Records("clickstream", 0, 0, 2, [b"a", b"b"], [b"{", b"}"], np.arange(2), np.full(2, -1))
    chunk, refused = bench.decoder.decode(raw)
    assert len(refused) == 2
    ((step, commit),) = bench.work(partition, chunk)
    assert (commit.position, commit.watermark_ms, commit.states) == (2, -1, {})
    assert unpack(step.records[0][0].value).watermark == -1


def test_a_record_is_never_cut() -> None:
    """The lines of one record stay in one commit, and no commit touches more customers than allowed."""
    shop = Shop()
    for n in range(3):
        shop.do("purchase", n, "tea", f"c{n}", items=[{}] * 5)
        shop.view(n, "tea", 0.2, f"d{n}")
    for most in (2, 3):
        bench = Bench(max_customers=most)
        done = bench.work(bench.claim(), bench.chunk(shop.records))
        assert [len(step.batch.time) for step, _ in done] == [6, 6, 6]
        assert all(len(commit.states) <= most for _, commit in done)
        assert [(c.start, c.position) for _, c in done] == [(0, 2), (2, 4), (4, 6)]


def test_a_first_record_of_many_lines_is_cut_off() -> None:
    """A record of more lines than half the chunk is no reason to take more customers than allowed."""
    shop = Shop()
    for n in range(8):
        shop.view(n, "tea", 0.3, f"d{n}")
    shop.do("purchase", 10, "tea", "c", items=[{}] * 50)
    shop.do("view", HORIZON + LATENESS + 11, "tea", "e")
    bench = Bench(max_customers=4)
    partition = bench.claim()
    bench.work(partition, bench.chunk(shop.records[:8]))
    done = bench.work(partition, bench.chunk(shop.records[8:], 8))
    assert all(len(commit.states) <= 4 for _, commit in done)
    expired = [intent.customer_id for step, _ in done for intent in step.intents[0]]
    assert expired == [f"d{n}" for n in range(8)]


def test_a_burst_of_deadlines_goes_first() -> None:
    """More deadlines than one commit takes fire in commits without events, in order, before the chunk."""
    shop = Shop()
    for n in range(9):
        shop.view(n // 3, "tea", 0.3, f"d{9 - n}")
        shop.view(n // 3, "rum", 0.3, f"d{9 - n}")
    shop.view(2 * HORIZON, "tea", 0.3, "late")
    bench = Bench(max_customers=4)
    partition = bench.claim()
    bench.work(partition, bench.chunk(shop.records[:-1]))
    done = bench.work(partition, bench.chunk(shop.records[-1:], 18))
    assert [(commit.start, commit.position) for _, commit in done] == [(18, 18)] * 2 + [(18, 19)]
    assert [len(commit.states) for _, commit in done] == [3, 3, 4]
    told = [
        (intent.expires_at, intent.customer_id, subject_hash(intent.intent))
        for step, _ in done
        for intent in step.intents[0]
        if intent.status == "expired"
    ]
    assert len(told) == 18 and told == sorted(told)


def test_advance() -> None:
    """A quiet partition's watermark can be moved on: deadlines fire, one commit at a time, and nothing else moves."""
    shop = Shop()
    for n in range(5):
        shop.view(n, "tea", 0.3, f"d{n}")
    bench = Bench(max_customers=2)
    partition = bench.claim()
    bench.work(partition, bench.chunk(shop.records))
    to = T + HORIZON + 5
    intents = []
    for _ in range(4):
        piece = asyncio.run(bench.engine.advance(partition, to))
        step, (commit,) = asyncio.run(bench.engine.step([piece]))
        asyncio.run(bench.engine.commit(piece, commit))
        intents.append([(intent.status, intent.customer_id) for intent in step.intents[0]])
    expired = [("expired", f"d{n}") for n in range(5)]
    assert intents == [expired[:2], expired[2:4], expired[4:], []]
    assert (partition.watermark_ms, partition.cursor.position) == (to, 5)
    # final: what comes later with a time before it does not fulfil
    shop.do("cart_add", 10, "tea", "d1")
    done = bench.work(partition, bench.chunk(shop.records[5:], 5))
    assert [intent.status for step, _ in done for intent in step.intents[0]] == []


def test_advance_never_goes_back() -> None:
    """A target before the watermark changes nothing."""
    shop = Shop()
    shop.clock(HORIZON)
    bench = Bench()
    partition = bench.claim()
    bench.work(partition, bench.chunk(shop.records))
    piece = asyncio.run(bench.engine.advance(partition, T))
    _, (commit,) = asyncio.run(bench.engine.step([piece]))
    assert commit.watermark_ms == T + HORIZON


def test_unverifiable_offsets() -> None:
    """Records too old to tell from a duplicate are named by offset, each once, and change nothing."""
    shop = Shop()
    for n in range(200):
        shop.view(n * MINUTE, "tea", 0.01)
    shop.do("purchase", 5, "tea", items=[{}] * 3)
    shop.do("view", 200 * MINUTE, "tea")
    shop.do("view", 6, "tea")
    bench = Bench()
    ((step, commit),) = bench.work(bench.claim(), bench.chunk(shop.records))
    assert step.unverifiable(0) == [200, 202]
    without = Bench()
    kept = [record for n, record in enumerate(shop.records) if n not in (200, 202)]
    ((_, other),) = without.work(without.claim(), without.chunk(kept))
    assert commit.states == other.states


def test_records_of_intents() -> None:
    """An intent is one record, before the examples: its topic, its source's partition, its customer as key."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    bench = Bench(topics=Topics(intents="wants", examples="lessons"))
    ((step, _),) = bench.work(bench.claim(), bench.chunk(shop.records))
    wants, lessons = step.records[0]
    (intent,) = step.intents[0]
    assert wants == intent_record(intent, intent_json(intent), "wants", T - LATENESS)
    assert (wants.partition, wants.key) == (0, b"anna")
    assert (lessons.topic, lessons.partition) == ("lessons", 0)


def test_states_end_a_month_after_the_last_event() -> None:
    """A state ends by a deadline: after 30 days without events nothing is left; of the forgotten at once."""
    shop = Shop()
    shop.view(0, "tea", 0.3)
    shop.do("forget", 5, None, "ben")
    bench = Bench()
    partition = bench.claim()
    ((_, commit),) = bench.work(partition, bench.chunk(shop.records))
    assert (commit.states["ben"], commit.deadlines["ben"], len(commit.forgotten)) == (None, None, 1)
    day = 24 * 60 * MINUTE
    shop.clock(30 * day)
    ((_, commit),) = bench.work(partition, bench.chunk(shop.records[2:], 2))
    assert commit.states["anna"] is not None  # its intent's end made it due
    shop.clock(30 * day + 6)
    ((_, commit),) = bench.work(partition, bench.chunk(shop.records[3:], 3))
    assert (commit.states["anna"], commit.deadlines["anna"]) == (None, None)
    assert "ben" not in commit.states


def test_random_models_agree_on_chunks() -> None:
    """The same with a model made by hand, whose columns all speak."""
    records = disturbed(made_up(seed=14, customers=20, events=400, days=0.1), forget=0.02)
    lanes = lanes_of(records)
    model = handmade([f"{n}" for n in range(5)] + ["party_supplies", "ice_cream", "books", "laptops"])
    whole = asyncio.run(Drive(setup_of(DEMO_CATALOGUE), model, lanes).run(in_chunks(lanes, 5_000)))
    assert whole.statuses()["detected"] > 50
    for seed in range(3):
        drive = Drive(setup_of(DEMO_CATALOGUE), model, lanes, max_customers=Random(seed).choice([3, 50]))
        assert asyncio.run(drive.run(shuffled(lanes, seed))).records == whole.records


def test_deadlines_are_looked_for_when_one_may_be_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked once for chunks of the same second, and whenever the watermark may have passed a deadline."""
    asked: list[int] = []
    due = MemoryStore.due

    async def counted(store: MemoryStore, key: PartitionKey, before_ms: int, limit: int) -> list[tuple[str, int]]:
        asked.append(before_ms - T)
        return await due(store, key, before_ms, limit)

    monkeypatch.setattr(MemoryStore, "due", counted)
    shop = Shop()
    for at in (0, 100, 900, 1_200, 1_300):
        shop.clock(at)
    shop.view(1_400, "tea", 0.3)  # its deadline is that of the horizon
    for at in (HORIZON + 1_399, HORIZON + 1_400, HORIZON + 1_401):
        shop.clock(at)
    bench = Bench()
    partition, said = bench.claim(), []
    for number in range(len(shop.records)):
        ((step, _),) = bench.work(partition, bench.chunk(shop.records[number : number + 1], number))
        said += [(intent.status, number) for intent in step.intents[0]]
    assert said == [("detected", 5), ("expired", 8)]
    assert asked == [1_000, 2_200, HORIZON + 2_399, HORIZON + 2_401]


def test_a_deadline_that_is_new() -> None:
    """A commit's own deadlines may come before those that the store was asked about: none fires too late."""
    shop = Shop(rules=Rules(horizon_ms=500))
    shop.clock(0)
    shop.view(100, "tea", 0.3)
    shop.clock(700)
    bench = Bench()
    bench.engine.setup = replace(bench.setup, rules=shop.rules)
    partition = bench.claim()
    said = []
    for number in range(3):
        ((step, _),) = bench.work(partition, bench.chunk(shop.records[number : number + 1], number))
        said += [(intent.status, number) for intent in step.intents[0]]
    assert said == [("detected", 1), ("expired", 2)]
