"""The long-running commands, as a supervisor starts and ends them: worker and trainer, on a real Kafka and Redis."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from features.core_bundle import CORE
from intents.model_store import ModelStore
from intents.snapshots import content_hash, decode
from streams.children import wait_for
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from tests.streams.installation import Installation
from tests.streams.test_cli import ROOT


@contextmanager
def _running(installation: Installation, log: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command in a process of its own; it must end cleanly, and quickly, when it is told to."""
    environment = installation.environment | {"PYTHONPATH": str(ROOT)}
    start = [sys.executable, "-c", "from streams.cli import main; main()", *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, stderr=file)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, b""), log.read_text()
    finally:
        process.kill()
        process.wait()


def test_worker_and_trainer(ready: Installation, redis_url: str, tmp_path: Path) -> None:
    """A recording replayed by one command, worked by another, learned by a third, and seen by doctor and tail."""
    recording, catalogue = tmp_path / "shop.jsonl", tmp_path / "shop.toml"
    simulate(recording, customers=60, events=1_600, days=0.4, seed=3)
    catalogue.write_text(DEMO_CATALOGUE)
    frozen, wanted = tmp_path / "frozen.snapshot", tmp_path / "wanted.jsonl"
    here = Installation(replace(ready.settings, redis_url=redis_url, snapshot_s=1, idle_s=0))
    shop: list[str | Path] = ["--in-process", "--partitions", "4", "--catalog", catalogue]
    assert here.run("replay", recording, *shop, "--learn", "--save-model", frozen).exit_code == 0
    assert here.run("replay", recording, *shop, "--model", frozen, "--intents", wanted).exit_code == 0
    worker = ["worker", "--model", str(frozen), "--catalog", str(catalogue)]
    with _running(here, tmp_path / "worker.log", *worker), _running(here, tmp_path / "train.log", "train"):
        assert here.run("replay", recording).exit_code == 0

        def published() -> list[str]:
            return here.run("tail", "--from-beginning", "--no-follow", "--json").stdout.splitlines()

        expected = sorted(wanted.read_text().splitlines())
        wait_for(lambda: len(published()) >= len(expected), "the worker's intents", 40)
        assert sorted(published()) == expected
        wait_for(lambda: ModelStore(here.settings.model_store).names() != [], "the trainer's snapshot", 20)
        found = here.doctor("--model", str(frozen))[1]
        assert found["worker"][0]["found"].startswith("1 running") and found["train"][0]["found"].startswith(
            "1 running"
        )
    assert '"level": "info"' in (tmp_path / "worker.log").read_text()  # no terminal, so JSON


def test_a_trainer_begins_with_what_was_learned_from_a_recording(
    ready: Installation, redis_url: str, tmp_path: Path
) -> None:
    """Its snapshot reaches the worker before any event, detects, and is learned on; later the store's own is used."""
    recording, catalogue, warm = tmp_path / "shop.jsonl", tmp_path / "shop.toml", tmp_path / "warm.snapshot"
    simulate(recording, customers=60, events=1_600, days=0.4, seed=3)
    catalogue.write_text(DEMO_CATALOGUE)
    here = Installation(replace(ready.settings, redis_url=redis_url, snapshot_s=1, idle_s=0))
    part = ["--catalog", str(catalogue), "--save-model", str(warm)]
    assert here.run("train", "--from", recording, *part).exit_code == 0
    version = f"0-{content_hash(warm.read_bytes())}"
    store, logs = ModelStore(here.settings.model_store), [tmp_path / f"{name}.log" for name in ("worker", "one", "two")]
    train = ["train", "--warm-start", str(warm)]
    with _running(here, logs[0], "worker", "--catalog", str(catalogue)):
        wait_for(lambda: "Worker ready" in logs[0].read_text(), "the worker", 40)
        with _running(here, logs[1], *train):
            wait_for(lambda: f"model {version}, ready" in logs[0].read_text(), "the worker's model", 40)
            assert here.run("replay", recording).exit_code == 0
            wait_for(lambda: max(store.names(), default="") > f"{1:020d}", "a snapshot of the trainer's own", 40)
        told = here.run("tail", "--from-beginning", "--no-follow", "--json").stdout
        assert f'"version":"{version}"' in told
    newest = store.newest(CORE)
    assert newest is not None
    assert newest[1].model.now.negatives >= decode(warm.read_bytes(), CORE).model.now.negatives > 500
    with _running(here, logs[2], *train):
        wait_for(lambda: "Worker ready" in logs[2].read_text(), "the trainer", 40)
    assert f"the warm start is not used: {store.url} has {newest[0]} to go on from" in logs[2].read_text()
