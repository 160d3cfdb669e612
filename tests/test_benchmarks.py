"""What the benchmarks print and how it becomes a page; and what an event may cost, counted in calls, not in seconds."""

import asyncio
import cProfile
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.part import Part, Spread
from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.snapshots import decode
from streams.inprocess import InProcess
from tests.job import cut, first_records, learned

PART = Part(
    "whole job, cpu",
    "python -m benchmarks.whole_job",
    "µs an event",
    {"ours": Spread.of([20.0, 30.0, 25.0]), "theirs": Spread.of([1_234.4])},
    ("10 events", "on a Tuesday"),
)


def test_a_line_is_read_as_it_was_written() -> None:
    """A part is the same after its JSON line."""
    assert Part.read(PART.line()) == PART
    assert "\n" not in PART.line()


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians, ranges and shares of the first stand between the marks; the rest of the page stays as it is."""
    page, plot = tmp_path / "page.md", tmp_path / "plot.svg"
    page.write_text(f"before {report.BEGIN} old {report.END} after", encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PLOT", plot)
    report.write([PART])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before ") and text.endswith(" after") and "old" not in text
    assert "| ours | 25.0 | 20.0–30.0 | 3 | 100% |" in text
    assert "| theirs | 1,234 |  | 1 | 4938% |" in text
    assert "`python -m benchmarks.whole_job`: 10 events; on a Tuesday" in text
    first = plot.read_bytes()
    report.write([PART])
    assert plot.read_bytes() == first and page.read_text(encoding="utf-8") == text


MOST_CALLS = 19
"""Calls of Python functions and of C functions an event: 15.2 when this was written."""


def test_an_event_costs_few_calls(recordings: Path) -> None:
    """A loop over events, pairs or windows on the hot path would show at once: it adds a call or more for each."""
    batch = first_records(recordings / "taobao_user_behavior.csv.gz", 8_000)
    model = decode(learned(cut(batch, 0, 3_000)), CORE).model
    catalogue = Catalogue()
    replay = InProcess(Setup(CORE, catalogue, catalogue.names), model)

    async def work() -> None:
        async for _ in replay.run(cut(batch, 3_000, 8_000)):
            pass

    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(work())
    profile.disable()
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls / 5_000 < MOST_CALLS
