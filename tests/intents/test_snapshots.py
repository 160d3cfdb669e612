"""A snapshot reads back to the byte, cannot execute anything, and is refused if it is not whole, ours and finite."""

import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.bundle import Bundle
from features.core_bundle import CORE
from intents.checkpoint import Checkpoint
from intents.examples import LARGEST, pack, unpack
from intents.head import ARRAYS, Head
from intents.model import SOON_PRIOR, Model
from intents.progress import BINS, Progress
from intents.reading import Reading
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import MAGIC, RIVER, decode, encode
from intents.tables import Tables
from intents.training import Trainer
from tests.intents.test_training import HORIZON, lessons, taught

HEAD: Final = 16
"""Bytes before the header: the magic number and the header's length."""


def topic() -> tuple[bytes, ...]:
    """Examples of some days, of a model that spoke."""
    return tuple(spoken(record) for record in lessons(days=3.0)[:50])


def spoken(record: bytes) -> bytes:
    """The same examples, where something was said of each candidate."""
    examples = unpack(record)
    said = np.resize(np.array([0.06, 0.04, 0.03], dtype=np.float32), len(examples.said))
    return pack(replace(examples, said=said))


@cache
def snapshot() -> bytes:
    """A snapshot of a trainer that has learned something for both heads and still waits for answers."""
    return encode(taught(*topic()).checkpoint())


def header_of(content: bytes) -> dict[str, Any]:
    """A snapshot's header as plain values."""
    size = int.from_bytes(content[8:HEAD], "little")
    found: dict[str, Any] = msgspec.msgpack.decode(content[HEAD : HEAD + size])
    return found


def with_header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The snapshot with another header."""
    size = int.from_bytes(content[8:HEAD], "little")
    header = header_of(content)
    change(header)
    head = msgspec.msgpack.encode(header)
    return MAGIC + len(head).to_bytes(8, "little") + head + content[HEAD + size :]


def with_number(content: bytes, array: str, place: int, number: float) -> bytes:
    """The snapshot with another number in one of its arrays."""
    at = HEAD + int.from_bytes(content[8:HEAD], "little")
    for name, dtype, shape in header_of(content)["arrays"]:
        size = int(dtype[-1])
        if name == array:
            break
        at += size * int(np.prod(shape))
    at += size * place
    return content[:at] + struct.pack({8: "<d", 4: "<f"}[size], number) + content[at + size :]


def finite(model: Model) -> bool:
    """Whether all numbers of a model's heads are."""
    heads: list[Head] = [model.now, model.soon]
    regressions = [regression for head in heads for regression in (head.touched, head.foreseen)]
    return all(bool(np.isfinite(getattr(one, name)).all()) for one in regressions for name in ARRAYS)


def hash_of(content: bytes) -> str:
    """The content hash in a snapshot's name: blake2b-64, hex."""
    return blake2b(content, digest_size=8).hexdigest()


def test_round_trip_to_the_byte() -> None:
    """What is read back writes the same bytes, and so does what is read back from those."""
    found = decode(snapshot(), CORE)
    assert encode(found) == snapshot()
    assert found.model.now.positives > 50 and found.model.tables.transitions.size > 100
    assert found.model.soon.positives > 5 and len(found.later) > 50
    assert found.base_reading.next < found.reading.next == 50
    assert found.model.version == f"50-{hash_of(snapshot())}"


def test_without_what_waits() -> None:
    """Who does not go on learning gets all but the questions and alarms that wait."""
    content = snapshot()
    whole, found = decode(content, CORE), decode(content, CORE, waiting=False)
    assert (found.later, found.sounded) == ([], []) != (whole.later, whole.sounded)
    found.later, found.sounded = whole.later, whole.sounded
    assert encode(found) == content


def test_an_untaught_trainers_snapshot() -> None:
    """A trainer that has read nothing has a snapshot too, which can be asked."""
    found = decode(encode(Trainer(CORE, HORIZON).checkpoint()), CORE)
    assert not found.model.ready
    some = np.array([1, 2], dtype=np.uint64)
    vectors = np.zeros((len(CORE.features), 2), dtype=np.float32)
    assert np.isfinite(found.model.columns(vectors, some, some)).all()
    assert found.model.fallback(np.array([0, 64])).tolist() == [0.01, 0.01]


