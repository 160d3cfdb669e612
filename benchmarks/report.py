"""The measured part of docs/performance.md, and its plot: `python -m benchmarks.report` from build/bench.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.part import Part, Spread

PAGE: Final = Path("docs/performance.md")
PLOT: Final = Path("docs/plots/whole-job.svg")
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
_STYLE: Final[dict[Any, Any]] = {"svg.hashsalt": "micro-intents", "svg.fonttype": "none", "font.size": 9.0}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _row(name: str, spread: Spread, of: float) -> str:
    ratio = f"{spread.median / of:.0%}" if of else ""
    between = f"{_number(spread.lowest)}–{_number(spread.highest)}" if spread.runs > 1 else ""
    return f"| {name} | {_number(spread.median)} | {between} | {spread.runs} | {ratio} |"


def table(part: Part) -> str:
    """A part's table in Markdown, each value also as a share of the first."""
    first = next(iter(part.values.values())).median if part.unit else 0.0
    head = [f"### {part.name[0].upper()}{part.name[1:]}", "", f"`{part.command}`: {'; '.join(part.notes)}", ""]
    head += [f"| | {part.unit or 'median'} | lowest–highest | runs | of the first |", "|---|---|---|---|---|"]
    return "\n".join(head + [_row(name, spread, first) for name, spread in part.values.items()])


def write(parts: Sequence[Part]) -> None:
    """Put the tables between the page's marks, and draw the whole job's plot."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    tables = "\n\n".join(table(part) for part in parts)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    whole = [part for part in parts if part.name == "whole job, cpu"]
    if whole:
        draw(whole[0], PLOT)


def draw(part: Part, path: Path) -> None:
    """Bars of a part's medians, from lowest to highest, on a logarithmic axis."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 0.5 * len(part.values) + 0.8), layout="constrained")
        axes = figure.subplots()
        names = list(part.values)[::-1]
        spreads = [part.values[name] for name in names]
        errors = [[s.median - s.lowest for s in spreads], [s.highest - s.median for s in spreads]]
        colours = ["#D55E00" if name == next(iter(part.values)) else "#0072B2" for name in names]
        axes.barh(names, [s.median for s in spreads], xerr=errors, color=colours, capsize=2)
        axes.set_xscale("log")
        axes.set_xlabel(f"{part.unit} of CPU, one core")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    write([Part.read(line) for line in Path("build/bench.jsonl").read_text().splitlines()])
