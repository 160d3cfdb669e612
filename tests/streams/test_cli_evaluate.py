"""The command `evaluate`: tables that people can read, everything as JSON, plots, and errors that say what to do."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import cli
from tests.streams.judged_files import DAYS, EVENTS, write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and scores files about it."""
    made = tmp_path_factory.mktemp("judged")
    write_files(made)
    return made


def evaluate(folder: Path, scores: str, *arguments: str | Path) -> Result:
    """Run the command on one of the files."""
    told = ["evaluate", folder / f"{scores}.jsonl", folder / "shop.jsonl", "--catalog", folder / "shop.toml"]
    return CliRunner().invoke(cli, list(map(str, [*told, *arguments])))


def judged(folder: Path, scores: str, *arguments: str | Path) -> dict[str, Any]:
    """What it prints with --json."""
    found: dict[str, Any] = json.loads(evaluate(folder, scores, *arguments, "--json").stdout)
    return found


EVERYTHING = ("--by", "day", "--by", "group", "--by", "threshold", "--target", "precision=0.2", "--target", "alarms=1")


@pytest.mark.parametrize("more", [(), ("--bootstrap", "5"), ("--against", "bad.jsonl", "--target", "f1")], ids=str)
def test_every_table_fits_100_columns(folder: Path, more: tuple[str, ...]) -> None:
    """With all tables and intervals no line is longer, and none is cut with an ellipsis."""
    more = tuple(str(folder / each) if each.endswith(".jsonl") else each for each in more)
    done = evaluate(folder, "new", *EVERYTHING, *more)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not re.search(r"\w…", done.stdout)


def test_json_has_everything(folder: Path) -> None:
    """Days, groups, thresholds and calibration without asking; targets, intervals and differences once asked for."""
    plain = judged(folder, "new")
    assert plain["events"] == EVENTS and len(plain["days"]) == DAYS and len(plain["groups"]) == 8
    assert len(plain["thresholds"]) == 60 and set(plain["calibration"]) == {"now", "soon"}
    assert plain["soon"]["pairs"] + plain["soon_open_pairs"] == plain["detect"]["pairs"]
    # Days begin with the first pair, also those that are not judged.
    assert sum(day["pairs"] for day in plain["days"]) == pytest.approx(plain["detect"]["pairs"] / 0.8, abs=1)
    assert plain["alarms"][0]["emission"]["f1_once"] == plain["emission"]["f1_once"]
    full = judged(folder, "new", "--target", "f1", "--bootstrap", "9", "--against", folder / "bad.jsonl")
    assert {name: full[name] for name in ("rank", "detect", "soon", "emission")} == {
        name: plain[name] for name in ("rank", "detect", "soon", "emission")
    }
    assert (full["resamples"], [each["target"] for each in full["targets"]]) == (9, ["f1"])
    assert full["days"][1]["intervals"]["detect"]["auc"].keys() == {"low_90", "high_90", "low_95", "high_95"}
    low, high = (full["intervals_model"]["detect"]["auc"][f"{end}_95"] for end in ("low", "high"))
    assert low <= full["detect"]["auc"] <= high
    assert set(full["against"]["alarms"]) == {"fixed at 0.15", "f1", "f1, by intent"}
    assert set(full["by_intent_less_by_day"]) == {"f1"}


def test_against_says_which_file_is_better(folder: Path) -> None:
    """A rule beats its opposite beyond chance; a file against itself differs by nothing."""
    auc = judged(folder, "scores", "--against", folder / "bad.jsonl")["against"]["model"]["model"]["detect"]["auc"]
    assert auc["excludes_0"] and auc["difference"] == pytest.approx(auc["one"] - auc["other"]) and auc["difference"] > 0
    same = judged(folder, "scores", "--against", folder / "scores.jsonl")["against"]["model"]["model"]
    numbers = [each for task in same.values() for each in task.values()]
    assert all(not each["excludes_0"] and each["difference"] in (0.0, None) for each in numbers)
    shown = evaluate(folder, "scores", "--against", folder / "bad.jsonl").stdout
    assert re.search(r"detect: auc +│ +0\.\d+ │ +0\.\d+ │ +\+0\.\d+ │ +\+0\.\d+ … \+0\.\d+ │ at 95 %", shown)