def test_the_model_says_the_same() -> None:
    """A model read back gives the same bytes for the same pairs, and foresees the same."""
    trainer = taught(*topic())
    one, other = trainer.model(), decode(snapshot(), CORE).model
    keys = one.tables.subjects.keys[: one.tables.subjects.size]
    vectors = np.random.default_rng(1).random((len(CORE.features), len(keys)), dtype=np.float32)
    ranks = np.arange(len(keys)) * 7
    p = [
        head.probability(model.columns(vectors, keys, keys[::-1].copy())[CORE.leading :], ranks).tobytes()
        for model in (one, other)
        for head in (model.now, model.soon)
    ]
    assert p[:2] == p[2:] and p[0] != p[1]
    assert [a.tobytes() for a in one.tables.likely_next(keys)] == [a.tobytes() for a in other.tables.likely_next(keys)]
    assert one.names == other.names
    for head, again in ((one.now, other.now), (one.soon, other.soon)):
        assert (head.touched.positives, head.foreseen.positives) == (again.touched.positives, again.foreseen.positives)
        assert (head.touched.negatives, head.foreseen.negatives) == (again.touched.negatives, again.foreseen.negatives)


def test_later_learning_leaves_it() -> None:
    """A checkpoint is independent of what its trainer learns later."""
    trainer = taught(*topic())
    checkpoint = trainer.checkpoint()
    taught(*lessons(days=3.0)[50:], trainer=trainer)
    assert encode(checkpoint) == snapshot()
    assert encode(trainer.checkpoint()) != snapshot()


# Refused


def refused(content: bytes, why: str, bundle: Bundle = CORE) -> None:
    """Assert that a snapshot is refused for a reason."""
    with pytest.raises(UnusableSnapshot, match=why):
        decode(content, bundle)


def test_not_a_snapshot() -> None:
    """Other files are recognised by their first bytes."""
    for content in (b"", b"MISNA", b"{}"):
        refused(content, "not a snapshot, this release reads MISNAP03")


def test_a_later_format() -> None:
    """A snapshot of a release to come is not guessed at, and the error says what to do."""
    refused(b"MISNAP04" + snapshot()[8:], "another format, this release reads MISNAP03: use the release that wrote it")


def test_an_earlier_format() -> None:
    """A snapshot of the release before is of other features: the error says to train anew."""
    for magic in (b"MISNAP01", b"MISNAP02"):
        refused(magic + snapshot()[8:], "an earlier release, whose features are others: train anew")


def test_nothing_in_it_runs() -> None:
    """A pickle is refused without being read, alone and behind our magic number."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("it ran",))

    bomb = pickle.dumps(Bomb())
    refused(bomb, "not a snapshot")
    refused(MAGIC + len(bomb).to_bytes(8, "little") + bomb, "damaged")
    refused(with_header(snapshot(), lambda h: h["arrays"][0].__setitem__(1, "|O")), "type")


@pytest.mark.parametrize("kept", [9, HEAD, HEAD + 50, -1, -8, -800])
def test_cut_short(kept: int) -> None:
    """A file that ends early is refused."""
    refused(snapshot()[:kept], "damaged|cut short")


def test_too_long() -> None:
    """So is one with more behind it."""
    refused(snapshot() + b"\0" * 8, "longer than its header")


def test_another_bundle() -> None:
    """A snapshot of other features must not score ours: refused by name and hash."""
    other = Bundle("core-4", CORE.features)
    refused(snapshot(), f"of bundle core-3 {CORE.hash}, not {other.hash}", other)
    refused(with_header(snapshot(), lambda h: h["features"].reverse()), "other features than its bundle")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "array",
    [
        *("now.touched.means", "now.foreseen.variances", "soon.touched.weights", "now.touched.precision"),
        *("now.totals", "base.moves", "now.ranks", "later.columns", "later.soon", "later.asked"),
        *("choice.weights", "choice.precision", "choice.squares"),
        *("curve.alarms", "curve.hits", "cooling.asked"),
        *("progress.totals", "progress.bins"),
    ],
)
def test_not_finite(array: str, number: float) -> None:
    """One number that is not finite would poison every score: refused, wherever it is."""
    refused(with_number(snapshot(), array, 3, number), "not finite")


@pytest.mark.parametrize("name", ["soon_share", "sums", "progress"])
def test_header_not_finite(name: str) -> None:
    """The header's numbers must be finite too."""
    change: Any = {
        "soon_share": float("nan"),
        "sums": [1.0, float("inf"), 1.0, 1.0],
        "progress": [5, -float("inf"), False, -1, 0],
    }[name]
    refused(with_header(snapshot(), lambda h: h.__setitem__(name, change)), "not finite")


