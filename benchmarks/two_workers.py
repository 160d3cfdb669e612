"""What a second worker adds where Kafka and Redis leave the cores free: two in-process workers, one on each core.

`python -m benchmarks.two_workers [RECORDING]` lets one process work events of a recording (a made-up one, if none is
given) on core 0, then two at once, on core 0 and core 1. States are in memory: with Kafka and
Redis on the same two cores nothing could be told of the workers.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from benchmarks.part import Part, Spread
from benchmarks.rig import LEARNED, later, recording_or_made_up
from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.snapshots import decode
from streams.inprocess import InProcess
from streams.recordings import RecordingBatch
from tests.job import cut, first_records, learned

CHUNK: Final = 5_000


async def _work(batch: RecordingBatch, model: bytes) -> float:
    """Seconds (wall) that the second half of the batch takes, when the signal to begin it has come."""
    catalogue = Catalogue()
    worker = InProcess(Setup(CORE, catalogue, catalogue.names), decode(model, CORE).model)
    half, end = len(batch.keys) // 2 // CHUNK * CHUNK, len(batch.keys) // CHUNK * CHUNK
    for first in range(0, end, CHUNK):
        if first == half:
            print("ready", flush=True)
            sys.stdin.readline()
            began = time.perf_counter()
        async for _ in worker.run(cut(batch, first, first + CHUNK)):
            pass
    return time.perf_counter() - began


def _together(path: Path, model: Path, cores: int) -> float:
    """Rounds a second of as many workers as cores, by the slowest."""
    command = [sys.executable, "-m", "benchmarks.two_workers", str(path), "--model", str(model)]
    workers = [
        subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in range(cores)
    ]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    seconds = [float(worker.communicate()[0]) for worker in workers]
    return cores / max(seconds)


@click.command(help=__doc__)
@click.argument("recording", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=3, show_default=True, help="How often.")
@click.option("--worker", is_flag=True, hidden=True)
@click.option("--model", type=click.Path(path_type=Path), hidden=True)
def main(recording: Path | None, rounds: int, worker: bool, model: Path | None) -> None:
    """Measure, and print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        path = recording_or_made_up(recording, Path(folder))
        if worker and model is not None:
            batch = later(path, 2_000, 30)
            click.echo(asyncio.run(_work(batch, model.read_bytes())))
            return
        frozen = Path(folder) / "model"
        frozen.write_bytes(learned(first_records(path, LEARNED)))
        ratios = [_together(path, frozen, 2) / _together(path, frozen, 1) for _ in range(rounds)]
    values = {"two workers, of one": Spread.of(ratios)}
    notes = ("in process, states in memory, one core each",)
    click.echo(Part("two workers", "python -m benchmarks.two_workers", "× events a second", values, notes).line())


if __name__ == "__main__":
    main()
