"""A worker or trainer process that hangs on purpose: `python -m tests.watched_program KIND SETTINGS.json STALL_S`.

An event of the customer `hang` makes a worker wait for an answer that never comes; one of the customer `block` makes it
stand still, event loop and all. Its log is JSON lines.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from features.events import Batch, Chunk
from streams.engine import Engine
from streams.log_lines import JsonLines
from streams.partition import Piece
from streams.running import run_worker
from streams.settings import Settings


def hang_on_purpose() -> None:
    """Make the engine wait for ever for the customer `hang`, and the loop for the customer `block`."""
    step, of = Engine.step, Batch.of

    async def hanging(self: Engine, pieces: Sequence[Piece]) -> Any:
        if any("hang" in piece.chunk.customers for piece in pieces):
            await asyncio.Event().wait()
        return await step(self, pieces)

    def blocking(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        if any("block" in chunk.customers for chunk in chunks):
            threading.Event().wait()
        return of(chunks, *rest)

    Engine.step = hanging  # type: ignore[method-assign]  # the fault
    Batch.of = staticmethod(blocking)  # type: ignore[assignment]  # the fault


def main(kind: str, path: str, stall_s: str) -> int:
    """Run the process to its end."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level="INFO")
    settings = Settings(**orjson.loads(Path(path).read_bytes()))
    hang_on_purpose()
    if kind == "worker":
        from streams.worker_app import make_worker as make
    else:
        from streams.train import make_trainer as make
    return run_worker(make(settings, stall_s=float(stall_s)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
