"""A worker process that waits for Redis and Kafka for less than the usual two minutes.

`python -m tests.impatient_worker SETTINGS.json SECONDS`.
"""

import logging
import sys
from pathlib import Path

import orjson

from streams import worker
from streams.settings import Settings


def main(path: str, seconds: str) -> int:
    """Run the worker to its end."""
    logging.basicConfig(level="INFO", stream=sys.stdout)
    worker.RETRY_FOR_S = float(seconds)  # type: ignore[misc]  # final, but for this
    return worker.run(Settings(**orjson.loads(Path(path).read_bytes())))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
