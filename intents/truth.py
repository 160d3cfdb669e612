"""Judging published intents against a simulated recording's truth: what its customers really wanted, and when."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from intents.metrics import Bools, Ints, cooled_down, next_time, within
from intents.occurrences import Occurrence, Questions, columns

_SCATTER: Final = 2_654_435_761
"""Knuth's multiplier: row numbers times it, modulo 2**32, are in no particular order, always the same."""


class TrueSpan(NamedTuple):
    """A customer truly wants a subject in [from, until) (UTC ms); `stage` is 1-based within the journey."""

    customer_id: str
    intent: str
    journey: str
    stage: int
    from_ms: int
    until_ms: int


class BadTruth(ValueError):
    """Raised for a line that is no line of a truth file."""


class _Line(msgspec.Struct):
    """A line of a truth file: one span."""

    customer_id: str
    intent: str
    journey: str
    stage: int
    from_ms: int = msgspec.field(name="from")
    until_ms: int = msgspec.field(name="until")


def to_line(span: TrueSpan) -> bytes:
    """Return the span as a line of a truth file."""
    return msgspec.json.encode(_Line(*span))


def from_line(line: bytes) -> TrueSpan:
    """Read a line of a truth file; raises BadTruth."""
    try:
        return TrueSpan(*msgspec.structs.astuple(msgspec.json.decode(line, type=_Line)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        raise BadTruth(f"not a line of a truth file: {refused}") from refused


@dataclass(frozen=True, slots=True)
class Judgement:
    """What alarms are worth against the truth; NaN where nothing can be said.

    An alarm at t is right if its customer truly wants its subject at some time in (t, t + horizon], or carts or buys it
    then. `precision`: share of right alarms; `followed`: of alarms with a cart_add or purchase in (t, t + horizon];
    `recall`: share of true spans with an alarm at t in [from - horizon, until); `foreseen`: share of the spans of later
    stages with an alarm in [from - horizon, from), before anything of that want could be seen; `median_lead_s`: from an
    alarm to the first outcome, of those that were followed.
    """

    alarms: int
    precision: float
    followed: float
    recall: float
    foreseen: float
    median_lead_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Published intents beside the rule *most recently touched first* at the same recall."""

    spans: int
    model: Judgement
    rule: Judgement

    def rows(self) -> list[tuple[str, float, float]]:
        """Return (what, model, rule) in the order in which people read them."""
        rule = asdict(self.rule)
        return [(what, float(mine), float(rule[what])) for what, mine in asdict(self.model).items()]


def judge(
    intents: Iterable[Mapping[str, object]],
    spans: Sequence[TrueSpan],
    events: Iterable[Occurrence],
    *,
    horizon_ms: int = 30 * 60_000,
) -> Comparison:
    """Judge the `detected` of `intents` (values of the intents topic, each intent_id once), and the rule beside them.

    The rule sounds after a view, for one of the six subjects touched last, with the same cool-down of one horizon,
    ended by an outcome. It prefers the more recent subject and, of two as recent (every viewed subject is the most
    recent of its customer), the one whose touch before was closer; ties are broken by chance (repeatably), so that a
    part of them can sound; its bound is the strictest that reaches the model's recall.
    """
    asked = Questions(events)
    detected = {each["intent_id"]: each for each in intents if each["status"] == "detected"}
    told = [
        (asked.key(str(each["customer_id"]), str(each["intent"])), int(str(each["detected_at"])))
        for each in detected.values()
    ]
    truth = _Truth(spans, asked, horizon_ms)
    keys, times = columns(told, 2)
    model = truth.judge(keys, times)
    wanted = _caught(truth, keys, times).sum()
    return Comparison(len(spans), model, truth.judge(*_rule(asked, truth, int(wanted))))


class _Truth:
    """True spans in columns, and what happened, to judge alarms by."""

    def __init__(self, spans: Sequence[TrueSpan], asked: Questions, horizon_ms: int) -> None:
        rows = [(asked.key(span.customer_id, span.intent), span.from_ms, span.until_ms, span.stage) for span in spans]
        self.keys, self.from_ms, self.until_ms, self.stages = columns(rows, 4)
        self.outcome_keys, self.outcome_ms = asked.outcome_keys, asked.outcome_ms
        self.horizon_ms = horizon_ms
        self._by_key: dict[int, list[int]] = {}
        for row, key in enumerate(self.keys.tolist()):
            self._by_key.setdefault(key, []).append(row)

    def meetings(self, keys: Ints, times: Ints) -> tuple[Ints, Ints]:
        """(alarm, span) of every alarm at t in [from - horizon, until) of a span of its customer and subject."""
        met = [
            (alarm, span)
            for alarm, (key, time) in enumerate(zip(keys.tolist(), times.tolist(), strict=True))
            for span in self._by_key.get(key, ())
            if self.from_ms[span] - self.horizon_ms <= time < self.until_ms[span]
        ]
        alarms, spans = columns(met, 2)
        return alarms, spans

    def judge(self, keys: Ints, times: Ints) -> Judgement:
        """Judge alarms."""
        alarms, spans = self.meetings(keys, times)
        first = next_time(keys, times, self.outcome_keys, self.outcome_ms)
        followed = within(first, times, self.horizon_ms)
        right = followed.copy()
        right[alarms] = True
        early = np.zeros(len(self.keys), bool)
        early[spans[times[alarms] < self.from_ms[spans]]] = True
        lead = (first - times)[followed]
        return Judgement(
            alarms=len(keys),
            precision=_share(right),
            followed=_share(followed),
            recall=_share(_caught(self, keys, times)),
            foreseen=_share(early[self.stages > 1]),
            median_lead_s=float(np.median(lead)) / 1000 if len(lead) else float("nan"),
        )


def _caught(truth: _Truth, keys: Ints, times: Ints) -> Bools:
    caught = np.zeros(len(truth.keys), bool)
    caught[truth.meetings(keys, times)[1]] = True
    return caught


def _rule(asked: Questions, truth: _Truth, wanted: int) -> tuple[Ints, Ints]:
    """The rule's alarms (keys, times) under the strictest bound that catches `wanted` spans, or its loosest."""
    keys, times = asked.pair_keys, asked.pair_ms
    chance = np.arange(len(keys)) * _SCATTER % 2**32
    first = next_time(keys, times, asked.outcome_keys, asked.outcome_ms)
    preferred = np.lexsort((chance, asked.pair_gaps, asked.pair_places))

    def sounding(bound: int) -> Ints:
        rows = np.sort(preferred[:bound])
        return rows[cooled_down(keys[rows], times[rows], first[rows], truth.horizon_ms)]

    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        rows = sounding(middle)
        if _caught(truth, keys[rows], times[rows]).sum() >= wanted:
            high = middle
        else:
            low = middle + 1
    rows = sounding(low)
    return keys[rows], times[rows]


def _share(marks: Bools) -> float:
    return float(marks.mean()) if len(marks) else float("nan")
