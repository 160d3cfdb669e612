"""A store keeps what was saved, whoever else writes into it, and gives the newest snapshot that can be used."""

from pathlib import Path

import pytest

from features.core_bundle import CORE
from intents.model_store import ModelStore
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import decode, encode
from tests.intents.test_snapshots import hash_of, snapshot, with_number


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(str(tmp_path / "models"))


def test_empty_store(store: ModelStore) -> None:
    """Before the first snapshot there is none."""
    assert store.latest() is None
    assert store.names() == []


def test_save_and_load(store: ModelStore) -> None:
    """A snapshot's name is its offset and content hash; what is loaded is what was saved."""
    name = store.save(snapshot(), 50)
    assert name == f"{50:020d}-{hash_of(snapshot())}.snapshot"
    assert store.load(name) == snapshot()
    found = store.latest()
    assert found is not None and (found.name, found.disputed) == (name, False)


def test_highest_offset_wins(store: ModelStore) -> None:
    """Whatever the order of writing; offsets are compared as numbers."""
    for offset in (9, 100, 20):
        store.save(b"content of %d" % offset, offset)
    found = store.latest()
    assert found is not None and store.load(found.name) == b"content of 100"


def test_disputed(store: ModelStore) -> None:
    """Two contents of one offset, which must not happen, are told, and the lowest hash wins for everybody."""
    contents = [b"one", b"two", b"three"]
    names = [store.save(content, 7) for content in contents]
    store.save(b"older", 3)
    found = store.latest()
    assert found is not None and found.disputed
    assert found.name == min(names)
    assert hash_of(store.load(found.name)) == min(map(hash_of, contents))


def test_content_is_what_the_name_says(store: ModelStore, tmp_path: Path) -> None:
    """A file that was changed after it was written is refused."""
    name = store.save(snapshot(), 7)
    (tmp_path / "models" / "main" / name).write_bytes(with_number(snapshot(), "now.touched.means", 0, 1.5))
    with pytest.raises(UnusableSnapshot, match="not what its name says"):
        store.load(name)


def test_newest(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """The newest that can be used is used; what cannot is told and passed over; the one known is nothing new."""
    assert store.newest(CORE) is None
    good = store.save(snapshot(), 50)
    found = store.newest(CORE)
    assert found is not None and found[0] == good and encode(found[1]) == snapshot()
    assert store.newest(CORE, known=good) is None
    bad = store.save(b"nonsense", 60)
    found = store.newest(CORE)
    assert found is not None and found[0] == good
    assert f"{bad} is passed over" in caplog.text
    assert store.newest(CORE, known=good) is None


def test_newest_of_one_offset(store: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    """Of one offset the lowest usable hash counts for everybody, with an alarm."""
    others = [with_number(snapshot(), "now.touched.means", 0, n / 7) for n in range(5)]
    names = sorted(store.save(content, 50) for content in others)
    found = store.newest(CORE)
    assert found is not None and found[0] == names[0]
    assert "5 snapshots claim offset" in caplog.text
    assert store.newest(CORE, known=names[0]) is None


def test_written_if_absent(store: ModelStore, tmp_path: Path) -> None:
    """The same snapshot again leaves the file as it is, and no half-written one is ever listed."""
    name = store.save(b"same", 7)
    path = tmp_path / "models" / "main" / name
    before = path.stat().st_mtime_ns
    assert store.save(b"same", 7) == name
    assert path.stat().st_mtime_ns == before
    (path.parent / f"{8:020d}-00.snapshot.part").write_bytes(b"ha")
    assert store.names() == [name]


def test_variants_and_readers(tmp_path: Path) -> None:
    """Each variant has its folder; a reader that looked before sees what was written since."""
    url = f"file://{tmp_path}/models"
    main, other, reader = ModelStore(url), ModelStore(url, "other"), ModelStore(url)
    assert reader.latest() is None
    name = main.save(b"one", 1)
    assert reader.names() == [name] and other.names() == []
    later = main.save(b"two", 2)
    found = reader.latest()
    assert found is not None and found.name == later


def test_prune(store: ModelStore) -> None:
    """The newest stay."""
    for offset in range(6):
        store.save(b"%d" % offset, offset)
    store.prune(2)
    assert [store.load(name) for name in store.names()] == [b"4", b"5"]


def test_two_that_write_the_same_at_once(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes a file of its own: one that stops half-way, for ever or for a while, damages nothing of the other."""
    write, stopped = store._fs.pipe_file, list[str]()

    def stop_half_way(path: str, content: bytes) -> None:
        if not stopped:
            stopped.append(path)
            write(path, content[:20])
            assert ModelStore(store.url).save(content, 50) == name  # the other one, meanwhile
        write(path, content)

    name = f"{50:020d}-{hash_of(snapshot())}.snapshot"
    monkeypatch.setattr(store._fs, "pipe_file", stop_half_way)
    assert store.save(snapshot(), 50) == name
    assert store.load(name) == snapshot()
    assert len(list((Path(store.url) / "main").iterdir())) == 1


def test_prune_takes_what_was_left_half_written(store: ModelStore) -> None:
    """A killed trainer's leavings go with the snapshots of their time; one that is being written now stays."""
    for offset in range(6):
        store.save(b"%d" % offset, offset)
    folder = Path(store.url) / "main"
    old, new = (folder / f"{offset:020d}-00.snapshot.12ab.part" for offset in (2, 5))
    old.write_bytes(b"ha"), new.write_bytes(b"ha")
    store.prune(2)
    assert [path.exists() for path in (old, new)] == [False, True]
    assert len(store.names()) == 2


def test_in_memory() -> None:
    """Any place that fsspec knows will do."""
    store = ModelStore("memory://snapshots-of-a-test")
    name = store.save(snapshot(), 5)
    assert decode(store.load(name), CORE).model.now.positives > 50
