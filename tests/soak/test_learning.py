"""What records of the examples topic tell, and which labels they lead to."""

import numpy as np

from intents.examples import ASKED, OUTCOME, Examples, pack
from tests.soak.learning import Entry, entries_of, labels_due


def record(watermark: int, asked: list[tuple[int, int, int]], outcomes: list[tuple[int, int]], partition: int) -> bytes:
    """A record of questions of two candidates each (time, offset, index) and outcomes (offset, index)."""
    questions, bought = np.zeros(len(asked), dtype=ASKED), np.zeros(len(outcomes), dtype=OUTCOME)
    questions["candidates"] = questions["touched"] = 2
    for name, column in zip(("time", "offset", "index"), zip(*asked, strict=True), strict=False):
        questions[name] = column
    for name, column in zip(("offset", "index"), zip(*outcomes, strict=True), strict=False):
        bought[name] = column
    subjects, vectors = np.arange(2 * len(asked), dtype=np.uint64), np.zeros((1, 2 * len(asked)), dtype=np.float32)
    ranks = np.zeros(2 * len(asked), dtype=np.int64)
    none = np.zeros(0, dtype=np.uint64)
    choices = (np.zeros(len(outcomes), dtype=np.int64), none, vectors[:, :0])
    columns = (questions, subjects, ranks, vectors, bought, none, *choices, np.full(len(ranks), np.nan))
    return pack(Examples("c", partition, watermark, "b", 1.0, {}, *columns, "none"))


def test_what_records_tell() -> None:
    """Each question and outcome by its place, however often it is told."""
    one = record(5, [(1, 10, 0), (2, 11, 3)], [(11, 1), (11, 1)], 2)
    other = record(9, [(2, 11, 3)], [], 4)
    first = {Entry("asked", 2, 10, 0), Entry("asked", 2, 11, 3), Entry("outcome", 2, 11, 1)}
    assert entries_of([one, one]) == first
    assert entries_of([one, other]) == first | {Entry("asked", 4, 11, 3)}
    assert entries_of([record(9, [], [], 0)]) == set()


def test_labels_that_are_due() -> None:
    """One for each candidate of a question whose horizon its own partition has passed; told twice, it counts once."""
    one = record(5, [(1, 10, 0), (2, 11, 0)], [], 2)
    assert labels_due([one, one], 4) == 0
    assert labels_due([one, one], 3) == 2
    assert labels_due([one, record(99, [], [], 3)], 4) == 0
    assert labels_due([one, record(99, [], [], 2)], 4) == 4
