"""Judging a scores file against what the recording's customers did next, independently of the engine that wrote it."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from intents.answers import BadScores
from intents.evidence import HORIZON_MS, SKIPPED_SHARE, SOON_MS, THRESHOLD, Evidence, Fold, Outcomes, Pairs, Part
from intents.metrics import (
    Emission,
    Ints,
    Ranking,
    auc,
    average_precision,
    calibration_error,
    emission_of,
    ranking,
)
from intents.next_stages import LISTED, NextTask, next_task
from intents.occurrences import Occurrence, Questions
from intents.weighed import Detection, Emitted, Weighed, rank_shares

__all__ = [
    "SKIPPED_SHARE",
    "BadScores",
    "DetectTask",
    "Evaluation",
    "Occurrence",
    "RankTask",
    "evaluate",
    "judge_evidence",
    "weighed",
    "without_nan",
]


@dataclass(frozen=True, slots=True)
class RankTask:
    """Task *rank*: where its subject stood just before each cart_add and purchase; all, and by earlier touches.

    The `recall` of the two parts is that of the candidates: touched ones, and never touched ones.
    """

    all: Ranking
    touched_before: Ranking
    never_touched: Ranking


@dataclass(frozen=True, slots=True)
class DetectTask:
    """Task *detect*: after each view, for each of the six subjects touched last, an outcome in (t, t + horizon] or not.

    Over the last 80 % of the pairs, which `pairs` counts; `calibration_error` over 15 equal-width bins of p, NaN for a
    rule, which has no probabilities.
    """

    pairs: int
    base_rate: float
    auc: float
    average_precision: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a scores file is worth, beside the rule *most recently touched first* on the same questions.

    Rank's rule goes by the order of touches, detect's by the time since the touch (stronger than by the place in that
    order), next's by how many customers touched a subject. `soon` is detect for the longer horizon, None where no line
    has it; `soon_open_pairs` are left out of it, and of its rule, because their horizon ends after the recording.
    `missing_*` count questions that the recording asks and the scores lack (they count as misses, and as p = 0),
    `unknown_lines` those about events that are not in the recording, `disordered_lines` those not in descending order
    of p. `customers` are those that are judged.
    """

    events: int
    customers: int
    rank: RankTask
    rank_rule: RankTask
    next: NextTask
    next_rule: NextTask
    detect: DetectTask
    detect_rule: DetectTask
    soon: DetectTask | None
    soon_rule: DetectTask
    soon_open_pairs: int
    emission: Emission
    missing_rank_lines: int
    missing_detect_lines: int
    missing_soon_lines: int
    unknown_lines: int
    disordered_lines: int
    not_ready_lines: int

    def to_dict(self) -> dict[str, object]:
        """Nested plain values for JSON; what cannot be said (NaN) is None."""
        return without_nan(asdict(self))

    def rows(self) -> list[tuple[str, float, float]]:
        """Return (what, model, rule) in the order in which people read them; NaN where one has no such number."""
        tasks: list[tuple[str, object, object]] = [
            (f"rank, {name}", getattr(self.rank, name), getattr(self.rank_rule, name))
            for name in ("all", "touched_before", "never_touched")
        ]
        tasks += [("next", self.next, self.next_rule), ("detect", self.detect, self.detect_rule)]
        tasks += [("soon", self.soon, self.soon_rule)] if self.soon else []
        rows: list[tuple[str, float, float]] = []
        for task, mine, rule in [*tasks, ("emission", self.emission, None)]:
            ruled = asdict(rule) if rule else {}  # type: ignore[call-overload]  # each is one of the dataclasses
            said = asdict(mine)  # type: ignore[call-overload]
            rows += [(f"{task}: {what}", float(said[what]), float(ruled.get(what, math.nan))) for what in said]
        return rows


