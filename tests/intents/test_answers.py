"""A scores file is read as it is written: old files, files with the later fields, and long lists."""

import json
from typing import Any

import numpy as np
import pytest

from intents.answers import Answers, BadScores
from intents.occurrences import Occurrence, Questions

EVENTS = [
    Occurrence("c", "view", 0, ("tents",), "e0"),
    Occurrence("c", "view", 1_000, ("mugs",), "e1"),
    Occurrence("c", "cart_add", 2_000, ("bags",), "e2"),
]


def read(*lines: dict[str, Any], judged: bool = True) -> Answers:
    """What these lines say to EVENTS."""
    return Answers([json.dumps(line).encode() for line in lines], Questions(EVENTS), np.array([judged]))


def detect(event: int, scores: list[Any], **more: Any) -> dict[str, Any]:
    """A detect line."""
    return {"ask": "detect", "customer_id": "c", "time": event, "event_id": f"e{event}", "scores": scores, **more}


def rank(names: list[str], **more: Any) -> dict[str, Any]:
    """A rank line of the cart_add."""
    scores = [[name, 1 - n / 100] for n, name in enumerate(names)]
    return {"ask": "rank", "customer_id": "c", "time": 2, "event_id": "e2", "intent": "bags", "scores": scores, **more}


def test_soon_is_read_beside_scores() -> None:
    """A p for each horizon by pair, whatever the order; 0 for a pair that only the other list has."""
    said = read(detect(1, [["mugs", 0.2], ["tents", 0.1]], soon=[["tents", 0.6], ["hats", 0.5]]))
    assert (said.pair_scores.tolist(), said.pair_soon.tolist()) == ([0.0, 0.2, 0.1], [0.0, 0.0, 0.6])
    assert said.has_soon and said.missing_soon == 1


def test_old_files_have_no_soon() -> None:
    """Without the field nothing is missing: such a model does not foresee a day."""
    said = read(detect(0, [["tents", 0.2]]), detect(1, [["mugs", 0.2]]))
    assert not said.has_soon and said.missing_soon == 0 and said.pair_soon.tolist() == [0.0, 0.0, 0.0]
    assert read(detect(0, []), detect(1, [], soon=[])).missing_soon == 1


def test_candidates_are_kept_for_alarms() -> None:
    """Each candidate of a detect line with its p, the view's row and whether the model was ready."""
    said = read(detect(1, [["mugs", 0.2], ["hats", 0.1]], ready=False), detect(0, [["tents", 0.3]]))
    assert (said.p.tolist(), said.rows.tolist()) == ([0.2, 0.1, 0.3], [1, 1, 0])
    assert said.ready.tolist() == [False, False, True]


def test_next_rank_passes_touched_candidates_over() -> None:
    """The rank among never-touched candidates counts only those before it that were never touched."""
    said = read(rank(["tents", "hats", "mugs", "bags"]))
    assert (said.ranks.tolist(), said.next_ranks.tolist()) == ([4], [2])
    assert read(rank(["tents", "hats"])).next_ranks.tolist() == [0]


def test_lists_of_any_length_are_read() -> None:
    """64 touched and 30 never-touched candidates are one list."""
    said = read(rank([*(f"n{n}" for n in range(93)), "bags"]))
    assert said.ranks.tolist() == said.next_ranks.tolist() == [94]


def test_customers_that_are_not_judged_are_passed_over() -> None:
    """Their lines are neither answers nor unknown, and their questions are not missed."""
    said = read(detect(0, [["tents", 0.2], ["x", 0.3]], ready=False), rank(["bags"]), judged=False)
    assert (said.pair_scores.tolist(), said.ranks.tolist(), len(said.p)) == ([0.0] * 3, [0], 0)
    assert (said.unknown, said.not_ready, said.disordered, said.missing_detect, said.missing_rank) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (detect(0, [], soon=[["tents", 1.5]]), r"outside \[0, 1\]"),
        (detect(0, [], soon=[["tents", 0.5], ["tents", 0.4]]), "twice"),
        (detect(0, [], soon=[["tents"]]), "length"),
        (rank(["bags"], soon=[["bags", 0.5]]), "only a detect line"),
    ],
)
def test_a_broken_soon_is_refused(line: dict[str, Any], reason: str) -> None:
    """The later field is held to the rules of the first."""
    with pytest.raises(BadScores, match=f"line 1 .*{reason}"):
        read(line)
