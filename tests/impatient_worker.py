"""A worker process that waits for Redis and Kafka for less than the usual two minutes.

`python -m tests.impatient_worker SETTINGS.json SECONDS`.
"""

import logging
import sys
from pathlib import Path

import orjson

from streams import retry
from streams.settings import Settings
from streams.worker_app import run


def main(path: str, seconds: str) -> int:
    """Run the worker to its end."""
    logging.basicConfig(level="INFO", stream=sys.stdout)
    retry.RETRY_FOR_S = float(seconds)  # type: ignore[misc]  # final, but for this
    return run(Settings(**orjson.loads(Path(path).read_bytes())))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