def _reshape(name: str, shape: list[int]) -> Callable[[dict[str, Any]], object]:
    def change(header: dict[str, Any]) -> None:
        for array in header["arrays"]:
            if array[0] == name:
                array[2] = shape

    return change


def _shape(name: str) -> list[int]:
    return next(list(shape) for found, _, shape in header_of(snapshot())["arrays"] if found == name)


@pytest.mark.parametrize(
    "name",
    [
        *("now.totals", "base.successors", "now.moves", "base.ranks", "now.touched.means", "now.subjects"),
        *("later.asked", "later.columns", "later.ranks", "later.customers", "later.subjects", "later.soon"),
        *("choice.weights", "choice.squares", "now.companions", "base.companion_counts"),
        *("curve.alarms", "curve.hits", "cooling.asked", "cooling.customers", "cooling.subjects", "cooling.alarms"),
        *("progress.totals", "progress.bins"),
    ],
)
def test_shapes(name: str) -> None:
    """Arrays of the right size in the wrong shape are refused."""
    for shape in (_shape(name)[::-1] if len(_shape(name)) > 1 else [*_shape(name), 1], [1, 1, *_shape(name)]):
        refused(with_header(snapshot(), _reshape(name, shape)), "damaged")
    refused(with_header(snapshot(), _reshape(name, [-1, -_shape(name)[-1]])), "cut short|damaged|longer")
    refused(with_header(snapshot(), _reshape(name, [])), "damaged|longer")


@pytest.mark.parametrize(
    ("array", "number"),
    [("now.successors", 1e6), ("now.successors", -2.0), ("base.successors", 0.5), ("now.companions", 1e6)],
)
def test_successors_are_rows(array: str, number: float) -> None:
    """A successor that is no row of the table would be looked up elsewhere: refused."""
    refused(with_number(snapshot(), array, 0, number), "do not belong together")


FOUND: Final = -1.2950e308
"""A fuzzed count of the base tables: finite, but the views counted onto it had no logarithm, and the trainer ended."""


@pytest.mark.parametrize(
    ("array", "number"),
    [
        ("base.totals", FOUND),
        ("now.totals", -1.0),
        ("base.moves", 1e300),
        ("now.successor_counts", -1.0),
        ("base.ranks", -1.0),
        ("now.touched.means", -1e200),
        ("now.foreseen.weights", 1e16),
        ("soon.touched.variances", -1.0),
        ("soon.foreseen.variances", 1e46),
        ("now.touched.precision", 1e46),
        ("choice.squares", -1.0),
        ("choice.weights", 1e16),
        ("now.companion_counts", -1.0),
        ("later.asked", -1.0),
        ("curve.alarms", -1.0),
        ("curve.alarms", 1e16),
        ("cooling.asked", -1.0),
        ("later.ranks", -1.0),
        ("later.columns", 1e16),
    ],
)
def test_numbers_that_cannot_be(array: str, number: float) -> None:
    """A count or a sum of squares below zero, or a number so large that learning would overflow: refused."""
    refused(with_number(snapshot(), array, 0, number), "below zero, or a number too large")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sums", [1.0, 1.0, -1.0, 1.0]),
        ("sums", [1e16, 1.0, 1.0, 1.0]),
        ("labels", [2**63, *[1] * 7]),
        ("labels", [*[1] * 7, -1]),
        ("soon_share", -1.0),
    ],
)
def test_header_numbers_that_cannot_be(name: str, value: object) -> None:
    """So are those of the header."""
    refused(with_header(snapshot(), lambda h: h.__setitem__(name, value)), "below zero, or a number too large")


@pytest.mark.parametrize(
    ("array", "place", "number"),
    [
        ("now.touched.precision", 1, 3.0),  # no longer symmetric
        ("now.touched.precision", 0, -1.0),
        ("now.touched.precision", 0, 50.0),  # below what it began with
        ("soon.foreseen.calibration_precision", 0, 0.0),
        ("soon.foreseen.calibration_precision", 1, 1.0),
        ("choice.precision", 1, 3.0),
        ("choice.precision", 0, 0.5),
    ],
)
def test_precisions_that_cannot_be(array: str, place: int, number: float) -> None:
    """A precision that is no longer one, or less than a head begins with, would make the next step wild: refused."""
    refused(with_number(snapshot(), array, place, number), "do not belong together")


