"""`python -m tests.soak --seed 1 --minutes 2 [--swapping]`: one line of JSON, and 1 if anything is wrong."""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak.result import Plan
from tests.soak.run import run, say


def main() -> int:
    """Run one soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--swapping", action="store_true", help="workers follow the trainer's snapshots")
    parser.add_argument("--per-s", type=float, default=200.0, help="records sent a second")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="micro-intents-soak-"))
    result = run(Plan(options.seed, options.minutes, options.swapping, options.per_s), folder)
    print(result.line().decode(), flush=True)
    (folder / "result.json").write_bytes(result.line())
    if result.good and not options.keep:
        shutil.rmtree(folder)
    else:
        say(f"logs are in {folder}")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
