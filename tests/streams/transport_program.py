"""The worker process of `test_transport`: its agent writes down every chunk that it has finished, one JSON line each.

With `store`, an SQLite file keeps positions and records as Redis does for the real worker: a chunk is applied only if
it starts at the partition's position, else the agent rewinds; a chunk whose start is not true would leave a hole there.
"""

import asyncio
import json
import logging
import sqlite3
import sys
from pathlib import Path
from typing import Any

from faust.types import TP, StreamT

from sinks.records import Record
from streams.record_chunk import RecordChunk
from streams.running import run_worker
from streams.transport import ChunkApp, chunk_app
from streams.transport_chunks import Chunks


class Store:
    """Positions by partition, and each record applied, in one SQLite file that several processes share."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        self._db.execute("pragma synchronous = off")  # processes are killed here, not the machine
        self._db.execute("create table if not exists positions (partition integer primary key, position integer)")
        self._db.execute("create table if not exists applied (partition integer, offset integer, value text)")

    def positions(self) -> dict[int, int]:
        """Next offset of each partition."""
        return dict(self._db.execute("select partition, position from positions"))

    def apply(self, chunk: RecordChunk) -> int:
        """Apply the chunk if it starts at its partition's position; returns the position there is afterwards."""
        self._db.execute("begin immediate")
        position = self.positions().get(chunk.partition, 0)
        if position == chunk.start:
            position = chunk.end
            values = [(value or b"").decode() for value in chunk.values]
            rows = zip([chunk.partition] * len(chunk), chunk.offsets.tolist(), values, strict=True)
            self._db.executemany("insert into applied values (?, ?, ?)", rows)
            self._db.execute("insert or replace into positions values (?, ?)", (chunk.partition, chunk.end))
        self._db.execute("commit")
        return position


def make_app(options: dict[str, Any]) -> ChunkApp:
    """An app as the options say."""
    out = Path(options["out"])
    store = Store(options["store"]) if "store" in options else None
    positions = {int(partition): position for partition, position in options.get("positions", {}).items()}

    def write(**line: Any) -> None:
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def start_positions(partitions: frozenset[TP]) -> dict[TP, int]:
        await asyncio.sleep(options.get("positions_take_s", 0))
        known = store.positions() if store else positions
        return {tp: known.get(tp.partition, 0 if store else -1) for tp in partitions}

    app = chunk_app(
        options["group"],
        broker=options["broker"],
        start_positions=start_positions if store or positions else None,
        max_records=options.get("max_records", 1000),
        session_timeout_s=options.get("session_timeout_s", 10.0),
        instance_id=options.get("instance_id"),
        on_assigned=lambda partitions: write(assigned=sorted(tp.partition for tp in partitions)),
        on_revoked=lambda partitions: write(revoked=sorted(tp.partition for tp in partitions)),
    )
    rewinds = options.get("rewinds", {})

    @app.agent(app.topic(options["topic"]), name="test.read")
    async def read(stream: StreamT[Chunks]) -> None:
        async for chunk in (chunk async for chunks in stream for chunk in chunks):
            write(began=chunk.end)
            if b"poison" in chunk.values:
                raise ArithmeticError("poison")
            await asyncio.sleep(options.get("chunk_takes_s", 0))
            if store and (position := store.apply(chunk)) != chunk.end:
                await app.rewind(chunk.topic, chunk.partition, position)
                continue
            if "copy_to" in options:
                pairs = zip(chunk.keys, chunk.values, strict=True)
                copies = [Record(options["copy_to"], chunk.partition, key, value or b"") for key, value in pairs]
                await app.publish(copies)
            write(
                partition=chunk.partition,
                generation=chunk.generation,
                start=chunk.start,
                end=chunk.end,
                offsets=chunk.offsets.tolist(),
                stamps=chunk.timestamps.tolist(),
                values=[(value or b"").decode() for value in chunk.values],
            )
            if str(chunk.end) in rewinds:
                await app.rewind(chunk.topic, chunk.partition, rewinds.pop(str(chunk.end)))

    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    sys.exit(run_worker(make_app(json.loads(sys.argv[1]))))