@pytest.mark.parametrize(("place", "number"), [(0, 0.5), (2, 0.5), (3, 7.0), (5, 400.0)])
def test_waiting_questions_that_cannot_be(place: int, number: float) -> None:
    """A question of half a millisecond, of a source that is not named, or of candidates that are another's: refused."""
    refused(with_number(snapshot(), "later.asked", place, number), "do not belong together")


@pytest.mark.parametrize(
    ("array", "place", "number"),
    [
        ("curve.hits", 3, 1e6),  # more right ones than alarms
        ("cooling.asked", 0, 0.5),
        ("cooling.asked", 1, 7.0),  # a source that is not named
        ("cooling.asked", 2, 400.0),  # alarms that are another's
        ("cooling.alarms", 0, -1.0),  # as bits: a threshold beyond the grid
    ],
)
def test_alarms_that_cannot_be(array: str, place: int, number: float) -> None:
    """More right alarms than alarms, and what cools down at no time, place or threshold that there is: refused."""
    refused(with_number(snapshot(), array, place, number), "do not belong together")


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (0, -2, "do not belong together"),
        (1, -1.0, "below zero"),
        (1, float("nan"), "not finite"),
        (2, 0.0, "do not belong together"),
        (2, 1.5, "do not belong together"),
    ],
)
def test_what_is_told_of_alarms_that_cannot_be(place: int, value: float, why: str) -> None:
    """A time before the first, less than no days of customers, a share of nobody or of more than all: refused."""
    refused(with_header(snapshot(), lambda h: h["alarms"].__setitem__(place, value)), why)


