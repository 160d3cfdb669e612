"""Numbers under weights of customers are those of the same rows written down that many times."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intents.metrics import Worth, auc, average_precision, calibration_error, emission_of, ranking
from intents.weighed import Detection, Emitted, Ratio, Shares, rank_shares
from tests.intents.naive_evaluation import same

CUSTOMERS = 4
WEIGHTS = st.lists(st.integers(0, 3), min_size=CUSTOMERS, max_size=CUSTOMERS)
OWNER = st.integers(0, CUSTOMERS - 1)
# Few distinct scores, so that ties are many.
PAIRS = st.lists(st.tuples(OWNER, st.booleans(), st.integers(0, 8).map(lambda k: k / 8)), max_size=40)


def column(values: Sequence[float], kind: type = np.int64) -> np.ndarray:
    """A column."""
    return np.array(values, kind)


@given(PAIRS, WEIGHTS)
def test_detection_counts_rows_as_often_as_their_customer(
    rows: list[tuple[int, bool, float]], weights: list[int]
) -> None:
    """Base rate, AUC, average precision and calibration error equal those of repeated rows."""
    customers = column([row[0] for row in rows])
    labels, scores = column([row[1] for row in rows], bool), column([row[2] for row in rows], float)
    found = Detection(customers, labels, scores, CUSTOMERS).under(np.array(weights, float)).tolist()
    times = column(weights)[customers]
    labels, scores = labels.repeat(times), scores.repeat(times)
    base_rate = labels.mean() if len(labels) else np.nan
    wanted = [base_rate, auc(labels, scores), average_precision(labels, scores), calibration_error(labels, scores)]
    assert all(same(one, float(other)) for one, other in zip(found, wanted, strict=True))


@given(st.lists(st.tuples(OWNER, st.integers(0, 7)), max_size=40), WEIGHTS)
def test_ranks_count_as_often_as_their_customer(rows: list[tuple[int, int]], weights: list[int]) -> None:
    """Hits, mean reciprocal rank and recall equal those of repeated ranks."""
    customers, ranks = column([row[0] for row in rows]), column([row[1] for row in rows])
    found = rank_shares(customers, ranks, CUSTOMERS, hits=(1, 3, 5)).under(np.array(weights, float)).tolist()
    wanted = ranking(ranks.repeat(column(weights)[customers]))
    told = [wanted.hit_1, wanted.hit_3, wanted.hit_5, wanted.mrr, wanted.recall]
    assert all(same(one, other) for one, other in zip(found, told, strict=True))


def test_ranks_beyond_the_list_miss() -> None:
    """With a list of 5, rank 6 is a miss in every number."""
    shares = rank_shares(column([0, 0]), column([2, 6]), 1, hits=(1, 5, 10), listed=5)
    assert dict(zip(shares.names, shares.under(np.ones(1)).tolist(), strict=True)) == {
        "hit_1": 0.0,
        "hit_5": 0.5,
        "hit_10": 0.5,
        "mrr": 0.25,
        "recall": 0.5,
    }


@given(
    st.lists(st.tuples(OWNER, st.booleans(), st.integers(1, 9)), max_size=30),
    st.lists(st.tuples(OWNER, st.booleans()), max_size=30),
    WEIGHTS,
)
def test_alarms_count_as_often_as_their_customer(
    alarms: list[tuple[int, bool, int]], outcomes: list[tuple[int, bool]], weights: list[int]
) -> None:
    """Precision, recall, both F1 and the median lead equal those of repeated alarms and outcomes."""
    owners, wanted_by = column([row[0] for row in alarms]), column([row[0] for row in outcomes])
    right, lead = column([row[1] for row in alarms], bool), column([row[2] * 1000 for row in alarms])
    caught = right & (lead > 3_000)
    warned = column([row[1] for row in outcomes], bool)
    emitted = Emitted(owners, wanted_by, Worth(right, caught, lead, warned), CUSTOMERS)
    found = emitted.under(np.array(weights, float)).tolist()
    times, wanted_times = column(weights)[owners], column(weights)[wanted_by]
    repeated = Worth(right.repeat(times), caught.repeat(times), lead.repeat(times), warned.repeat(wanted_times))
    told = emission_of(repeated)
    wanted = [told.precision, told.recall, told.f1, told.median_lead_s, told.f1_once]
    assert all(same(one, other) for one, other in zip(found, wanted, strict=True))


def test_shares_and_ratios() -> None:
    """A weighed mean of rows, and a sum over a sum; NaN without anything below."""
    shares = Shares(("first", "second"), column([0, 0, 1]), np.array([[1.0, 4.0], [3.0, 4.0], [8.0, 0.0]]), 2)
    assert shares.under(np.array([1.0, 2.0])).tolist() == [(1 + 3 + 2 * 8) / 4, 8 / 4]
    assert np.isnan(shares.under(np.zeros(2))).all()
    ratio = Ratio("alarms a day", column([6, 1]), column([2, 0]))
    assert ratio.under(np.array([1.0, 4.0])).tolist() == [5.0]
    assert np.isnan(ratio.under(np.array([0.0, 4.0]))).all()
