"""The demo as a new user runs it: a fresh copy, a fresh environment, one command."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest

from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.model import Model
from intents.training import Trainer
from intents.truth import Comparison, from_line, judge
from streams.children import wait_for
from streams.inprocess import InProcess
from streams.occurrences import occurrences
from streams.recordings import open_recording
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate, truth_path

ROOT = Path(__file__).parents[1]
SHORT = ["--events", "3000", "--customers", "150", "--seconds", "6"]


def children_of(pid: int) -> set[int]:
    """Processes below `pid`."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def test_make_demo_in_a_fresh_copy(tmp_path: Path) -> None:
    """`make demo` makes an environment, installs from the lock, runs the whole way and leaves nothing running."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PY"))}
    run = subprocess.run(
        ["make", "demo", f"ARGS={' '.join(SHORT)}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "What came out of the intents topic" in run.stdout and "detected" in run.stdout
    assert "precision" in run.stdout and "Try next" in run.stdout
    running = [process.cmdline() for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]]
    assert not [command for command in running if str(tmp_path) in " ".join(command)]


def test_ctrl_c_ends_the_demo_cleanly() -> None:
    """Ctrl-C in the middle: exit code 130, a word about it, and no process left."""
    command = [sys.executable, "-c", "from streams.cli import main; main()", "demo", *SHORT]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    started: set[int] = set()

    def all_started() -> bool:
        assert demo.poll() is None
        started.update(children_of(demo.pid))
        return len(started) >= 6  # broker, and a guard and a program each for Redis, worker, trainer

    wait_for(all_started, "the demo's processes")
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130 and "Nothing is left running" in said and "Traceback" not in said
    wait_for(lambda: not any(map(psutil.pid_exists, started)), "the end of all processes")


async def _learning_replay(path: Path, catalogue: Catalogue) -> list[dict[str, object]]:
    replay = InProcess(
        Setup(CORE, catalogue, catalogue.names),
        Model.untrained(CORE),
        trainer=Trainer(CORE, 30 * 60_000, durable=False),
    )
    values: list[dict[str, object]] = []
    for batch in open_recording(path).batches():
        async for output in replay.run(batch):
            values += [orjson.loads(value) for _, value in output.intents]
    return values


def judged(path: Path) -> Comparison:
    """A learning replay of a simulated recording, judged against its truth."""
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    values = asyncio.run(_learning_replay(path, catalogue))
    spans = [from_line(line) for line in truth_path(path).read_bytes().splitlines()]
    return judge(values, spans, occurrences(open_recording(path), catalogue))


@pytest.mark.parametrize("seed", [11, 12, 13, 14, 15])
def test_the_model_beats_the_rule_on_other_seeds(seed: int, tmp_path: Path) -> None:
    """On made-up shops that the demo does not show, precision is above the rule's at the same recall."""
    simulate(tmp_path / "shop.jsonl", seed=seed, events=12_000, customers=360)
    found = judged(tmp_path / "shop.jsonl")
    assert found.model.alarms >= 300
    assert found.model.precision > found.rule.precision
