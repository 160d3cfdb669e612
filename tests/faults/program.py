"""A worker as `micro-intents worker` runs it, to which something happens: `python -m tests.faults.program FAULTS.json`.

`settings` are the worker's; `session_s` is how long its group waits for it, `retry_s` how long it waits for Redis and
Kafka, `publish_s` how long for acknowledgements; `metadata_s` is how soon it notices more partitions; `events` is the
largest chunk that its memory can take; `spare_mb` how much more memory the system gives it than it has when its first
chunk is worked; `poison` an event that makes detect raise; `records` is the size of its chunks; `stop_at` is after how
many commits of a rebuild it is told to stop (SIGTERM); `tell_ticks` is what it says after each look at what is quiet;
`die` is where it kills itself (SIGKILL) when an intent expires by idle time: `before_commit` or `before_publish`.
"""

import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from features.events import Batch, Chunk
from features.store import Commit
from sinks.records import unpack_outbox
from streams import retry
from streams.engine import Engine
from streams.partition import Piece
from streams.running import run_worker
from streams.settings import Settings
from streams.transport import ChunkApp, chunk_app
from streams.worker import Worker
from streams.worker_app import make_worker


def run_out_of_memory(events: int) -> None:
    """Make the step from events to a batch fail, as numpy does, where it gets more than `events` of them."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        if sum(len(chunk) for chunk in chunks) > events:
            raise MemoryError("Unable to allocate 1.00 TiB")
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault


def take_memory_away(spare_mb: int) -> None:
    """From the first batch on, let the system refuse this process more than `spare_mb` MB beyond what it has."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        status = Path("/proc/self/status").read_text()
        has = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData"))
        limit = (has + spare_mb * 1024) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        Batch.of = staticmethod(real)  # type: ignore[method-assign]
        print(f"has {has // 1024} MB, and gets {spare_mb} MB more", flush=True)
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault


def choke(poison: str) -> None:
    """Make the step from events to a batch raise for one event, as a bug of ours would."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        if any(poison in chunk.event_ids for chunk in chunks):
            raise ArithmeticError(poison)
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault


def stop(after: int) -> None:
    """Be told to stop after some commits of a rebuild."""
    real = Engine.commit
    left = after

    async def commit(self: Engine, piece: Piece, commit: Commit) -> None:
        nonlocal left
        await real(self, piece, commit)
        left -= piece.partition.rebuilding
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    Engine.commit = commit  # type: ignore[method-assign]  # the fault


def die(place: str) -> None:
    """Die at the first idle advance that lets an intent expire: before its commit, or just after it."""
    real = Engine.commit

    async def commit(self: Engine, piece: Piece, commit: Commit) -> None:
        records = unpack_outbox(commit.outbox)
        idle = commit.start == commit.position
        expires = idle and any(dict(record.headers).get("ce_type", b"").endswith(b".expired") for record in records)
        if place == "before_publish":
            await real(self, piece, commit)
        if expires:
            print(f"dying {place}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if place == "before_commit":
            await real(self, piece, commit)

    Engine.commit = commit  # type: ignore[method-assign]  # the fault


def tell_ticks(word: str) -> None:
    """Say so after each look at what is quiet."""
    real = Worker.tick

    async def tick(self: Worker) -> None:
        await real(self)
        print(word, flush=True)

    Worker.tick = tick  # type: ignore[method-assign]  # to be waited for


def main(path: str) -> int:
    """Run the worker to its end."""
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    faults = orjson.loads(Path(path).read_bytes())
    assert chunk_app.__kwdefaults__ is not None
    chunk_app.__kwdefaults__["session_timeout_s"] = faults.get("session_s", 3.0)
    retry.RETRY_FOR_S = faults.get("retry_s", retry.RETRY_FOR_S)  # type: ignore[misc]  # two minutes are long
    ChunkApp.publish.__defaults__ = (faults.get("publish_s", 30.0),)
    if faults.get("poison"):
        choke(faults["poison"])
    if "events" in faults:
        run_out_of_memory(faults["events"])
    if "spare_mb" in faults:
        take_memory_away(faults["spare_mb"])
    if "records" in faults:
        chunk_app.__kwdefaults__["max_records"] = faults["records"]
    if "stop_at" in faults:
        stop(faults["stop_at"])
    if "tell_ticks" in faults:
        tell_ticks(faults["tell_ticks"])
    if faults.get("die"):
        die(faults["die"])
    app = make_worker(Settings(**faults["settings"]))
    app.conf.consumer_metadata_max_age_ms = round(1_000 * faults.get("metadata_s", 1.0))
    return run_worker(app)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
