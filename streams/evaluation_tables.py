"""Tables of an assessment for people, at most 100 columns wide."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.table import Table
from rich.text import Text

from intents.assessment import Assessment, Certainty
from intents.bootstrap import Difference, Interval, Measured, Number
from intents.evaluation import Evaluation
from streams.commands.console import cells, table

WIDTH: Final = 100
Shown = Iterator[Table | Text]
_SHOWN_THRESHOLDS: Final = (
    "0.02",
    "0.03",
    "0.05",
    "0.07",
    "0.10",
    "0.12",
    "0.15",
    "0.20",
    "0.25",
    "0.30",
    "0.40",
    "0.50",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WORTH: Final = ("precision", "recall", "f1", "f1_once")
_MANY: Final = 12
"""Thresholds of intents that are listed."""


def main(found: Assessment, sure: Certainty | None) -> Table:
    """Every number of the evaluation beside the rule's, with intervals where they were asked for."""
    if sure is None:
        shown = table("", "model", "rule: latest touched")
    else:
        shown = table("", "model", "90 %", "95 %", "rule", "95 %")
    task = ""
    for what, model, rule in found.evaluation.rows():
        number: Number = (what.split(": ")[0], what.split(": ")[1])
        if task and number[0] != task:
            shown.add_section()
        task = number[0]
        row = [what.replace("_", " "), _number(model), _number(rule)]
        if sure is not None:
            mine, its = sure.intervals["model", "model"].get(number), sure.intervals["rule", "rule"].get(number)
            row = [row[0], row[1], _span(mine, 90), _span(mine, 95), row[2], _span(its, 95)]
        shown.add_row(*cells(*row))
    return shown


def notes(told: Evaluation) -> Iterator[Text]:
    """What a reader should know of the two files, in sentences."""
    for count, said in (
        (told.missing_rank_lines, "carts and purchases have no line in the scores (counted as misses)"),
        (told.missing_detect_lines, "views have no line in the scores (counted as p = 0)"),
        (told.missing_soon_lines, "views have no p for the next 24 hours (counted as 0)"),
        (told.unknown_lines, "lines of the scores are about events that are not there"),
        (told.disordered_lines, "lines are not in descending order of p"),
        (told.not_ready_lines, "lines were written before the model was ready"),
        (
            told.soon_open_pairs if told.soon else 0,
            "pairs are left out of soon: their 24 hours end after the recording",
        ),
    ):
        if count:
            yield Text(f"{count:,} {said}")


def days(found: Assessment, sure: Certainty | None) -> Shown:
    """Each UTC day, from the first pair on: what was said that day, judged by what came of it."""
    yield from _parts(found, sure, "days", "UTC day")


def groups(found: Assessment, sure: Certainty | None) -> Shown:
    """The groups of the judged part."""
    yield from _parts(found, sure, "groups", "group")


def _parts(found: Assessment, sure: Certainty | None, section: str, title: str) -> Shown:
    told = found.numbers(section)
    for task, name in (("detect", "now"), ("soon", "soon (24 h)")):
        if task == "soon" and found.evaluation.soon is None:
            continue
        shown = table(f"{title}: {name}", "pairs", "base rate", "AUC", "rule", "AP", "rule", "ECE")
        rule = f"{task}_rule"
        wanted = [(task, "base_rate"), (task, "auc"), (rule, "auc"), (task, "average_precision")]
        wanted += [(rule, "average_precision"), (task, "calibration_error")]
        for each, numbers in told:
            pairs = each.counts["pairs" if task == "detect" else "soon_pairs"]
            if pairs:
                spans = sure.intervals[section, each.name] if sure else None
                shown.add_row(*cells(each.name, f"{pairs:,}"), *(_cell(numbers, spans, one) for one in wanted))
        yield shown
    shown = table(title, "alarms", "precision", "outcomes", "recall", "f1 once", "ranked", "hit 1", "rule")
    for each, numbers in told:
        spans = sure.intervals[section, each.name] if sure else None
        shown.add_row(
            *cells(each.name, f"{each.counts['alarms']:,}"),
            _cell(numbers, spans, ("emission", "precision")),
            *cells(f"{each.counts['wanted']:,}"),
            _cell(numbers, spans, ("emission", "recall")),
            _cell(numbers, spans, ("emission", "f1_once")),
            *cells(f"{each.counts['outcomes']:,}"),
            _cell(numbers, spans, ("rank", "hit_1")),
            _cell(numbers, spans, ("rank_rule", "hit_1")),
        )
    yield shown
    if sure:
        yield Text("±: half of the 95 % interval")


def thresholds(found: Assessment, sure: Certainty | None) -> Shown:
    """What alarms at some of the thresholds are worth; --json has all of them."""
    chosen = [told for told in found.numbers("thresholds") if told[0].name in _SHOWN_THRESHOLDS]
    yield _alarms("threshold", chosen, sure, "thresholds")


