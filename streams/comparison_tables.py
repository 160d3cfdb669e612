"""Tables of what was compared with a first one over the same resamples of customers, at most 100 columns wide."""

import math
from collections.abc import Mapping
from typing import Final

from rich.table import Table
from rich.text import Text

from intents.bootstrap import Compared, Difference, Number
from streams.commands.console import cells, table

WIDTH: Final = 100
DETECT: Final[Mapping[Number, str]] = {
    ("detect", "auc"): "AUC",
    ("detect", "average_precision"): "AP",
    ("detect", "calibration_error"): "ECE",
}
RANK: Final[Mapping[Number, str]] = {("rank", "hit_1"): "hit@1", ("rank", "mrr"): "MRR"}
"""Numbers that are shown, with their columns' titles."""


def comparison(
    title: str, whole: Compared, others: Mapping[str, Compared], shown: Mapping[Number, str] = DETECT
) -> Table:
    """The `shown` numbers of the first and of the others, by name; Δ: how these differ from it, with 95 % intervals."""
    made = table(title, *shown.values(), *(f"Δ {name}" for name in shown.values()))
    made.add_row(*cells("whole", *(_number(whole.numbers[number]) for number in shown), *("" for _ in shown)))
    made.add_section()
    for name, each in others.items():
        differences = (_difference(each.differences[number]) for number in shown)
        made.add_row(*cells(name, *(_number(each.numbers[number]) for number in shown), *differences))
    return made


def _difference(difference: Difference) -> Text:
    """The difference, bold if 0 is outside of its interval, and the interval below it."""
    if math.isnan(difference.difference):
        return Text("–")
    span = difference.interval
    said = Text(_signed(difference.difference), "bold" if difference.beyond_chance else "")
    return Text.assemble(said, "\n", (f"{_signed(span.low_95)} … {_signed(span.high_95)}", "dim"))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("0.", ".", 1)
