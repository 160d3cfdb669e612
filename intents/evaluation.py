"""Judging a scores file against what the recording's customers did next, independently of the engine that wrote it."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal

import msgspec
import numpy as np

from intents.metrics import (
    Bools,
    Emission,
    Floats,
    Ints,
    Ranking,
    auc,
    average_precision,
    calibration_error,
    cooled_down,
    emission,
    next_time,
    ranking,
    within,
)
from intents.occurrences import Occurrence, Questions, columns

__all__ = ["BadScores", "DetectTask", "Evaluation", "Occurrence", "RankTask", "evaluate"]

HORIZON_MS: Final = 30 * 60_000
THRESHOLD: Final = 0.15
SKIPPED_SHARE: Final = 0.2
"""Share of the pairs, the first ones, that a model may learn from before it is judged."""


class BadScores(ValueError):
    """Raised for a line of a scores file that breaks the format or contradicts the recording; names the line."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} of the scores: {reason}")


class _Line(msgspec.Struct):
    """One line of a scores file."""

    ask: Literal["rank", "detect"]
    customer_id: str
    time: int
    event_id: str
    scores: list[tuple[str, float]]
    intent: str | None = None
    ready: bool = True


@dataclass(frozen=True, slots=True)
class RankTask:
    """Task *rank*: where its subject stood just before each cart_add and purchase; all, and by earlier touches."""

    all: Ranking
    touched_before: Ranking
    never_touched: Ranking


@dataclass(frozen=True, slots=True)
class DetectTask:
    """Task *detect*: after each view, for each of the six subjects touched last, an outcome in (t, t + 30 min] or not.

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
    order). `missing_*` count questions that the recording asks and the scores lack (they count as misses, and as
    p = 0), `unknown_lines` those about events that are not in the recording, `disordered_lines` those not in descending
    order of p.
    """

    events: int
    rank: RankTask
    rank_rule: RankTask
    detect: DetectTask
    detect_rule: DetectTask
    emission: Emission
    missing_rank_lines: int
    missing_detect_lines: int
    unknown_lines: int
    disordered_lines: int
    not_ready_lines: int

    def to_dict(self) -> dict[str, object]:
        """Nested plain values for JSON; what cannot be said (NaN) is None."""
        return _without_nan(asdict(self))

    def rows(self) -> list[tuple[str, float, float]]:
        """Return (what, model, rule) in the order in which people read them; NaN where the rule has no such number."""
        rows: list[tuple[str, float, float]] = []
        for name in ("all", "touched_before", "never_touched"):
            mine, rule = asdict(getattr(self.rank, name)), asdict(getattr(self.rank_rule, name))
            rows += [(f"rank, {name}: {what}", float(mine[what]), float(rule[what])) for what in mine]
        mine, rule = asdict(self.detect), asdict(self.detect_rule)
        rows += [(f"detect: {what}", float(mine[what]), float(rule[what])) for what in mine]
        rows += [(f"emission: {what}", float(value), float("nan")) for what, value in asdict(self.emission).items()]
        return rows


def evaluate(
    scores_lines: Iterable[bytes],
    events: Iterable[Occurrence],
    *,
    horizon_ms: int = HORIZON_MS,
    threshold: float = THRESHOLD,
) -> Evaluation:
    """Judge the lines of a scores file against the events of its recording, both in file order.

    A pair is positive if its customer has a cart_add or purchase of its subject with a time in (t, t + horizon]. Alarms
    sound at p ≥ threshold for any candidate, with a cool-down of one horizon, ended by an outcome; those count that
    sound after the skipped share of the pairs. Raises BadScores.
    """
    asked = Questions(events)
    said = _Answers(scores_lines, asked, threshold)
    first_outcome = next_time(asked.pair_keys, asked.pair_ms, asked.outcome_keys, asked.outcome_ms)
    labels = within(first_outcome, asked.pair_ms, horizon_ms)
    start = int(len(labels) * SKIPPED_SHARE)
    scored = slice(start, None)
    return Evaluation(
        events=asked.events,
        rank=_rank_task(said.ranks, asked.rule_ranks),
        rank_rule=_rank_task(asked.rule_ranks, asked.rule_ranks),
        detect=_detect_task(labels[scored], said.pair_scores[scored], calibrated=True),
        detect_rule=_detect_task(labels[scored], -asked.pair_ages[scored].astype(float), calibrated=False),
        emission=_emission(said, asked, int(asked.pair_rows[start]) if len(labels) else 0, horizon_ms),
        missing_rank_lines=said.missing_rank,
        missing_detect_lines=said.missing_detect,
        unknown_lines=said.unknown,
        disordered_lines=said.disordered,
        not_ready_lines=said.not_ready,
    )