def test_more_alarms_than_ever_cool_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a trainer would keep are refused before they are built."""
    monkeypatch.setattr("intents.alarm_arrays.MOST", len(decode(snapshot(), CORE).sounded) - 1)
    refused(snapshot(), "do not belong together")


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_shares_that_cannot_be(share: float) -> None:
    """Nothing is left of a sample of nothing, and no sample is more than the whole."""
    refused(with_header(snapshot(), lambda h: h.__setitem__("soon_share", share)), "do not belong together")


def test_more_questions_than_ever_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """More waiting questions than a trainer would keep are refused before they are built."""
    monkeypatch.setattr("intents.snapshot_checks.MOST_SOON", len(decode(snapshot(), CORE).later) - 1)
    refused(snapshot(), "do not belong together")


@pytest.mark.parametrize(("reading", "offset"), [("reading", 2), ("base_reading", 51), ("base_reading", -1)])
def test_readings_that_cannot_be(reading: str, offset: int) -> None:
    """The tables' offset is not behind the model's, nor before the first: a trainer would skip records."""
    refused(with_header(snapshot(), lambda h: h[reading].__setitem__(0, offset)), "do not belong together")


@pytest.mark.parametrize(
    "array",
    [
        *("now.touched." + name for name in ARRAYS),
        "soon.foreseen.weights",
        "choice.weights",
        "choice.squares",
        "now.totals",
        "base.moves",
    ],
)
def test_the_largest_that_can_be(array: str) -> None:
    """From the largest numbers that are taken a trainer goes on, and leaves snapshots that are taken again."""
    found = decode(with_number(snapshot(), array, 0, LARGEST), CORE)
    trainer = taught(*lessons(days=3.0)[found.base_reading.next :], trainer=Trainer(CORE, HORIZON, found))
    assert trainer.now.positives > found.model.now.positives
    assert finite(trainer.model())
    if array not in ("now.totals", "base.moves"):  # of which one more is too many
        decode(encode(trainer.checkpoint()), CORE)


@pytest.mark.parametrize("name", ["subjects", "now.ranks", "variances", "later.asked"])
def test_missing_array(name: str) -> None:
    """A snapshot without one of its arrays is refused."""

    def rename(header: dict[str, Any]) -> None:
        for array in header["arrays"]:
            array[0] = array[0].replace(name, f"no{name}")

    refused(with_header(snapshot(), rename), "damaged")


def test_subject_twice() -> None:
    """Two rows of one subject would split its counts: refused."""
    refused(with_number(with_number(snapshot(), "now.subjects", 0, 1.0), "now.subjects", 1, 1.0), "belong together")


@settings(max_examples=150, derandomize=True, database=None)
@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    """Nothing but UnusableSnapshot comes of any bytes, behind our magic number too."""
    for found in (content, MAGIC + content, MAGIC + len(content).to_bytes(8, "little") + content):
        with pytest.raises(UnusableSnapshot):
            decode(found, CORE)


@settings(max_examples=300, derandomize=True, database=None)
@given(st.data())
def test_damaged_anywhere(data: st.DataObject) -> None:
    """A few changed bytes, most in the header, are refused, or leave a snapshot that can be used and written."""
    content = bytearray(snapshot())
    head = HEAD + int.from_bytes(content[8:HEAD], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        end = data.draw(st.sampled_from([HEAD, 600, head, len(content)]))
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(content), CORE)
    except UnusableSnapshot:
        return
    some = np.arange(1, 5, dtype=np.uint64)
    assert finite(found.model)
    found.model.tables.likely_next(some)
    assert len(encode(found)) > 0


@pytest.mark.parametrize(
    "duel",
    [
        *([-2, 0.0, False, -2, 0], [5, 0.0, False, 6, 1], [5, 0.0, False, -2, 1]),
        *([5, 0.0, False, 5, -1], [2**60, 0.0, True, -1, 0], [5, 0.0, True, -1, 2**60]),
    ],
)
def test_duels_that_cannot_be(duel: list[Any]) -> None:
    """A model cannot be behind since before time or after it, nor over fewer pairs than none, or than there can be."""
    refused(with_header(snapshot(), lambda h: h.__setitem__("progress", duel)), "do not belong together")


def test_how_good_it_was_is_kept() -> None:
    """Fading sums and the duel come back as they were, and the model with whether it loses."""
    progress = Progress(1_700_000_000_000, np.arange(5.0) / 3, np.arange(2.0 * BINS).reshape(2, BINS), -0.7, True, 9, 4)
    found = decode(encode(Checkpoint(Model.untrained(CORE), Reading(), Tables(), Reading(), progress=progress)), CORE)
    assert found.model.losing and not found.model.believed
    for name in ("clock", "behind", "losing", "since", "streak"):
        assert getattr(found.progress, name) == getattr(progress, name)
    assert found.progress.totals.tobytes() == progress.totals.tobytes()
    assert found.progress.bins.tobytes() == progress.bins.tobytes()
    assert not decode(encode(taught().checkpoint()), CORE).model.losing


def test_checkpoint_of_parts() -> None:
    """Names, and sources of any name, survive."""
    model = Model.untrained(CORE)
    model.names[2**64 - 1] = "Zoë's 🎈"
    source, at = ("a topic", 3), 1_700_000_000_000
    reading = Reading(9, {source: (2**40, 7)}, {source: at}, at + 2, {source: at + 1}, {source: (2**39, 6)})
    found = decode(encode(Checkpoint(model, reading, Tables(), Reading())), CORE)
    assert found.model.names == model.names
    assert found.reading == reading


def test_heads_are_kept_apart() -> None:
    """Each of the four regressions comes back as itself, with its own counts of labels, and the choice too."""
    model = Model.untrained(CORE)
    parts = (model.now.touched, model.now.foreseen, model.soon.touched, model.soon.foreseen)
    for n, part in enumerate(parts):
        part.weights += n
        part.means += 10 * n
        part.positives, part.negatives = n, 100 + n
    model.choice.weights += 5
    model.choice.lists = 7
    found = decode(encode(Checkpoint(model, Reading(), Tables(), Reading())), CORE).model
    assert (found.choice.lists, found.choice.weights.tolist()) == (7, [6.0] + [5.0] * 6)
    back = (found.now.touched, found.now.foreseen, found.soon.touched, found.soon.foreseen)
    for one, other in zip(parts, back, strict=True):
        assert (one.positives, one.negatives) == (other.positives, other.negatives)
        assert all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)
    assert back[2].precision[0, 0] == SOON_PRIOR


def test_what_waits_is_kept() -> None:
    """Questions that wait for a day come back with their answer so far, and the share of their sample."""
    trainer = taught(*topic())
    one, other = trainer.checkpoint(), decode(snapshot(), CORE)
    assert one.soon_share == other.soon_share
    for asked, again in zip(one.later, other.later, strict=True):
        assert (asked.time, asked.offset, asked.place, asked.source) == (
            *(again.time, again.offset, again.place, again.source),
        )
        assert (asked.customer, asked.weight, again.now_open, again.soon_open) == (
            *(again.customer, again.weight, False, True),
        )
        for name in ("subjects", "ranks", "columns", "soon"):
            assert getattr(asked, name).tobytes() == getattr(again, name).tobytes()
    assert any(question.soon.any() for question in other.later)


def test_snapshots_name_the_installed_river() -> None:
    """A snapshot names River's version, by which somebody may rebuild it: it is the installed one's."""
    assert version("river") == RIVER