def test_the_same_seed_says_the_same(folder: Path) -> None:
    """Two runs print the same bytes; another seed other intervals."""
    first, second = (evaluate(folder, "scores", "--bootstrap", "20").stdout for _ in range(2))
    assert first == second != evaluate(folder, "scores", "--bootstrap", "20", "--seed", "8").stdout


def test_folds_judge_their_customers_only(folder: Path) -> None:
    """Two folds have all customers and pairs between them, and the table says of how many they are."""
    whole, *folds = (
        judged(folder, "scores", *fold) for fold in ((), ("--customers-fold", "1/2"), ("--customers-fold", "2/2"))
    )
    assert whole["customers"] == sum(fold["customers"] for fold in folds)
    assert whole["detect"]["pairs"] == sum(fold["detect"]["pairs"] for fold in folds)
    shown = evaluate(folder, "scores", "--customers-fold", "1/2").stdout
    assert f"{folds[0]['customers']} customers of {whole['customers']}" in shown


def test_an_old_file_has_no_day_ahead(folder: Path) -> None:
    """Without `soon` nothing is said of it; with it there are rows, and a note on the pairs that are left out."""
    old, new = evaluate(folder, "scores", "--by", "day").stdout, evaluate(folder, "new", "--by", "day").stdout
    assert "soon" not in old
    assert "soon: auc" in new and "UTC day: soon" in new
    assert re.search(r"[\d,]+ pairs are left out of soon: their 24 hours end after the recording", new)


def test_targets_show_what_they_chose(folder: Path) -> None:
    """Beside the fixed threshold: what was chosen day by day, for all and by intent, and what it achieved."""
    shown = evaluate(folder, "scores", "--target", "alarms=1").stdout
    rows = [line.split("│")[1].strip() for line in shown.splitlines() if re.match(r"│ (fixed|alarms)", line)]
    assert rows == ["fixed at 0.15", "alarms=1", "alarms=1, by intent"]
    assert re.search(r"alarms=1: 06-03 –, 06-04 0\.\d\d, 06-05 0\.\d\d", shown)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "precision=1.5"), "precision=0.25 (a share)"),
        (("--target", "recall=0.5"), "is none of precision=0.25"),
        (("--target", "alarms"), "is none of precision=0.25"),
        (("--target", "alarms=-1"), "is none of precision=0.25"),
        (("--customers-fold", "0/4"), "1/4 is the first of four"),
        (("--customers-fold", "5/4"), "1/4 is the first of four"),
        (("--customers-fold", "half"), "1/4 is the first of four"),
        (("--bootstrap", "1"), "2"),
        (("--by", "hour"), "day"),
    ],
)
def test_wrong_options_say_what_is_right(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """A wrong value is refused, exit code 2, with an example of a right one."""
    done = evaluate(folder, "scores", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_plots_without_matplotlib_say_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read, one line with the command; nothing is written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = evaluate(folder, "scores", "--plots", folder / "none")
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr == "Error: plots need matplotlib: pip install 'micro-intents[plots]'\n"
    assert not (folder / "none").exists()


def test_plots_are_written_beside_the_tables(folder: Path) -> None:
    """Three files, named on stderr so that --json stays JSON; the folder is made."""
    done = evaluate(folder, "new", "--plots", folder / "deep" / "plots", "--json")
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    names = ["calibration.svg", "thresholds.svg", "days.svg"]
    assert [Path(line.removeprefix("wrote ")).name for line in done.stderr.splitlines() if "wrote" in line] == names
    assert sorted(path.name for path in (folder / "deep" / "plots").iterdir()) == sorted(names)


def test_help_has_examples() -> None:
    """--help shows how to compare, to split and to draw."""
    said = CliRunner().invoke(cli, ["evaluate", "--help"]).stdout
    for example in ("--by day --by group --bootstrap 200", "--against old.jsonl --customers-fold 1/2", "--plots plots"):
        assert example in said