class _Answers:
    """What the scores say to those questions: a p for each pair, a rank for each outcome, and candidates for alarms."""

    def __init__(self, lines: Iterable[bytes], asked: Questions, threshold: float) -> None:
        self.pair_scores: Floats = np.zeros(len(asked.pair_keys))
        self.ranks: Ints = np.zeros(len(asked.rule_ranks), np.int64)
        self.unknown = self.disordered = self.not_ready = 0
        self._asked, self._threshold = asked, threshold
        self._alarms: list[tuple[int, ...]] = []
        decoder = msgspec.json.Decoder(_Line)
        answered: set[tuple[str, str | None]] = set()
        for number, text in enumerate(lines, 1):
            line = _checked(decoder, text, number)
            if (line.event_id, line.intent) in answered:
                raise BadScores(number, f"a second answer for event {line.event_id!r}")
            descending = [p for _, p in line.scores]
            self.disordered += descending != sorted(descending, reverse=True)
            self.not_ready += not line.ready
            known = self._detect(line, number) if line.ask == "detect" else self._rank(line)
            self.unknown += not known
            if known:
                answered.add((line.event_id, line.intent))
        self.missing_detect = sum(view.pairs > 0 and (name, None) not in answered for name, view in asked.views.items())
        self.missing_rank = len(asked.outcomes) - sum(intent is not None for _, intent in answered)
        self.alarm_keys, self.alarm_ms, self.alarm_rows = columns(self._alarms, 3)

    def _rank(self, line: _Line) -> bool:
        place = self._asked.outcomes.get((line.event_id, line.intent or ""))
        if place is None:
            return False
        self.ranks[place] = next((rank for rank, (name, _) in enumerate(line.scores, 1) if name == line.intent), 0)
        return True

    def _detect(self, line: _Line, number: int) -> bool:
        view = self._asked.views.get(line.event_id)
        if view is None:
            return False
        row, customer, start, count = view
        if customer != line.customer_id:
            raise BadScores(number, f"event {line.event_id!r} is customer {customer!r}'s, not {line.customer_id!r}'s")
        said = {self._asked.key(customer, name): p for name, p in line.scores}
        keys = self._asked.pair_keys[start : start + count].tolist()
        self.pair_scores[start : start + count] = [said.get(key, 0.0) for key in keys]
        if line.ready:
            self._alarms += [(key, line.time, row) for key, p in said.items() if p >= self._threshold]
        return True


def _checked(decoder: msgspec.json.Decoder[_Line], text: bytes, number: int) -> _Line:
    try:
        line = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        raise BadScores(number, str(refused)) from refused
    if (line.ask == "rank") != (line.intent is not None):
        raise BadScores(number, "a rank line names its intent, a detect line has none")
    if any(not 0 <= p <= 1 for _, p in line.scores):
        raise BadScores(number, "a p outside [0, 1]")
    if len({name for name, _ in line.scores}) < len(line.scores):
        raise BadScores(number, "a candidate is there twice")
    return line


def _rank_task(ranks: Ints, rule_ranks: Ints) -> RankTask:
    touched = rule_ranks > 0
    return RankTask(ranking(ranks), ranking(ranks[touched]), ranking(ranks[~touched]))


def _detect_task(labels: Bools, scores: Floats, *, calibrated: bool) -> DetectTask:
    base_rate = float(labels.mean()) if len(labels) else float("nan")
    error = calibration_error(labels, scores) if calibrated else float("nan")
    return DetectTask(len(labels), base_rate, auc(labels, scores), average_precision(labels, scores), error)


def _emission(said: _Answers, asked: Questions, from_row: int, horizon_ms: int) -> Emission:
    first = next_time(said.alarm_keys, said.alarm_ms, asked.outcome_keys, asked.outcome_ms)
    sounds = cooled_down(said.alarm_keys, said.alarm_ms, first, horizon_ms) & (said.alarm_rows >= from_row)
    return emission(
        said.alarm_keys[sounds],
        said.alarm_ms[sounds],
        asked.outcome_keys,
        asked.outcome_ms,
        asked.outcome_rows >= from_row,
        horizon_ms,
    )


def _without_nan(values: dict[str, object]) -> dict[str, object]:
    return {
        name: _without_nan(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and math.isnan(value) else value)
        for name, value in values.items()
    }
