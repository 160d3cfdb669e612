"""A worker speaks with the newest snapshot that can be used, whatever lies beside it, and keeps it otherwise."""

import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from features.bundle import Bundle
from features.core_bundle import CORE
from intents.alarms import Curve
from intents.model_store import ModelStore
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import decode, encode
from intents.training import Trainer
from streams.models import ModelWatch, load_model, starting_point
from streams.train import resume
from tests.intents.test_training import HORIZON, Ask, lesson, taught


@cache
def content(lessons: int, more: int = 0) -> bytes:
    """A snapshot after so many records, of which the last asks about `more` subjects more."""
    asks = [lesson(Ask(n, n, (1, 2)), watermark=n + HORIZON + 1) for n in range(lessons)]
    if more:
        subjects = tuple(range(1, 3 + more))
        asks[-1] = lesson(Ask(lessons, lessons, subjects), watermark=lessons + HORIZON + 1)
    return encode(taught(*asks).checkpoint())


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(str(tmp_path / "models"))


def path_of(store: ModelStore, name: str) -> Path:
    """A snapshot's file."""
    return Path(store.url) / "main" / name


def damage(store: ModelStore, name: str) -> None:
    """Change one number of a snapshot, so that it is still one, with another content."""
    path = path_of(store, name)
    changed = bytearray(path.read_bytes())
    changed[-8:] = struct.pack("<d", 7.5)
    assert bytes(changed) != path.read_bytes()
    decode(bytes(changed), CORE)  # only its name tells
    path.write_bytes(changed)


def version_of(store: ModelStore) -> str:
    """Version of the model that a worker takes first."""
    model = ModelWatch(store, CORE).newer()
    return model.version if model else ""


# A frozen file


def test_a_frozen_file(tmp_path: Path) -> None:
    """A snapshot's file, by path or by URL, is the model that it was saved from."""
    path = tmp_path / "frozen.snapshot"
    path.write_bytes(content(3))
    for name in (str(path), f"file://{path}"):
        model = load_model(name, CORE)
        assert (model.now.negatives, model.version) == (6, decode(content(3), CORE).model.version)


def test_a_frozen_file_that_cannot_be_used(tmp_path: Path) -> None:
    """Who names a model gets that one or an error, never another."""
    with pytest.raises(FileNotFoundError):
        load_model(str(tmp_path / "none"), CORE)
    path = tmp_path / "frozen.snapshot"
    path.write_bytes(content(3)[:-1])
    with pytest.raises(UnusableSnapshot, match=f"{path}: a snapshot is cut short"):
        load_model(str(path), CORE)
    path.write_bytes(content(3))
    with pytest.raises(UnusableSnapshot, match="of bundle"):
        load_model(str(path), Bundle("other", CORE.features))


def test_a_starting_point(tmp_path: Path) -> None:
    """A snapshot's model has learned as much, but nothing was read, and nothing waits: a trainer begins at offset 0."""
    path = tmp_path / "other.snapshot"
    open_ones = lesson(Ask(HORIZON + 5, 1, (1, 2)), watermark=HORIZON + 6)
    path.write_bytes(encode(taught(lesson(Ask(0, 0, (1, 2)), watermark=HORIZON + 1), open_ones).checkpoint()))
    before, start = decode(path.read_bytes(), CORE), starting_point(str(path), CORE)
    trainer = Trainer(CORE, HORIZON, start)
    assert before.reading.next == 2 and before.later
    assert (trainer.position, trainer.refilling, start.later) == (0, False, [])
    assert trainer.now.negatives == before.model.now.negatives > 0
    assert trainer.tables.views == before.model.tables.views > before.base.views
    assert encode(trainer.checkpoint()) == encode(start)


# The newest of a store


