"""A worker or trainer process as `micro-intents worker|train` runs it, which can die on purpose at a fault point.

`python -m tests.worker_program worker SETTINGS.json [DIE_AT]`: with DIE_AT = n the worker kills itself (SIGKILL) when
it is about to publish the records of its n-th commit that has intents in it: committed, not published. An event whose
id begins with `poison` makes its features raise, as a bug of ours would.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from features.events import Batch, Chunk
from sinks.records import Record
from streams.settings import Settings
from streams.transport import ChunkApp, run_worker


def die_between_commit_and_publish(app: ChunkApp, intents: str, at: int) -> None:
    """Make `app` kill its process instead of publishing the `at`-th batch of records that holds intents."""
    publish, left = app.publish, at

    async def fatal(records: Sequence[Record], timeout_s: float = 30.0) -> None:
        nonlocal left
        left -= any(record.topic == intents for record in records)
        if left == 0:
            print("dying between commit and publish", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        await publish(records, timeout_s)

    app.publish = fatal  # type: ignore[method-assign]  # the fault point


def raise_on_poison() -> None:
    """Make the step from events to a batch raise for events whose id begins with `poison`."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        if any(event_id.startswith("poison") for chunk in chunks for event_id in chunk.event_ids):
            raise ArithmeticError("poison")
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault point


def main(kind: str, path: str, die_at: str = "0") -> int:
    """Run the process to its end."""
    logging.basicConfig(level="INFO", stream=sys.stdout)
    settings = Settings(**orjson.loads(Path(path).read_bytes()))
    if kind == "worker":
        from streams.worker import make_worker as make
    else:
        from streams.train import make_trainer as make
    raise_on_poison()
    app = make(settings)
    if int(die_at):
        die_between_commit_and_publish(app, settings.intents, int(die_at))
    return run_worker(app)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
