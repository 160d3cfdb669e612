"""Take each guard out in turn and see its test go red: `python -m tests.mutations [WORD...]` (those named so).

Each mutation is made in a copy of the project in a temporary directory; first the tests must pass in one without any.
Exits with 1 if a mutation survives, or its text is not found exactly once.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.mutations.listed import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation

TIMEOUT_S: Final = 300.0
"""A test that takes longer is not red: nobody would wait for it."""
_LEFT: Final = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


def copied(source: Path, place: Path) -> Path:
    """A copy of a project in a directory, without what is made from it."""
    return shutil.copytree(source, place / "project", ignore=_LEFT)


def tried(project: Path, tests: list[str]) -> tuple[int, str, float]:
    """(exit code, what was said, seconds) of tests in a copy; -1: not ended in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    told = {name: value for name, value in os.environ.items() if name != "CI"}  # a missing service is not red
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, cwd=project, env=told | {"PYTHONPATH": str(project)}, stdout=out, stderr=out
        )
        try:
            code = process.wait(TIMEOUT_S * (1 if len(tests) == 1 else 3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that the services it has started end, too
            process.wait()
            code = -1
        out.seek(0)
        return code, out.read(), time.monotonic() - began


def red(mutation: Mutation, source: Path) -> tuple[str, float]:
    """(the test that went red, seconds) in a copy with a mutation; "" if it survives."""
    with tempfile.TemporaryDirectory(prefix="mi-") as place:
        project = copied(source, Path(place))
        mutation.apply(project)
        code, said, seconds = tried(project, [mutation.test])
    failed = re.search(r"^FAILED (\S+)", said, re.MULTILINE)
    if code == 1 and failed:
        return failed[1], seconds
    print(said[-3_000:], f"exit code {code}", sep="\n")
    return "", seconds


def main() -> int:
    """Try them all; returns 1 if one survives, or its test is red without it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose names have one of these words")
    words = parser.parse_args().words
    chosen = [it for it in MUTATIONS if not words or any(word in it.what for word in words)]
    with tempfile.TemporaryDirectory(prefix="mi-") as place:
        source = copied(ROOT, Path(place))  # what is edited meanwhile does not matter
        code, said, seconds = tried(source, list(dict.fromkeys(it.test for it in chosen)))
        if code:
            print(said, f"\nthe tests are red without any mutation (exit code {code})", sep="")
            return 1
        print(
            f"| removed ({len(chosen)}; without any, all pass in {seconds:.0f} s) | red | s |\n|---|---|---|",
            flush=True,
        )
        survivors = 0
        for mutation in chosen:
            test, seconds = red(mutation, source)
            survivors += not test
            print(f"| {mutation.what} | {f'`{test}`' if test else '**survives**'} | {seconds:.1f} |", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations are red")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
