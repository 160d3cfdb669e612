"""What cannot be asked of any store: keys that would collide, commits that would fail half-way."""

from dataclasses import replace
from typing import Any

import pytest

from features.store import Commit, PartitionKey
from tests.features.driven_store import first


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        ({"names": {b"seven..": "x"}}, "8 bytes"),
        ({"names": {b"": "x"}}, "8 bytes"),
        ({"deadlines": {"anna": 2**53 + 1}}, "milliseconds"),
        ({"deadlines": {"anna": None, "ben": -(2**60)}}, "milliseconds"),
    ],
)
def test_unfit_commit(effects: dict[str, Any], words: str) -> None:
    """What a store could refuse only after it began to write cannot be made into a commit."""
    with pytest.raises(ValueError, match=words):
        first(**effects)


def test_commit_without_a_token() -> None:
    """A commit needs a claim's token: the empty one would equal that of a partition nobody claimed."""
    with pytest.raises(ValueError, match="token"):
        replace(first(), token="")


@pytest.mark.parametrize(
    ("states", "deadlines", "kept", "gone"),
    [
        ({"anna": b"1"}, {"anna": 5}, {"anna": 5}, []),
        ({"anna": b"1"}, {}, {}, []),
        ({"anna": b"1"}, {"anna": None}, {}, ["anna"]),
        ({"anna": None}, {}, {}, ["anna"]),
        ({"anna": None}, {"anna": None}, {}, ["anna"]),
        ({"anna": None}, {"anna": 0}, {"anna": 0}, []),
    ],
)
def test_deadline_changes(
    states: dict[str, bytes | None], deadlines: dict[str, int | None], kept: dict[str, int], gone: list[str]
) -> None:
    """An erased customer leaves no deadline behind that would be due for ever, unless one is asked for."""
    assert Commit("mine", 0, 0, 1, 1, states, deadlines).deadline_changes() == (kept, gone)


@pytest.mark.parametrize("name", ["", "a:b", "{a", "a}", "a b", "a*", "ä"])
def test_key_of_odd_names(name: str) -> None:
    """A namespace or topic that would let partitions share keys, or scatter one over slots, is refused."""
    for odd in ((name, "clickstream"), ("test", name)):
        with pytest.raises(ValueError, match="letters"):
            PartitionKey(*odd, 0)


def test_prefix() -> None:
    """Keys begin with namespace, topic and partition in braces, then the layout's version."""
    assert PartitionKey("default", "click-stream.v2", 7).prefix == "mi:{default:click-stream.v2:7}:v1:"