def targets(found: Assessment, sure: Certainty | None) -> Shown:
    """What the thresholds that were chosen day by day achieved, beside the fixed one; and what they were."""
    yield _alarms("threshold", found.numbers("alarms"), sure, "alarms")
    for each in found.chosen:
        by_day = ", ".join(
            f"{_EPOCH + timedelta(milliseconds=begins):%m-%d} {'–' if math.isnan(bound) else format(bound, '.2f')}"
            for begins, bound in each.by_day[-14:]
        )
        yield Text(f"{each.target}: {by_day} (–: the fixed one)")
        named = ", ".join(f"{name} {bound:.2f}" for name, _, bound in each.by_intent[:_MANY])
        more = len(each.by_intent) - _MANY
        if named:
            yield Text(f"by intent, the last day: {named}{f' and {more:,} more' if more > 0 else ''}")

    if sure and found.chosen:
        yield _less("thresholds by intent less one for all", sure.by_intent)


def _alarms(
    title: str, told: Sequence[tuple[Measured, dict[Number, float]]], sure: Certainty | None, section: str
) -> Table:
    shown = table(title, "alarms", "a day", "precision", "recall", "f1", "f1 once", "lead, s")
    for each, numbers in told:
        spans = sure.intervals[section, each.name] if sure else None
        shown.add_row(
            *cells(each.name, f"{each.counts['alarms']:,}"),
            _cell(numbers, spans, ("rate", "alarms_per_customer_day")),
            *(_cell(numbers, spans, ("emission", name)) for name in _WORTH),
            _cell(numbers, spans, ("emission", "median_lead_s"), digits=0),
        )
    return shown


def against(found: Assessment, sure: Certainty) -> Shown:
    """Each number less the other file's, and at which level the difference excludes 0."""
    shown = table("", "this", "against", "difference", "95 %", "excludes 0 ")
    differences = sure.differences["model", "model"]
    task = ""
    for what, _, _ in found.evaluation.rows():
        each = differences.get((what.split(": ")[0], what.split(": ")[1]))
        if each is not None:
            if task and what.split(": ")[0] != task:
                shown.add_section()
            task = what.split(": ")[0]
            said = (_number(each.one), _number(each.other), f"{each.difference:+.4f}", _range(each.interval))
            shown.add_row(*cells(what.replace("_", " "), *said, _excludes(each)))
    yield shown
    if found.chosen:
        told = {name: numbers for (section, name), numbers in sure.differences.items() if section == "alarms"}
        yield _less("alarms: this less against", told)


def _less(title: str, told: Mapping[str, Mapping[Number, Difference]]) -> Table:
    """Differences of alarms, each with the half of its 95 % interval."""
    shown = table(title, "a day", "precision", "recall", "f1", "f1 once", "excludes 0 ")
    for name, numbers in told.items():
        values = {number: each.difference for number, each in numbers.items()}
        spans = {number: each.interval for number, each in numbers.items()}
        what = [("rate", "alarms_per_customer_day"), *(("emission", one) for one in _WORTH)]
        shown.add_row(
            *cells(name),
            *(_cell(values, spans, number, sign="+") for number in what),
            *cells(f"f1 once: {_excludes(numbers['emission', 'f1_once'])}"),
        )
    return shown


def _excludes(difference: Difference) -> str:
    span = difference.interval
    if span.excludes_zero:
        return "at 95 %"
    return "at 90 %" if span.low_90 > 0 or span.high_90 < 0 else "no"


def _cell(
    numbers: Mapping[Number, float],
    spans: Mapping[Number, Interval] | None,
    number: Number,
    *,
    digits: int = 4,
    sign: str = "",
) -> Text:
    """A number, and below it how far the 95 % interval reaches on either side, on average."""
    value = numbers.get(number, math.nan)
    said = "–" if math.isnan(value) else f"{value:{sign},.{digits}f}"
    if spans is None or math.isnan(value):
        return Text(said)
    half = (spans[number].high_95 - spans[number].low_95) / 2
    return Text.assemble(said, "\n", ("–" if math.isnan(half) else f"±{half:.{digits}f}", "dim"))


def _span(found: Interval | None, level: int) -> str:
    if found is None or math.isnan(found.low_95):
        return ""
    low, high = (found.low_90, found.high_90) if level == 90 else (found.low_95, found.high_95)
    if max(abs(low), abs(high)) > 1:
        return f"{low:,.0f}–{high:,.0f}"
    return f"{_short(low)}–{_short(high)}"


def _range(found: Interval) -> str:
    return "" if math.isnan(found.low_95) else f"{found.low_95:+.4f} … {found.high_95:+.4f}"


def _short(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.4f}"
