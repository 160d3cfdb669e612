"""Plots of an assessment as SVG, the same bytes for the same numbers; matplotlib is needed, which is an extra."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from intents.assessment import Assessment
from intents.bootstrap import Measured, Number

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "micro-intents",  # else ids differ from run to run
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
}
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
"""Okabe and Ito's colours: told apart by colour-blind people too; line styles differ besides."""
_FEW: Final = 30
"""Shares of fewer pairs or alarms say little."""
_LABELLED: Final = ("0.05", "0.10", "0.15", "0.20", "0.25", "0.30", "0.40")

Told = Sequence[tuple[Measured, Mapping[Number, float]]]


def draw(found: Assessment, folder: Path) -> Iterator[Path]:
    """Draw calibration, thresholds and days into a folder that is there; yields each file once it is written."""
    with mpl.rc_context(_STYLE):
        for name, figure in (("calibration", _calibration), ("thresholds", _thresholds), ("days", _days)):
            path = folder / f"{name}.svg"
            figure(found).savefig(path, format="svg", metadata={"Date": None, "Creator": None})
            yield path


def _calibration(found: Assessment) -> Figure:
    """What was said beside what came of it, above how often it was said."""
    figure = Figure(figsize=(4.5 * len(found.calibration), 5.2))
    axes = figure.subplots(2, len(found.calibration), squeeze=False, sharex="col", height_ratios=(3, 1))
    for column, (name, bins) in enumerate(found.calibration.items()):
        top, bottom = axes[0][column], axes[1][column]
        task = found.evaluation.detect if name == "now" else found.evaluation.soon
        error = f", ECE {task.calibration_error:.4f}" if task else ""
        reach = max([0.1, *(max(each.mean_p, each.rate) for each in bins)]) * 1.05
        top.set_title(f"{'within the horizon' if name == 'now' else 'within 24 hours'}{error}", loc="left")
        top.plot([0, reach], [0, reach], color=_GREY, linewidth=1)
        top.annotate("as said", (reach, reach), ha="right", va="bottom", color=_GREY, rotation=0)
        # A share of few pairs says little: bars of one standard error, sqrt(rate (1 - rate) / pairs).
        errors = [math.sqrt(each.rate * (1 - each.rate) / each.pairs) for each in bins]
        xs, ys = [each.mean_p for each in bins], [each.rate for each in bins]
        top.errorbar(xs, ys, errors, fmt="-", color=_BLUE, capsize=2)
        for each in bins:
            top.plot(each.mean_p, each.rate, "o", color=_BLUE, markerfacecolor=_BLUE if each.pairs >= _FEW else "white")
        if any(each.pairs < _FEW for each in bins):
            top.annotate(f"hollow: under {_FEW} pairs", (0.02, 0.96), xycoords="axes fraction", color=_BLUE, va="top")
        top.set(ylabel="share with a cart or purchase", xlim=(0, reach), ylim=(0, reach))
        bottom.bar(xs, [each.pairs for each in bins], width=reach / 40, color=_BLUE)
        bottom.set(xlabel="mean p of the pairs in a bin", ylabel="pairs", yscale="log")
        for each in bins:
            bottom.annotate(
                _count(each.pairs), (each.mean_p, each.pairs), ha="center", va="bottom", fontsize=7, rotation=90
            )
        bottom.set_ylim(0.5, 60 * max([1, *(each.pairs for each in bins)]))
        for axis in (top.xaxis, top.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _thresholds(found: Assessment) -> Figure:
    """Precision against recall, and both with the lead over the thresholds; chosen thresholds as marks."""
    figure = Figure(figsize=(10, 5.2))
    grid = figure.add_gridspec(2, 2, height_ratios=(2, 1))
    curve, shares = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
    leads = figure.add_subplot(grid[1, 1], sharex=shares)
    told = [(each, numbers) for each, numbers in found.numbers("thresholds") if each.counts["alarms"] >= _FEW]
    recall, precision = _line(told, "recall"), _line(told, "precision")
    curve.plot(recall, precision, color=_BLUE)
    curve.set_title("alarms by threshold (diamonds: thresholds by intent)", loc="left")
    curve.set(
        xlabel="recall: outcomes with an alarm before them", ylabel="precision: alarms with an outcome after them"
    )
    for (each, _), x, y in zip(told, recall, precision, strict=True):
        if each.name in _LABELLED:
            curve.plot(x, y, "o", color=_BLUE, markersize=4)
            curve.annotate(each.name, (x, y), xytext=(5, 3), textcoords="offset points", color=_BLUE)
    for each, numbers in found.numbers("alarms"):
        x, y, by_intent = (
            numbers["emission", "recall"],
            numbers["emission", "precision"],
            each.name.endswith("by intent"),
        )
        curve.plot(x, y, "D" if by_intent else "s", color=_ORANGE, markersize=5)
        if not by_intent and not math.isnan(x + y):
            curve.annotate(
                each.name, (x, y), xytext=(-6, -4), textcoords="offset points", color=_ORANGE, ha="right", va="top"
            )
    bounds = [float(each.name) for each, _ in told]
    _labelled(shares, bounds, _line(told, "precision"), "precision", _BLUE, "-")
    _labelled(shares, bounds, recall, "recall", _ORANGE, "--", at=3)
    _labelled(shares, bounds, _line(told, "f1_once"), "F1, an alarm once", _GREEN, "-.", at=len(told) * 2 // 5)
    shares.set_title("over the threshold", loc="left")
    _labelled(leads, bounds, [each / 60 for each in _line(told, "median_lead_s")], "median lead", _GREY, "-")
    leads.set(xlabel="threshold", ylabel="minutes")
    leads.set_ylim(bottom=0)
    for axis in (curve.xaxis, curve.yaxis, shares.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _days(found: Assessment) -> Figure:
    """Each number by UTC day, of the model and of the rule, now and soon."""
    figure = Figure(figsize=(10, 6.5))
    told = found.numbers("days")
    lines = [("detect", "model", _BLUE, "-"), ("detect_rule", "rule", _GREY, ":")]
    if found.evaluation.soon is not None:
        lines += [("soon", "model, 24 h", _ORANGE, "--"), ("soon_rule", "rule, 24 h", _GREEN, "-.")]
    days = [each.name[5:] for each, _ in told]
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (what, title) in zip(
        panels.flat,
        (("auc", "AUC"), ("average_precision", "average precision"), ("calibration_error", "calibration error")),
        strict=False,
    ):
        axes.set_title(title, loc="left")
        for task, said, colour, style in lines:
            _labelled(axes, days, [numbers.get((task, what), math.nan) for _, numbers in told], said, colour, style)
    alarms = panels[1][1]
    alarms.set_title("alarms at the fixed threshold", loc="left")
    _labelled(alarms, days, _line(told, "precision"), "precision", _BLUE, "-")
    _labelled(alarms, days, _line(told, "recall"), "recall", _ORANGE, "--")
    for axes in panels.flat:
        axes.tick_params(axis="x", rotation=45)
    panels[1][0].set_ylim(bottom=0)
    alarms.set_ylim(bottom=0)
    return figure


def _line(told: Told, name: str) -> list[float]:
    return [numbers["emission", name] for _, numbers in told]


def _labelled(
    axes: Axes,
    xs: Sequence[float] | Sequence[str],
    ys: Sequence[float],
    said: str,
    colour: str,
    style: str,
    at: int = -1,
) -> None:
    """A line with its name beside one of its points (the last one), in its colour."""
    known = [place for place, y in enumerate(ys) if not math.isnan(y)]
    if not known:
        return
    axes.plot(xs, ys, style, color=colour, marker="o" if len(xs) < 40 else None, markersize=3)
    named = known[at] if at < len(known) else known[-1]
    axes.annotate(said, (xs[named], ys[named]), xytext=(6, 2), textcoords="offset points", color=colour)


def _count(pairs: int) -> str:
    return f"{pairs / 1000:.0f}k" if pairs >= 10_000 else f"{pairs:,}"
