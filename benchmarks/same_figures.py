"""Whether the streaming path says the same as a replay in process.

\b
python -m benchmarks.same_figures RECORDING               flat out, two or three minutes
python -m benchmarks.same_figures RECORDING --speed 600   and paced: nine days in 22 minutes

A recording goes through a real Kafka, a worker, a real Redis and a trainer, all of them started here. Judged is
detection (AUC, average precision, calibration error), and compared with `micro-intents replay --in-process --learn`:

\b
trainer, flat out   what the trainer's model said of each question just before it learned the answer
trainer, paced      the same at --speed
worker, paced       what the worker said at the time, with the snapshot that it had then

Exit code 1 if an AUC differs by more than .01, or a calibration error by more than .005.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from intents.evaluation import evaluate
from streams.commands.console import cells, results, table
from streams.inprocess import LEARN_EVERY_MS
from streams.occurrences import occurrences
from streams.recordings import open_recording
from tests.conftest import own_settings, with_topics
from tests.job import ROOT, KafkaRun
from tests.services import Service, start_kafka, start_redis
from tests.streamed import stream

MOST_AUC: Final = 0.01
MOST_ECE: Final = 0.005


@dataclass(frozen=True)
class Figures:
    """How good detection was; `pairs` were judged, `missing` views have no line."""

    auc: float
    average_precision: float
    calibration_error: float
    pairs: int
    missing: int

    def same(self, other: "Figures") -> bool:
        """Whether the other differs by no more than it may, on the same questions."""
        near = abs(self.auc - other.auc) <= MOST_AUC
        near &= abs(self.calibration_error - other.calibration_error) <= MOST_ECE
        return near and (self.pairs, self.missing) == (other.pairs, other.missing)


def figures(lines: Iterable[bytes], recording: Path, limit: int | None = None) -> Figures:
    """What these lines of a scores file are worth."""
    judged = evaluate(lines, occurrences(open_recording(recording), limit=limit))
    detect = judged.detect
    errors = detect.auc, detect.average_precision, detect.calibration_error
    return Figures(*errors, detect.pairs, judged.missing_detect_lines)


def in_process(recording: Path, folder: Path, limit: int | None) -> Figures:
    """The figures of a replay in process, by the command that people type."""
    scores = folder / "scores.jsonl"
    command = ["-c", "from streams.cli import main; main()", "replay", str(recording), "--in-process", "--learn"]
    command += ["--scores", str(scores), *(["--limit", str(limit)] if limit else [])]
    subprocess.run([sys.executable, *command], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, check=True)
    with scores.open("rb") as lines:
        return figures(lines, recording, limit)


def through_kafka(
    kafka: Service, redis: Service, folder: Path, recording: Path, limit: int | None, speed: float | None
) -> dict[str, Figures]:
    """The figures of trainer and, if paced, worker."""
    folder.mkdir()
    every_s = LEARN_EVERY_MS / 1000 / speed if speed else 1.0  # at a speed, models are as far apart as in process
    own = own_settings(kafka.bootstrap, folder, redis_url=redis.url, snapshot_s=every_s)
    said = stream(KafkaRun(with_topics(own), folder), recording, speed=speed, limit=limit)
    how = "paced" if speed else "flat out"
    told = {f"trainer, {how}": figures(said.trainer, recording, limit)}
    if speed:
        told["worker, paced"] = figures(said.worker, recording, limit)
    return told


def shown(base: Figures, others: dict[str, Figures]) -> None:
    """Print the table."""
    made = table("", "AUC", "±", "average precision", "±", "calibration error", "±", "same ")
    for name, one in {"in process": base, **others}.items():
        row: list[str] = [name]
        for what, digits in (("auc", 4), ("average_precision", 4), ("calibration_error", 4)):
            value, before = getattr(one, what), getattr(base, what)
            row += [f"{value:.{digits}f}", "" if one is base else f"{value - before:+.{digits}f}"]
        made.add_row(*cells(*row, "" if one is base else "yes" if base.same(one) else "NO"))
    results().print(made)
    click.echo(f"{base.pairs:,} pairs judged; bounds: AUC {MOST_AUC}, calibration error {MOST_ECE}")


@click.command(help=__doc__)
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Also paced, so many times as fast.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N events only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(recording: Path, speed: float | None, limit: int | None, as_json: bool) -> None:
    """Run it all, print, and say by the exit code whether it is the same."""
    recording = recording.resolve()
    with tempfile.TemporaryDirectory(prefix="mi-") as name, start_kafka() as kafka, start_redis() as redis:
        folder = Path(name)
        base = in_process(recording, folder, limit)
        others = through_kafka(kafka, redis, folder / "flat", recording, limit, None)
        if speed:
            others |= through_kafka(kafka, redis, folder / "paced", recording, limit, speed)
    same = all(base.same(other) for other in others.values())
    if as_json:
        told = {name: asdict(one) for name, one in {"in process": base, **others}.items()}
        click.echo(json.dumps({"same": same, "figures": told}, indent=2))
    else:
        shown(base, others)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
