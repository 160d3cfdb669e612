"""`evaluate --ablate`: a recording alone is enough, and its tables and JSON tell what each group is worth."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from features.core_bundle import CORE
from intents.ablation import ALONE, CHOICE_GROUPS, WITHOUT, groups
from intents.comparison import WHOLE
from streams.cli import cli
from streams.simulate import simulate

EVENTS = 3_500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up recording of a day."""
    made = tmp_path_factory.mktemp("ablated")
    simulate(made / "shop.jsonl", customers=60, events=EVENTS, days=1.0, seed=2)
    return made


def run(*words: str | Path) -> Result:
    """A command."""
    return CliRunner().invoke(cli, list(map(str, words)))


def ablated(folder: Path, *arguments: str) -> Result:
    """The ablation with few resamples."""
    return run("evaluate", folder / "shop.jsonl", "--ablate", "--bootstrap", "6", *arguments)


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, Any]:
    """What it prints with --json."""
    found: dict[str, Any] = json.loads(ablated(folder, "--json").stdout)
    return found


def test_json_has_every_group(whole: dict[str, Any]) -> None:
    """The whole first, then what is without each group, and of it alone; the choice likewise; differences in pairs."""
    names = [each["name"] for each in whole["detect"]]
    assert names[0] == WHOLE and set(names[1:]) == {how + name for name in groups(CORE) for how in (WITHOUT, ALONE)}
    assert [each["name"] for each in whole["choice"]] == [WHOLE, *(WITHOUT + name for name in CHOICE_GROUPS)]
    assert whole["events"] == EVENTS and whole["resamples"] == 6
    first = whole["detect"][0]
    assert all(difference["difference"] == 0 for difference in first["less_the_first"]["detect"].values())
    for each in whole["detect"]:
        for number, difference in each["less_the_first"]["detect"].items():
            assert difference["one"] == each["detect"][number] and difference["other"] == first["detect"][number]
            assert difference["interval"]["low_95"] <= difference["interval"]["high_95"]


def test_the_whole_is_what_a_scores_file_says(folder: Path, whole: dict[str, Any]) -> None:
    """The model's own numbers are those of its scores file, but for questions without an answer and fresher tables."""
    run("replay", folder / "shop.jsonl", "--in-process", "--learn", "--scores", folder / "scores.jsonl")
    scores = json.loads(run("evaluate", folder / "scores.jsonl", folder / "shop.jsonl", "--json").stdout)["detect"]
    first = whole["detect"][0]
    assert first["pairs"] == pytest.approx(scores["pairs"], rel=0.06)
    for number in ("base_rate", "auc", "average_precision"):
        assert first["detect"][number] == pytest.approx(scores[number], abs=0.02)


def test_a_model_of_the_settings_is_left_out(
    folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins cold, whatever snapshot the environment names."""
    monkeypatch.setenv("MICRO_INTENTS_MODEL", str(folder / "none.snapshot"))
    assert json.loads(ablated(folder, "--json").stdout) == whole


def test_folds_and_limits(folder: Path, whole: dict[str, Any]) -> None:
    """A fold judges its customers only, a limit reads the first events only; another seed, other intervals."""
    first, second = (
        json.loads(ablated(folder, "--json", "--customers-fold", f"{n}/2").stdout)["detect"][0] for n in (1, 2)
    )
    rates = [each["detect"]["base_rate"] for each in (first, second)]
    assert min(rates) < whole["detect"][0]["detect"]["base_rate"] < max(rates)
    assert json.loads(ablated(folder, "--json", "--limit", "2000").stdout)["events"] == 2_000
    other = json.loads(ablated(folder, "--json", "--seed", "8").stdout)
    assert [each["detect"] for each in other["detect"]] == [each["detect"] for each in whole["detect"]]
    assert [each["intervals"] for each in other["detect"]] != [each["intervals"] for each in whole["detect"]]


def test_tables_fit_100_columns(folder: Path, whole: dict[str, Any]) -> None:
    """Three tables, each row with its difference and its interval; no line is longer, none is cut with an ellipsis."""
    shown = ablated(folder).stdout
    assert max(map(len, shown.splitlines())) <= 100 and not re.search(r"\w…", shown)
    for header in ("without ", "only ", "choice without "):
        assert f"┃ {header}" in shown
    for name, columns in groups(CORE).items():
        assert shown.count(f"│ {name} ({len(columns)}) ") >= 2
    signed = r"[+-]\.\d{4}"
    assert re.search(rf"│ activity \(5\) +│ +\.\d+ │ +\.\d+ │ +\.\d+ │ +{signed} │ +{signed} │ +{signed} │", shown)
    assert len(re.findall(rf"{signed} … {signed}", shown)) == 14 * 3 + 4 * 2
    auc = whole["detect"][0]["detect"]["auc"]
    assert f"│ whole        │ {auc:.4f}".replace("0.", ".", 1) in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop.jsonl",), "two files are needed, SCORES and RECORDING (--ablate takes the recording alone)"),
        (("shop.jsonl", "shop.jsonl", "--ablate"), "--ablate replays the recording itself: give it alone"),
        (("shop.jsonl", "--ablate", "--by", "day"), "--by needs a scores file: not with --ablate"),
        (("shop.jsonl", "--ablate", "--target", "f1"), "--target needs a scores file: not with --ablate"),
        (("shop.jsonl", "--ablate", "--plots", "plots"), "--plots needs a scores file: not with --ablate"),
        (("shop.jsonl", "--ablate", "--against", "shop.jsonl"), "--against needs a scores file: not with --ablate"),
    ],
)
def test_what_does_not_go_together_is_said(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """Refused before anything is read, exit code 2."""
    done = run("evaluate", *(folder / word if word.endswith(".jsonl") else word for word in arguments))
    assert done.exit_code == 2 and said in " ".join(done.stderr.split())


def test_too_little_to_judge(folder: Path) -> None:
    """A recording that ends before the first answer is no failure without a word."""
    done = ablated(folder, "--limit", "20")
    assert done.exit_code == 1 and "too few events to judge by" in done.stderr