def test_a_worker_reads_no_questions(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in a snapshot is most of the work to read it, and only a trainer's."""
    monkeypatch.setattr("intents.snapshots._questions", lambda *_: pytest.fail("questions were read"))
    path = tmp_path / "model.snapshot"
    path.write_bytes(content(2))
    assert load_model(str(path), CORE).version.startswith("2-")
    store.save(content(2), 2)
    assert ModelWatch(store, CORE).newer() is not None


def test_newer(store: ModelStore) -> None:
    """Each new snapshot is given once; none is none."""
    watch = ModelWatch(store, CORE)
    assert watch.newer() is None
    for lessons in (2, 3):
        store.save(content(lessons), lessons)
        model = watch.newer()
        assert model is not None and model.version.startswith(f"{lessons}-")
        assert watch.newer() is None


def test_a_model_that_loses(store: ModelStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker says once when its model begins to lose, and once when it wins again; of a frozen one, at once."""
    watch, said = ModelWatch(store, CORE), list[str]()
    for lessons, losing in ((1, False), (2, True), (3, True), (4, False), (5, False)):
        found = decode(content(lessons), CORE)
        found.progress.losing = losing
        store.save(encode(found), lessons)
        model = watch.newer()
        assert model is not None and model.losing is losing
        said += [f"{lessons}: {record.getMessage()}" for record in caplog.records if record.levelname == "WARNING"]
        caplog.clear()
    assert len(said) == 2
    assert said[0].startswith("2: model 2-") and said[0].endswith(" loses to its fallback, which is served")
    assert said[1].startswith("4: model 4-") and said[1].endswith(" wins again, and is served again")
    frozen = decode(content(3), CORE)
    frozen.progress.losing = True
    path = tmp_path / "frozen.snapshot"
    path.write_bytes(encode(frozen))
    assert load_model(str(path), CORE).losing
    assert f"the model of {path} loses to its fallback, which is served" in caplog.text


def test_content_of_another_name(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """Worker and trainer alike pass over a snapshot whose content is not what its name says, for the one before it.

    A worker that has the one before keeps it.
    """
    store.save(content(2), 2)
    watch = ModelWatch(store, CORE)
    assert watch.newer() is not None
    bad = store.save(content(3), 3)
    damage(store, bad)
    assert watch.newer() is None
    assert version_of(store).startswith("2-")
    assert resume(store, HORIZON).now.negatives == 4
    assert resume(store, HORIZON).position == 2
    assert caplog.text.count(f"{bad} is passed over: its content is not what its name says") == 4


def test_all_are_damaged(store: ModelStore) -> None:
    """With nothing that can be used a trainer begins anew, and a worker keeps the model that it has."""
    damage(store, store.save(content(2), 2))
    assert ModelWatch(store, CORE).newer() is None
    assert resume(store, HORIZON).position == 0


def test_of_two_contents_the_lowest_hash(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """Of one offset with two contents worker and trainer take the lowest hash, whichever came first, with an alarm."""
    contents = {store.save(content(3, more), 3): content(3, more) for more in (0, 1, 2)}
    lowest, *others = sorted(contents)
    assert version_of(store) in lowest.lstrip("0")
    taken = resume(store, HORIZON)
    assert encode(taken.checkpoint()) == contents[lowest] != contents[others[0]]
    alarms = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(alarms) == 2
    assert all("trainers disagree; the lowest hash counts" in alarm.getMessage() for alarm in alarms)


def test_a_lower_hash_comes_later(store: ModelStore) -> None:
    """A worker that has taken the only one of its offset moves to the lower hash when that appears."""
    by_name = {store.save(content(3, more), 3): content(3, more) for more in (0, 1)}
    lowest, highest = sorted(by_name)
    path_of(store, lowest).unlink()
    watch = ModelWatch(store, CORE)
    model = watch.newer()
    assert model is not None and model.version in highest
    store.save(by_name[lowest], 3)
    model = watch.newer()
    assert model is not None and model.version in lowest
    assert watch.newer() is None


def test_of_two_contents_one_is_damaged(store: ModelStore) -> None:
    """Worker and trainer agree even then: on the lowest hash that can be used."""
    by_name = {store.save(content(3, more), 3): content(3, more) for more in (0, 1)}
    lowest, highest = sorted(by_name)
    path_of(store, lowest).write_bytes(b"MISNAP01")
    assert version_of(store) in highest
    assert encode(resume(store, HORIZON).checkpoint()) == by_name[highest]


def test_a_store_that_cannot_be_read(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """A worker goes on with the model that it has while the store is away, says so, and takes the next one after it."""
    folder = path_of(store, f"{9:020d}-00.snapshot")
    folder.mkdir(parents=True)  # reading it is an OSError
    watch = ModelWatch(store, CORE)
    assert watch.newer() is None
    assert f"the model store {store.url} cannot be read" in caplog.text
    folder.rmdir()
    store.save(content(2), 2)
    assert watch.newer() is not None


def test_deleted_while_it_is_read(store: ModelStore) -> None:
    """A trainer that prunes meanwhile takes nothing from a reader that looks for the newest."""
    newest = store.save(content(3), 3)
    store.save(content(2), 2)
    path_of(store, newest).unlink()
    path_of(store, newest).symlink_to("nothing")  # listed, and gone when it is opened
    assert version_of(store).startswith("2-")


def test_a_warm_start_keeps_what_alarms_were_worth(tmp_path: Path) -> None:
    """A frozen model has its curve as it was; in something new it counts from the first answer on, whenever that is."""
    checkpoint = decode(content(1), CORE)
    curve = Curve(1_700_000_000_000, np.full(60, 40.0), np.full(60, 8.0), 5.0)
    path = tmp_path / "other.snapshot"
    path.write_bytes(encode(replace(checkpoint, model=replace(checkpoint.model, curve=curve))))
    for found, clock in (
        (load_model(str(path), CORE), curve.clock),
        (starting_point(str(path), CORE).model, -1),
        (Trainer(CORE, HORIZON, starting_point(str(path), CORE)).model(), -1),
    ):
        told = found.curve
        assert (told.clock, told.customer_days) == (clock, 5.0)
        assert (told.alarms.tolist(), told.hits.tolist()) == ([40.0] * 60, [8.0] * 60)
