"""Plots say what they show, in text that can be read, and are the same bytes for the same numbers."""

import re
from pathlib import Path

import pytest

from intents.assessment import Assessment, assess
from intents.catalog import Catalogue
from intents.evidence import Evidence
from intents.occurrences import Questions
from intents.targets import Target
from streams.occurrences import occurrences
from streams.plots import draw
from streams.recordings import open_recording
from streams.shop import DEMO_CATALOGUE
from tests.streams.judged_files import write_files


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Assessment]:
    """Assessments of a file with and one without `soon`."""
    folder = tmp_path_factory.mktemp("judged")
    write_files(folder)
    asked = Questions(occurrences(open_recording(folder / "shop.jsonl"), Catalogue.parse(DEMO_CATALOGUE)))
    return {
        name: assess(
            Evidence((folder / f"{name}.jsonl").read_bytes().splitlines(), asked), 0.15, [Target("precision", 0.2)]
        )
        for name in ("new", "scores")
    }


def texts(path: Path) -> list[str]:
    """Everything written in a plot."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def test_plots_repeat_to_the_byte(assessed: dict[str, Assessment], tmp_path: Path) -> None:
    """Drawn twice, all three files are equal, and carry neither date nor version."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        list(draw(assessed["new"], tmp_path / name))
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert not re.search(r"dc:date|Matplotlib v", path.read_text())


def test_lines_are_labelled_where_they_are(assessed: dict[str, Assessment], tmp_path: Path) -> None:
    """No legend to look up: names stand beside lines, counts above bins, thresholds beside points."""
    calibration, thresholds, days = draw(assessed["new"], tmp_path)
    assert {"share with a cart or purchase", "mean p of the pairs in a bin", "as said"} <= set(texts(calibration))
    bins = assessed["new"].calibration["now"]
    counts = {f"{each.pairs:,}" for each in bins if each.pairs < 10_000}
    assert counts <= set(texts(calibration))
    assert {"precision", "recall", "F1, an alarm once", "median lead", "fixed at 0.15", "precision=0.2"} <= set(
        texts(thresholds)
    )
    assert {"model", "rule", "model, 24 h", "rule, 24 h", "06-03", "06-05"} <= set(texts(days))


def test_an_old_file_is_drawn_without_a_day_ahead(assessed: dict[str, Assessment], tmp_path: Path) -> None:
    """Only what there is: one panel of calibration, two lines by day."""
    calibration, _, days = draw(assessed["scores"], tmp_path)
    assert not any("24 h" in text for text in [*texts(calibration), *texts(days)])


def test_nothing_can_be_drawn(tmp_path: Path) -> None:
    """An empty recording gives empty plots, not an error."""
    assert len(list(draw(assess(Evidence([], Questions([])), 0.15), tmp_path))) == 3
