"""Learners beside a trainer are asked and judged as it is, and one that lacks columns knows nothing of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from features.bundle import F32
from features.core_bundle import CORE
from features.log import I64, Bool
from intents.ablation import ALONE, CHOICE_GROUPS, MODEL, WITHOUT, ablation, groups
from intents.bootstrap import compare
from intents.choice import COLUMNS, Choice
from intents.comparison import WHOLE, HashedFold, LearnerComparison, Measurements
from intents.counts import F64
from intents.evidence import SKIPPED_SHARE, Fold
from intents.head import Head
from intents.lessons import Lesson, Pairs
from intents.metrics import auc, average_precision, calibration_error, ranking
from intents.model import NOW_INTERCEPT, regressed_names
from intents.subjects import customer_hash
from intents.tables import MODEL_FEATURES
from tests.intents.watching import RECORDS, Written, watched

GROUPS = groups(CORE)
NAMES = regressed_names(CORE)
WIDE = len(NAMES)
Change = Callable[[F32], F32]


class ByHand:
    """A head of all columns that sees them changed, asked one question after another; what it said, and the answers."""

    def __init__(self, head: Head, change: Change) -> None:
        self.head, self.change = head, change
        self.said: dict[tuple[int, int], F64] = {}
        self.labels: dict[tuple[int, int], Bool] = {}

    def step(self, step: Pairs | Lesson) -> None:
        """One step of the recording."""
        if isinstance(step, Lesson):
            pairs = step.pairs
            self.head.learn(self.change(pairs.columns), pairs.ranks, step.labels, step.weights)
            at = 0
            for question in pairs.questions:
                end = at + len(question.subjects)
                self.labels[question.offset, question.place] = step.labels[at:end]
                at = end
            return
        for question in step.questions:
            said = self.head.probability(self.change(question.columns), question.ranks)
            self.said[question.offset, question.place] = said[question.ranks < 6]
            self.labels.setdefault((question.offset, question.place), np.zeros(0, bool))

    def rows(self, written: Written) -> tuple[F64, Bool]:
        """(said, labels) of all that is judged: answered, and after the first fifth."""
        said: list[float] = []
        labels: list[float] = []
        for step in written.of("now"):
            for question in step.questions if isinstance(step, Pairs) else ():
                answer = self.labels[question.offset, question.place]
                if len(answer):
                    said += self.said[question.offset, question.place].tolist()
                    labels += answer[question.ranks < 6].tolist()
        start = int(len(said) * SKIPPED_SHARE)
        return np.array(said[start:]), np.array(labels[start:], bool)


def zeroed(columns: I64) -> Change:
    """These columns as 0, which is another way of leaving them out."""

    def change(found: F32) -> F32:
        out = found.copy()
        out[columns] = 0.0
        return out

    return change


def told(written: Written) -> LearnerComparison:
    """The ablation after everything that was written down."""
    beside = ablation(CORE)
    written.tell(beside)
    return beside


@pytest.fixture(scope="module")
def beside() -> LearnerComparison:
    """The ablation beside the made-up recording's trainer."""
    return told(watched()[1])


def numbers(judged: Measurements) -> dict[str, dict[str, float]]:
    """Of each learner, its numbers by name."""
    ones = judged.customers.astype(float)
    return {each.name: {what: value for (_, what), value in each.numbers(ones).items()} for each in judged.measured}


def test_groups_share_the_columns_out() -> None:
    """Each column is in one group; the last is of the model's tables, and that of the choice is not among them."""
    assert sorted(np.concatenate(list(GROUPS.values())).tolist()) == list(range(WIDE))
    assert list(GROUPS)[-1] == MODEL and "choice" not in GROUPS and len(GROUPS) == 7
    assert [NAMES[n] for n in GROUPS["actions"]] == ["cart_10m", "carted", "outcomes"]
    assert tuple(NAMES[n] for n in GROUPS[MODEL]) == MODEL_FEATURES
    assert sorted(name for those in CHOICE_GROUPS.values() for name in those) == sorted(COLUMNS)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        (WITHOUT + "recency", GROUPS["recency"]),
        (WITHOUT + MODEL, GROUPS[MODEL]),
        (ALONE + "activity", np.setdiff1d(np.arange(WIDE), GROUPS["activity"])),
        (WHOLE, np.zeros(0, dtype=np.int64)),
    ],
)
def test_numbers_are_those_of_a_head_learned_by_hand(beside: LearnerComparison, name: str, lacking: I64) -> None:
    """One head, its lacking columns set to 0, asked question by question, and judged by the plain metrics."""
    written = watched()[1]
    by_hand = ByHand(Head.empty(WIDE, NOW_INTERCEPT), zeroed(lacking))
    for step in written.of("now"):
        by_hand.step(step)
    said, labels = by_hand.rows(written)
    found = numbers(beside.heads["now"].judged(HashedFold()))[name]
    wanted = (labels.mean(), auc(labels, said), average_precision(labels, said), calibration_error(labels, said))
    assert labels.sum() > 100
    assert tuple(found.values()) == pytest.approx(wanted, rel=1e-6)