def evaluate(
    scores_lines: Iterable[bytes],
    events: Iterable[Occurrence],
    *,
    horizon_ms: int = HORIZON_MS,
    soon_ms: int = SOON_MS,
    threshold: float = THRESHOLD,
    fold: Fold | None = None,
) -> Evaluation:
    """Judge the lines of a scores file against the events of its recording, both in file order.

    A pair is positive if its customer has a cart_add or purchase of its subject with a time in (t, t + horizon]. Alarms
    sound at p ≥ threshold for any candidate, with a cool-down of one horizon, ended by an outcome; those count that
    sound after the skipped share of the pairs. Only the customers of `fold` are judged. Raises BadScores.
    """
    evidence = Evidence(scores_lines, Questions(events), horizon_ms=horizon_ms, soon_ms=soon_ms, fold=fold)
    return judge_evidence(evidence, evidence.part(evidence.sounding(threshold)))


def judge_evidence(evidence: Evidence, part: Part) -> Evaluation:
    """Judge the evidence, whose judged part this is."""
    said, outcomes = evidence.said, part.outcomes
    new = outcomes.rule_ranks == 0
    judged_pairs = len(part.now.labels)
    return Evaluation(
        events=evidence.asked.events,
        customers=int(evidence.judged.sum()),
        rank=_rank_task(outcomes.ranks, outcomes),
        rank_rule=_rank_task(outcomes.rule_ranks, outcomes),
        next=next_task(outcomes.next_ranks[new]),
        next_rule=next_task(outcomes.popular_ranks[new]),
        detect=_detect_task(part.now, rule=False),
        detect_rule=_detect_task(part.now, rule=True),
        soon=_detect_task(part.soon, rule=False) if said.has_soon else None,
        soon_rule=_detect_task(part.soon, rule=True),
        soon_open_pairs=judged_pairs - len(part.soon.labels),
        emission=emission_of(part.worth()),
        missing_rank_lines=said.missing_rank,
        missing_detect_lines=said.missing_detect,
        missing_soon_lines=said.missing_soon,
        unknown_lines=said.unknown,
        disordered_lines=said.disordered,
        not_ready_lines=said.not_ready,
    )


def _rank_task(ranks: Ints, outcomes: Outcomes) -> RankTask:
    touched = outcomes.rule_ranks > 0
    return RankTask(ranking(ranks), ranking(ranks[touched]), ranking(ranks[~touched]))


def _detect_task(pairs: Pairs, *, rule: bool) -> DetectTask:
    labels, scores = pairs.labels, pairs.rule if rule else pairs.scores
    base_rate = float(labels.mean()) if len(labels) else float("nan")
    error = float("nan") if rule else calibration_error(labels, scores)
    return DetectTask(len(labels), base_rate, auc(labels, scores), average_precision(labels, scores), error)


def weighed(evidence: Evidence, part: Part) -> tuple[dict[str, Weighed], dict[str, Weighed]]:
    """(of the model, of the rule) every number of the evaluation but the counts, by the tasks' names in its rows."""
    population, outcomes = len(evidence.judged), part.outcomes
    mine: dict[str, Weighed] = {}
    rule: dict[str, Weighed] = {}
    touched = outcomes.rule_ranks > 0
    for name, rows in (("all", touched | True), ("touched_before", touched), ("never_touched", ~touched)):
        for told, ranks in ((mine, outcomes.ranks), (rule, outcomes.rule_ranks)):
            told[f"rank, {name}"] = rank_shares(outcomes.customers[rows], ranks[rows], population, hits=(1, 3, 5))
    for told, ranks in ((mine, outcomes.next_ranks), (rule, outcomes.popular_ranks)):
        new, hits = ~touched, (1, 5, 10, 30)
        told["next"] = rank_shares(outcomes.customers[new], ranks[new], population, hits=hits, listed=LISTED)
    for name, pairs in (("detect", part.now), ("soon", part.soon)):
        if name == "detect" or evidence.said.has_soon:
            mine[name] = Detection(pairs.customers, pairs.labels, pairs.scores, population)
            rule[name] = Detection(pairs.customers, pairs.labels, pairs.rule, population, calibrated=False)
    mine["emission"] = Emitted(part.alarms.customers, part.wanted.customers, part.worth(), population)
    return mine, rule


def without_nan(values: dict[str, object]) -> dict[str, object]:
    """The same nested values for JSON, None in place of NaN."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return without_nan(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
