"""A trainer that is interrupted anywhere skips nothing and learns nothing twice, and its snapshots are whole."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest
from faust.types import TP

from features.core_bundle import CORE
from intents.checkpoint import Checkpoint
from intents.examples import VERSION, NewerExamples
from intents.model_store import ModelStore
from intents.reading import PATIENCE_MS
from intents.snapshots import content_hash, decode, encode
from intents.training import Trainer
from streams import train
from streams.models import ModelWatch
from streams.settings import Settings
from streams.train import KEEP, Training, resume, writing_scores
from tests.intents.replaying import MINUTE
from tests.intents.test_training import HORIZON, Ask, Got, T, lesson, taught
from tests.streams.working import StandIn

EXAMPLES: Final = TP("examples", 0)
NEVER: Final = 9_999.0


def topic(count: int = 120) -> list[bytes]:
    """Records of two sources that ask, and whose answers come a horizon later."""
    told = []
    for n in range(count):
        entries: list[Ask | Got] = [Ask(n * MINUTE, 2 * n, (1, 2, 3), customer=n)]
        entries += [Got(n * MINUTE, 2 * n + 1, subject=2, customer=n - 6)] if n % 3 == 0 and n > 5 else []
        told.append(lesson(*entries, watermark=n * MINUTE, partition=n % 2))
    return told


def kafka(records: Sequence[bytes]) -> StandIn:
    """The examples topic."""
    return StandIn([(None, record) for record in records], EXAMPLES)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(str(tmp_path / "models"))


def bytes_of(trainer: Trainer) -> bytes:
    """All that a trainer is."""
    return encode(trainer.checkpoint())


def offsets_in(store: ModelStore) -> list[int]:
    """Offsets of the snapshots in a store."""
    return [int(name.split("-")[0]) for name in store.names()]


def clean(records: Sequence[bytes]) -> bytes:
    """What a trainer that nobody disturbed is after all records."""
    return bytes_of(taught(*records))


def training(app: StandIn, store: ModelStore, every_s: float = NEVER, first: Checkpoint | None = None) -> Training:
    """A trainer's process as it begins, sought to where its trainer is."""
    made = Training(app.app, resume(store, HORIZON, first), store, every_s)
    app.seek(made.trainer.position)
    return made


# Rebalances


