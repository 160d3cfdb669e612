"""`micro-intents evaluate --ablate`: a recording replayed once, and what each group of features is worth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.options import Failure

if TYPE_CHECKING:
    from intents.bootstrap import Compared
    from intents.evidence import Fold
    from streams.settings import Settings


def ablate(
    path: Path,
    settings: "Settings",
    limit: int | None,
    fold: "Fold | None",
    resamples: int,
    seed: int | None,
    *,
    as_json: bool,
) -> None:
    """Replay the recording at `path` with learners that lack a group of features each, and print what that costs."""
    from features.core_bundle import CORE
    from intents.ablation import ablation
    from intents.bootstrap import SEED, compare
    from intents.evaluation import without_nan
    from streams.commands.console import progress
    from streams.comparison import replay_comparison
    from streams.recordings import open_recording

    beside, recording = ablation(CORE), open_recording(path)
    with progress(f"replaying {path.name}", "events") as update:
        replayed = replay_comparison(recording, settings, beside, limit, update)
    found: dict[str, list[Compared]] = {}
    for name, judges in (("detect", beside.heads["now"]), ("choice", beside.choice)):
        judged = judges.judged(replayed.fold(fold))
        if not judged.customers.any():
            raise Failure(f"{path}: too few events to judge by: no answer came due, or nobody of the fold is there")
        with progress(f"resampling customers ({name})", "resamples") as update:
            found[name] = compare(judged.measured, judged.customers, resamples, SEED if seed is None else seed, update)
    if as_json:
        told = {name: [each.to_dict() for each in those] for name, those in found.items()}
        click.echo(json.dumps(without_nan({"events": replayed.events, "resamples": resamples, **told}), indent=2))
    else:
        _print(replayed.events, found)


def _print(events: int, found: "dict[str, list[Compared]]") -> None:
    from features.core_bundle import CORE
    from intents.ablation import ALONE, CHOICE_GROUPS, WITHOUT, groups
    from streams.commands.console import results
    from streams.comparison_tables import DETECT, RANK, WIDTH, comparison

    counts = {name: len(columns) for name, columns in groups(CORE).items()}
    picks = {name: len(columns) for name, columns in CHOICE_GROUPS.items()}
    console = results()
    pairs, outcomes = (found[task][0].measured.counts for task in ("detect", "choice"))
    judged = f"{pairs['pairs']:,} pairs and {outcomes['outcomes']:,} outcomes judged"
    console.print(f"{events:,} events, {judged}; Δ: less the whole's, 95 % by customer", style="bold")
    for title, task, prefix, columns, numbers in (
        ("without", "detect", WITHOUT, counts, DETECT),
        ("only", "detect", ALONE, counts, DETECT),
        ("choice without", "choice", WITHOUT, picks, RANK),
    ):
        whole, *others = found[task]
        shown = {f"{name} ({columns[name]})": each for name, each in _named(others, prefix)}
        console.print(comparison(title, whole, shown, numbers), width=WIDTH)


def _named(those: "list[Compared]", prefix: str) -> "list[tuple[str, Compared]]":
    """Those whose names begin so, by what comes behind."""
    named = [(each.measured.name, each) for each in those]
    return [(name.removeprefix(prefix), each) for name, each in named if name.startswith(prefix)]
