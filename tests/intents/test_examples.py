"""An examples record reads back as it was packed; whatever else is refused, and nothing of it runs."""

import pickle
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intents.examples import ASKED, OUTCOME, VERSION, Examples, NewerExamples, UnreadableExamples, pack, unpack


def examples(asks: int = 2, outcomes: int = 1) -> Examples:
    """Entries in which every number is another."""
    asked, outcome = np.zeros(asks, dtype=ASKED), np.zeros(outcomes, dtype=OUTCOME)
    for entries in (asked, outcome):
        for place, name in enumerate(("time", "offset", "customer", "subject", "product")):
            entries[name] = np.arange(len(entries)) + 1_000 * place + 7
    asked["viewed"], asked["touched"], asked["candidates"] = 1, 2, 3
    outcome["recent"] = 2
    return Examples(
        topic="clickstream",
        partition=3,
        watermark=1_700_000_000_000,
        bundle="0badcafe",
        share=0.5,
        names={b"12345678": "tea"},
        asked=asked,
        subjects=np.arange(3 * asks, dtype=np.uint64) + np.uint64(2**63),
        ranks=np.arange(3 * asks) % 3,
        vectors=np.arange(4 * 3 * asks, dtype=np.float32).reshape(4, 3 * asks) / np.float32(7),
        outcomes=outcome,
        recent=np.arange(2 * outcomes, dtype=np.uint64),
        choices=np.full(outcomes, 3),
        choice_subjects=np.arange(3 * outcomes, dtype=np.uint64),
        choice_vectors=np.arange(4 * 3 * outcomes, dtype=np.float32).reshape(4, 3 * outcomes) / np.float32(3),
        said=np.where(np.arange(3 * asks) % 5, np.linspace(0, 1, 3 * asks), np.nan).astype(np.float32),
        model="7-0badcafe",
    )


def of_version_1(record: bytes) -> bytes:
    """The record as the release before wrote it: without choices and what was said, an ask a byte shorter."""
    wire = msgspec.msgpack.decode(record)[:14]
    wire[0], size = 1, ASKED.itemsize
    wire[8] = b"".join(wire[8][at : at + size - 1] for at in range(0, len(wire[8]), size))
    return msgspec.msgpack.encode(wire)


def same(one: Examples, other: Examples) -> None:
    """Assert that all fields are equal, arrays to the bit and in their types."""
    for field in fields(Examples):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert a == b, field.name


@pytest.mark.parametrize(("asks", "outcomes"), [(2, 1), (0, 0), (300, 0), (0, 5)])
def test_round_trip(asks: int, outcomes: int) -> None:
    """What is unpacked is what was packed."""
    same(unpack(pack(examples(asks, outcomes))), examples(asks, outcomes))


def test_packed_from_any_layout() -> None:
    """Vectors in another memory layout, or cut out of larger ones, give the same bytes."""
    plain = examples()
    wide = np.zeros((4, 9), dtype=np.float32)
    wide[:, 2:8] = plain.vectors
    assert pack(replace(plain, vectors=np.asfortranarray(plain.vectors))) == pack(plain)
    assert pack(replace(plain, vectors=wide[:, 2:8])) == pack(plain)


def test_another_version() -> None:
    """A record of a release to come is not guessed at."""
    wire = msgspec.msgpack.decode(pack(examples()))
    wire[0] = VERSION + 1
    for later in (wire, [VERSION + 1], [VERSION + 1, {"all": "else"}]):  # whatever else it holds
        with pytest.raises(NewerExamples, match=f"version {VERSION + 1}, later than {VERSION}: upgrade the trainer"):
            unpack(msgspec.msgpack.encode(later))
    for none in ([], [0], ["1"], [None, *wire[1:]]):
        with pytest.raises(UnreadableExamples, match="not an examples record"):
            unpack(msgspec.msgpack.encode(none))


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": np.zeros(5, dtype=np.uint64)},
        {"ranks": np.zeros(5, dtype=np.int64)},
        {"recent": np.zeros(3, dtype=np.uint64)},
        {"vectors": np.full((4, 6), np.nan, dtype=np.float32)},
        {"vectors": np.full((4, 6), np.inf, dtype=np.float32)},
        {"share": 0.0},
        {"share": float("nan")},
        {"share": 2.0},
        {"share": 1e-300},  # counted for 1e300
        {"vectors": np.full((4, 6), 3e38, dtype=np.float32)},  # its square is infinite
        {"names": {b"short": "tea"}},
        {"said": np.zeros(5, dtype=np.float32)},
        {"said": np.full(6, 1.001, dtype=np.float32)},
        {"said": np.full(6, -0.001, dtype=np.float32)},
        {"said": np.full(6, np.inf, dtype=np.float32)},
        {"watermark": 2**43},  # later than any event
    ],
)
def test_columns_belong_together(changes: dict[str, Any]) -> None:
    """Columns of other lengths than the entries say, or numbers that would poison a model, are refused."""
    with pytest.raises(UnreadableExamples):
        unpack(pack(replace(examples(), **changes)))


def test_the_version_before() -> None:
    """A record of version 1 has no choices, and does not tell what was said, nor first questions of days."""
    whole = examples()
    whole.asked["first"] = 1
    found = unpack(of_version_1(pack(whole)))
    assert found.asked.tolist() == [(*entry[:-1], 0) for entry in whole.asked.tolist()]
    assert (found.model, found.said.shape, found.choices.tolist()) == ("none", (6,), [0])
    assert np.isnan(found.said).all() and found.vectors.tobytes() == examples().vectors.tobytes()


@pytest.mark.parametrize(
    ("name", "value"), [("viewed", 3), ("touched", 4), ("candidates", 2), ("first", 2), ("time", -1), ("time", 2**43)]
)
def test_entries_make_sense(name: str, value: int) -> None:
    """No more viewed than touched, no more touched than candidates, of which none is left over; first, and a time."""
    found = examples()
    found.asked[name][1] = value
    with pytest.raises(UnreadableExamples, match="do not belong together"):
        unpack(pack(found))


def test_nothing_in_it_runs() -> None:
    """A pickle is no examples record, and nothing of it is executed."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("it ran",))

    with pytest.raises(UnreadableExamples):
        unpack(pickle.dumps(Bomb()))


@settings(max_examples=200, derandomize=True, database=None)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    """Bytes that are no record are refused by the one error that a reader knows."""
    with pytest.raises(UnreadableExamples):
        unpack(content)


@settings(max_examples=300, derandomize=True, database=None)
@given(st.data())
def test_damaged(data: st.DataObject) -> None:
    """A damaged record is refused, or still one whose columns belong together; nothing else happens."""
    content = bytearray(pack(examples()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, 9]))
    try:
        found = unpack(bytes(content[: len(content) - cut]))
    except (UnreadableExamples, NewerExamples):
        return
    assert int(found.asked["candidates"].sum(dtype=np.int64)) == len(found.subjects) == found.vectors.shape[1]