@pytest.mark.parametrize("turns", [1, 10, 40])
@pytest.mark.parametrize("before", [0, 50])
def test_a_rebalance_in_the_middle_of_a_chunk(
    turns: int, before: int, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new trainer reads the chunk's records again, from its snapshot on: none is skipped, none learned twice."""
    monkeypatch.setattr("streams.train._BREATHE_S", -1.0)  # after each question, as when learning is slow
    records = topic()
    app = kafka(records)
    made = training(app, store)

    async def run() -> None:
        if before:
            await made.work([app.chunk(0, before)])
            await made.save()
        old = made.trainer
        working = asyncio.create_task(made.work([app.chunk(before)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert before < old.position < len(records) and not working.done()
        made.trainer = resume(store, HORIZON)  # what start positions do, answering where to seek to
        app.seek(made.trainer.position)
        await working
        assert made.trainer.position <= before
        assert old.position < len(records)  # nobody needs its rest
        await app.deliver(made.work, 7)

    asyncio.run(run())
    assert bytes_of(made.trainer) == clean(records)


@pytest.mark.parametrize("start", [0, 20])
def test_a_chunk_from_elsewhere(start: int, store: ModelStore) -> None:
    """A chunk that does not begin at the trainer's position is not read: it is read from there on, back or forth."""
    records = topic()
    app = kafka(records)
    made = training(app, store)
    asyncio.run(made.work([app.chunk(0, 10)]))
    before = bytes_of(made.trainer)
    asyncio.run(made.work([app.chunk(start, 30)]))
    assert (made.trainer.position, app.rewinds) == (10, [10])
    assert bytes_of(made.trainer) == before
    asyncio.run(app.deliver(made.work))
    assert bytes_of(made.trainer) == clean(records)


def test_unreadable_examples(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """A record that is none is told and passed over; so is one without a value."""
    records = topic(40)
    app = kafka([*records[:20], b"nonsense", b"", *records[20:]])
    app.records = [(key, value or None) for key, value in app.records]
    made = training(app, store)
    asyncio.run(app.deliver(made.work, 5))
    assert made.trainer.position == 42
    assert caplog.text.count("passed over") == 2
    assert made.trainer.now.negatives == taught(*records).now.negatives > 0


def test_examples_of_a_later_release(store: ModelStore) -> None:
    """They stop the trainer, which has saved nothing behind them: after its upgrade they are learned."""
    records = topic(40)
    app = kafka([*records[:20], msgspec.msgpack.encode([VERSION + 1, "what comes"]), *records[20:]])
    made = training(app, store, every_s=0)
    with pytest.raises(NewerExamples, match="upgrade the trainer"):
        asyncio.run(app.deliver(made.work, 7))
    asyncio.run(made.save())
    assert made.trainer.position == 20 == offsets_in(store)[-1]


# Snapshots


def test_saved_at_intervals(store: ModelStore) -> None:
    """A snapshot is saved when the interval is over and something was read; only the newest are kept."""
    app = kafka(topic())
    made = training(app, store)
    asyncio.run(app.deliver(made.work, 10))
    assert store.names() == []
    asyncio.run(made.save())
    asyncio.run(made.save())
    assert offsets_in(store) == [120]
    often = ModelStore(f"{store.url}-often")
    app = kafka(topic())
    asyncio.run(app.deliver(training(app, often, every_s=0).work, 4))
    assert offsets_in(often) == list(range(4, 121, 4))[-KEEP:]


def test_nothing_to_save(store: ModelStore) -> None:
    """A trainer that has read nothing leaves no snapshot."""
    asyncio.run(training(kafka([]), store).save())
    assert store.names() == []


def test_killed_anywhere(store: ModelStore) -> None:
    """Processes that end between chunks, each continued from the newest snapshot, end as one that never did."""
    records = topic()
    app = kafka(records)
    for until in (35, 70, 95, 120):
        made = training(app, store, every_s=0)
        app.records = [(None, record) for record in records[:until]]
        asyncio.run(app.deliver(made.work, 9))
        made.trainer.read(made.trainer.position, lesson())  # lost with it
    names = store.names()
    assert decode(store.load(names[-1]), CORE).reading.next == 120
    assert store.load(names[-1]) == clean(records)


def test_a_snapshot_in_the_middle_of_learning(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer may save while a chunk is being learned: what is read and due is in it, and nothing twice."""
    monkeypatch.setattr("streams.train._BREATHE_S", -1.0)
    monkeypatch.setattr("intents.training.TOGETHER", 1)  # a pause after each question
    records = [*topic(40), lesson(watermark=90 * MINUTE), lesson(watermark=90 * MINUTE, partition=1)]
    app = kafka(records)

    async def run() -> None:
        made = training(app, store)
        working = asyncio.create_task(made.work([app.chunk()]))
        for _ in range(20):
            await asyncio.sleep(0)
        assert made.trainer.position == 41 and not working.done()
        await made.save()
        working.cancel()

    asyncio.run(run())
    assert offsets_in(store) == [41]
    made = training(app, store)
    asyncio.run(app.deliver(made.work))
    assert bytes_of(made.trainer) == clean(records)


def test_no_snapshot_while_it_refills(store: ModelStore) -> None:
    """What a restarted trainer holds while it reads again is not whole: only behind its snapshot one is saved."""
    records = topic()
    app = kafka(records)
    made = training(app, store, every_s=0)
    asyncio.run(made.work([app.chunk(0, 100)]))
    (name,) = store.names()
    made = training(app, store, every_s=0)
    assert 50 < app.sought < 95  # what is pending is read again
    while app.sought < 100:
        asyncio.run(made.work([app.chunk(app.sought, app.sought + 1)]))
        app.sought += 1
        asyncio.run(made.save())
        assert store.names() == [name]
    asyncio.run(app.deliver(made.work))
    asyncio.run(made.save())
    assert bytes_of(resume(store, HORIZON)) != store.load(name)
    assert store.load(store.names()[-1]) == clean(records)


def test_a_store_that_cannot_be_written(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """An OSError while saving is told; learning goes on, and the next interval saves all of it."""
    records = topic()
    app = kafka(records)
    made = training(app, store, every_s=0)
    wall = Path(store.url)
    wall.write_text("in the way of the folder")
    asyncio.run(made.work([app.chunk(0, 60)]))
    assert "no snapshot was saved, trying again in 0 s" in caplog.text
    assert made.saved == -1
    wall.unlink()
    asyncio.run(made.save(least_s=NEVER))
    assert store.names() == []  # not before the next interval
    made.saved_at = time.monotonic() - NEVER
    asyncio.run(made.save(least_s=NEVER))
    assert offsets_in(store) == [60]
    app.sought = 60
    asyncio.run(app.deliver(made.work))
    assert store.load(store.names()[-1]) == clean(records)


def test_what_was_said_is_written(store: ModelStore, tmp_path: Path) -> None:
    """A line for each question that is answered: where, what was said, what came; a restart repeats what it learns."""
    records = topic()
    app = kafka(records)
    with (tmp_path / "said.jsonl").open("ab", buffering=0) as file:
        for saved, stop in ((60, 90), (100, len(records))):  # after its snapshot the first one goes on, and is killed
            made = training(app, store)
            writing_scores(made.trainer, file)
            asyncio.run(made.work([app.chunk(made.trainer.position, saved)]))
            asyncio.run(made.save())
            asyncio.run(made.work([app.chunk(saved, stop)]))
    lines = [orjson.loads(line) for line in (tmp_path / "said.jsonl").read_bytes().splitlines()]
    said: dict[int, dict[str, Any]] = {}
    for line in lines:
        assert line == said.setdefault(line["source"]["offset"] // 2, line)
    assert sorted(said) == list(range(88)) and len(lines) == 88 + 30
    for n, line in said.items():
        pairs = line.pop("scores")
        assert {name for name, _ in pairs} == {f"{subject:016x}" for subject in (1, 2, 3)}
        assert [p for _, p in pairs] == sorted((p for _, p in pairs), reverse=True)
        assert line == {
            "ask": "detect",
            "customer": f"{n:016x}",
            "time": T + n * MINUTE,
            "source": {"topic": "clickstream", "partition": n % 2, "offset": 2 * n, "index": 0},
            "outcomes": [f"{2:016x}"] * (n % 3 == 0),
            "ready": False,
        }


# Sources that fall silent


def silent() -> list[bytes]:
    """Partition 0 asks, has an outcome, and falls silent; partition 1 goes on for three days, an hour a record."""
    first = lesson(Ask(0, 1, (1, 2)), Got(5, 2, subject=2), Ask(MINUTE, 3), watermark=10)
    hours = [60 * MINUTE * n for n in range(1, 73)]
    going = [
        lesson(Ask(at, n, (3, 4), customer=n), Got(at + 9, n, subject=4, customer=n), watermark=at, partition=1)
        for n, at in enumerate(hours, 1)
    ]
    return [first, *going]


def test_a_silent_source_does_not_pin_the_trainer(store: ModelStore) -> None:
    """More than a day behind the newest, its questions are answered, and a restart need not read from them on."""
    records = silent()
    app = kafka(records)
    made = training(app, store)
    asyncio.run(made.work([app.chunk(0, 24)]))
    assert made.trainer.checkpoint().base_reading.next == 0  # still waiting
    asyncio.run(made.work([app.chunk(24, 27)]))
    before = made.trainer.checkpoint()
    assert before.reading.watermarks["clickstream", 1] - before.reading.watermarks["clickstream", 0] > PATIENCE_MS
    assert before.base_reading.next == 26  # only partition 1's newest is open
    asyncio.run(made.work([app.chunk(27)]))
    after = made.trainer.checkpoint()
    assert after.base_reading.next > 70
    assert (made.trainer.now.positives, made.trainer.now.negatives) == (1 + 71, 2 + 71)


@pytest.mark.parametrize("stop", [1, 20, 25, 26, 27, 40])
def test_restarted_across_a_silence(stop: int, store: ModelStore) -> None:
    """Whenever it is restarted, before its patience ends, after, or when the source comes back: the same bytes."""
    records = silent()
    back = lesson(Ask(2 * MINUTE, 4, (1, 2)), Got(3 * MINUTE, 5), watermark=4 * MINUTE)
    records = [*records[:30], back, *records[30:50], lesson(Ask(70 * 60 * MINUTE, 6), watermark=70 * 60 * MINUTE)]
    app = kafka(records)
    made = training(app, store)
    asyncio.run(made.work([app.chunk(0, stop)]))
    asyncio.run(made.save())
    made = training(app, store)
    asyncio.run(app.deliver(made.work, 6))
    assert bytes_of(made.trainer) == clean(records)


@pytest.mark.parametrize("stop", [1, 2])
def test_restarted_between_an_outcome_and_its_late_question(stop: int, store: ModelStore) -> None:
    """An outcome marks what was open when it was read: a question that came later is answered without it.

    So it is with a restart in between, too.
    """
    records = [
        lesson(Got(20, 1), watermark=0),
        lesson(Ask(10, 2), watermark=5),
        lesson(Ask(15, 3), watermark=HORIZON + 50),
    ]
    app = kafka(records)
    made = training(app, store)
    asyncio.run(made.work([app.chunk(0, stop)]))
    asyncio.run(made.save())
    made = training(app, store)
    asyncio.run(app.deliver(made.work))
    assert (made.trainer.now.positives, made.trainer.now.negatives) == (0, 2)
    assert bytes_of(made.trainer) == clean(records)


# Warm starts


def learned_elsewhere(subject: int = 2) -> Checkpoint:
    """Where a trainer begins whose model comes from another topic."""
    lessons = [
        lesson(Ask(n, 2 * n, (1, 2), customer=n), Got(n + 5, 2 * n + 1, subject=subject, customer=n), watermark=n)
        for n in range(30)
    ]
    return Checkpoint.beginning(taught(*lessons, lesson(watermark=HORIZON + 100)).model())


def test_a_warm_start(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """An empty store has the model at once, as of offset 0, for workers too; the trainer learns all records onto it."""
    caplog.set_level("INFO")
    first, records = learned_elsewhere(), topic()
    app = kafka(records)
    made = training(app, store, first=first)
    name = f"{0:020d}-{content_hash(encode(first))}.snapshot"
    assert store.names() == [name] and f"warm start: nothing in {store.url} to go on from, saved {name}" in caplog.text
    model = ModelWatch(store, CORE).newer()
    assert model is not None and (model.now.positives, model.now.negatives) == (30, 30)
    asyncio.run(app.deliver(made.work, 7))
    asyncio.run(made.save())
    assert offsets_in(store) == [0, 120]
    wanted = bytes_of(taught(*records, trainer=Trainer(CORE, HORIZON, first)))
    assert store.load(store.names()[-1]) == wanted != clean(records)
    after = decode(wanted, CORE).model.now.negatives
    assert after == 30 + decode(clean(records), CORE).model.now.negatives


def test_a_warm_start_that_is_killed_anywhere(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """Started again with the same option, before its first own snapshot or after, it ends as one that never was."""
    caplog.set_level("INFO")
    first, records = learned_elsewhere(), topic()
    app = kafka(records)
    for until, every_s in ((0, 0.0), (30, NEVER), (60, 0.0), (95, NEVER), (120, 0.0)):
        made = training(app, store, every_s, first)
        app.records = [(None, record) for record in records[:until]]
        asyncio.run(app.deliver(made.work, 9))
    wanted = bytes_of(taught(*records, trainer=Trainer(CORE, HORIZON, first)))
    assert store.load(store.names()[-1]) == wanted
    assert caplog.text.count("warm start: nothing in") == 1
    # Of the five starts those after a snapshot of its own: the first three found the warm start, or nothing.
    assert caplog.text.count("the warm start is not used") == 2


def test_a_warm_start_where_there_is_a_snapshot(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """A store that can be gone on with is, and nothing is put into it; the log says so."""
    caplog.set_level("INFO")
    records = topic(60)
    name = store.save(clean(records), 60)
    made = training(kafka(records), store, first=learned_elsewhere())
    assert bytes_of(taught(*topic()[made.trainer.position :], trainer=made.trainer)) == clean(topic())
    assert store.names() == [name]
    assert f"the warm start is not used: {store.url} has {name} to go on from" in caplog.text


def test_a_warm_start_where_nothing_can_be_used(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged snapshots do not hide it, whatever their offsets; nor is it lost if its own file in the store is."""
    first = learned_elsewhere()
    store.save(clean(topic())[:-1], 120)
    assert bytes_of(resume(store, HORIZON, first)) == encode(first)
    newest = store.newest(CORE)
    assert newest is not None and newest[0] == store.names()[0]
    (Path(store.url) / "main" / store.names()[0]).write_bytes(b"half writ")
    assert store.newest(CORE) is None
    assert bytes_of(resume(store, HORIZON, first)) == encode(first)


def test_two_warm_starts(store: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Of two trainers with different ones, at the same time, both go on from the same, which workers have, too."""
    low, high = sorted((learned_elsewhere(), learned_elsewhere(subject=1)), key=lambda it: content_hash(encode(it)))
    write = store._fs.pipe_file

    def slowly(path: str, content: bytes) -> None:
        monkeypatch.setattr(store._fs, "pipe_file", write)
        assert bytes_of(resume(store, HORIZON, low)) == encode(low)  # the other one, meanwhile
        write(path, content)

    monkeypatch.setattr(store._fs, "pipe_file", slowly)
    assert bytes_of(resume(store, HORIZON, high)) == encode(low)
    assert len(store.names()) == 2 and "2 snapshots claim offset" in caplog.text


def test_a_warm_start_into_a_store_that_cannot_be_written(store: ModelStore) -> None:
    """A trainer that could not hand its model to the workers does not begin: they would go on knowing nothing."""
    Path(store.url).write_text("in the way of the folder")
    with pytest.raises(OSError, match="models"):
        resume(store, HORIZON, learned_elsewhere())


def test_a_trainer_yields_to_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its process asks for less of the machine than a worker's before it begins."""
    done: list[object] = []

    def ran(_: object) -> int:
        done.append("run")
        return 0

    monkeypatch.setattr(train, "admit", lambda *_: None)
    monkeypatch.setattr("os.nice", done.append)
    monkeypatch.setattr(train, "run_worker", ran)
    assert train.run(Settings(model_store=str(tmp_path))) == 0
    assert done == [train.NICE, "run"] and train.NICE > 0