def test_what_is_taken_out_cannot_be_seen(beside: LearnerComparison) -> None:
    """With other numbers in a group's columns the learners that have them move, and no others."""
    random = np.random.default_rng(1)
    group = GROUPS["items"]

    def spoiled(pairs: Pairs) -> Pairs:
        columns = pairs.columns.copy()
        columns[group] = random.normal(size=(len(group), columns.shape[1])).astype(np.float32)
        return replace(pairs, columns=columns)

    other = Written()
    for head, step in watched()[1].steps:
        other.steps.append(
            (head, spoiled(step) if isinstance(step, Pairs) else replace(step, pairs=spoiled(step.pairs)))
        )
    before, after = (numbers(each.heads["now"].judged(HashedFold())) for each in (beside, told(other)))
    same = {name for name, found in before.items() if found == after[name]}
    blind = {WITHOUT + "items", *(ALONE + name for name in GROUPS if name != "items")}
    assert same == {WHOLE, *blind}  # the whole's word is the trainer's, as it was written down


def test_each_group_is_worth_something_alone(beside: LearnerComparison) -> None:
    """Alone every group does better than chance at finding what comes, and worse than the whole."""
    found = numbers(beside.heads["now"].judged(HashedFold()))
    assert all(0.5 < found[ALONE + name]["auc"] < found[WHOLE]["auc"] for name in GROUPS)


def test_choices_without_columns_are_choices_by_hand(beside: LearnerComparison) -> None:
    """Hit@1 and MRR of the plain metrics, for a choice that learns and sees 0 in place of these columns."""
    found = numbers(beside.choice.judged(HashedFold()))
    for name, columns in (("", ()), *CHOICE_GROUPS.items()):
        choice, ranks = Choice.empty(), []
        for pick in watched()[1].picks:
            seen = pick.columns * np.array([column not in columns for column in COLUMNS])[:, None]
            score = choice.score(seen).tolist()
            best = sorted(range(len(score)), key=lambda n: (-score[n], n))
            ranks.append(best.index(pick.chosen) + 1)
            choice.learn(seen, pick.chosen)
        wanted = ranking(np.array(ranks))
        summary_table = found[WITHOUT + name if name else WHOLE]
        assert (summary_table["hit_1"], summary_table["mrr"]) == pytest.approx((wanted.hit_1, wanted.mrr))
    assert len({each["mrr"] for each in found.values()}) > 3


def test_folds_share_the_customers_out(beside: LearnerComparison) -> None:
    """By the folds of `evaluate`, though only hashes are known."""
    names, key = sorted({name.decode() for name, _ in RECORDS}), b"micro-intents"
    whole, *halves = (
        beside.heads["now"].judged(HashedFold(fold, names, key)) for fold in (None, Fold(1, 2), Fold(2, 2))
    )
    assert whole.customers.all()
    assert (halves[0].customers ^ halves[1].customers).all() and halves[0].customers.any()
    pairs = [each.measured[0].counts["pairs"] for each in (whole, *halves)]
    assert pairs[0] == pairs[1] + pairs[2] > pairs[1] > 0
    hashes = np.array([customer_hash(name, key) for name in names], dtype=np.uint64)
    marked = HashedFold(Fold(1, 2), names, key).marks(hashes)
    assert marked.tolist() == [Fold(1, 2).holds(name) for name in names]


def test_differences_are_to_the_whole(beside: LearnerComparison) -> None:
    """Each less the first, over the same resamples: the first's own are 0, a worthless learner's beyond chance."""
    judged = beside.heads["now"].judged(HashedFold())
    first, *others = compare(judged.measured, judged.customers, 40)
    assert all(each.difference == 0 == each.interval.high_95 for each in first.differences.values())
    found = {each.measured.name: each for each in others}[ALONE + "actions"]
    number = ("detect", "auc")
    assert found.differences[number].difference == pytest.approx(found.numbers[number] - first.numbers[number])
    assert found.differences[number].beyond_chance and found.differences[number].interval.high_95 < 0
    assert found.to_dict()["less_the_first"]["detect"]["auc"]["excludes_0"]  # type: ignore[index]


def test_nothing_to_judge_by() -> None:
    """Without an answer nothing is measured, and nobody is judged."""
    empty = ablation(CORE)
    assert not empty.heads["now"].judged(HashedFold()).measured and not empty.choice.judged(HashedFold()).measured
    written = Written(watched()[1].steps[:2])
    assert all(isinstance(step, Pairs) for _, step in written.steps)
    assert not told(written).heads["now"].judged(HashedFold()).measured
