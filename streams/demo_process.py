"""One of the demo's processes, a worker or a trainer: `python -m streams.demo_process worker|train SETTINGS.json`."""

import logging
import sys
from pathlib import Path

import orjson

from streams.settings import Settings


def main(kind: str, path: Path) -> int:
    """Run a worker or a trainer against the embedded broker; returns its exit code."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings(**orjson.loads(path.read_bytes()))
    if kind == "worker":
        from streams import worker_app

        return worker_app.run(settings)
    from streams import train

    return train.run(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
