"""All parts of the benchmarks, or some: `python -m benchmarks [--recording FILE] [PART ...]`, which `make bench` calls.

Each part is a command of its own (`python -m benchmarks.PART --help`). What it prints goes to `build/bench.jsonl`, one
line a measure, the latest of each name; from there the table and the plot of docs/performance.md are written.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from benchmarks.part import Part
from benchmarks.report import write

LINES: Final = Path("build/bench.jsonl")
PARTS: Final = ("whole_job", "latency", "two_workers", "state", "growth", "trainer")
NO_RECORDING: Final = ("growth",)
TIMEOUT_S: Final = 900


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--recording", type=click.Path(exists=True, path_type=Path), help="A recording; else one is made up.")
@click.option("--report/--no-report", default=True, help="Write docs/performance.md anew.")
def main(parts: tuple[str, ...], recording: Path | None, report: bool) -> None:
    """Run, collect, report."""
    LINES.parent.mkdir(exist_ok=True)
    found = {part.name: part for part in map(Part.read, LINES.read_text().splitlines())} if LINES.exists() else {}
    for part in parts or PARTS:
        click.echo(f"{part}:", err=True)
        told = [str(recording)] if recording and part not in NO_RECORDING else []
        command = [sys.executable, "-m", f"benchmarks.{part}", *told]
        printed = subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True, text=True).stdout
        for line in printed.splitlines():
            measured = Part.read(line)
            found[measured.name] = measured
            click.echo(line)
        LINES.write_text("".join(f"{each.line()}\n" for each in found.values()))
    if report:
        write(list(found.values()))


if __name__ == "__main__":
    main()
