"""A worker or trainer process as `micro-intents worker|train` runs it, which can die on purpose at a fault point.

`python -m tests.worker_program worker SETTINGS.json --die-at POINT:N`: the worker kills itself (SIGKILL) at the n-th
hit of a point of `tests/fault_points.py`; with `--orders FILE` it looks there for a later order to die, and while there
is a `memory_order(FILE)`, its memory suffices for no more events at a time than the number in it. An event whose id
begins with `poison` makes its features raise, as a bug of ours would. `--session-s` is the time-out of its group,
`--records` how many it takes at a time.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from features.events import Batch, Chunk
from streams.running import run_worker
from streams.settings import Settings
from streams.transport import chunk_app
from tests.fault_points import Doom, prepare


def raise_on_poison() -> None:
    """Make the step from events to a batch raise for events whose id begins with `poison`."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        if any(event_id.startswith("poison") for chunk in chunks for event_id in chunk.event_ids):
            raise ArithmeticError("poison")
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault point


def memory_order(orders: Path) -> Path:
    """The file that says for how many events the memory of a process suffices, as long as it is there."""
    return orders.with_name(f"{orders.name}.memory")


def run_out_of_memory(order: Path) -> None:
    """Make the step from events to a batch fail, as numpy does, where it gets more than the `order` allows."""
    real = Batch.of

    def of(chunks: Sequence[Chunk], *rest: Any) -> Batch:
        with suppress(FileNotFoundError):
            if sum(len(chunk) for chunk in chunks) > int(order.read_text()):
                raise MemoryError("Unable to allocate 1.00 TiB")
        return real(chunks, *rest)

    Batch.of = staticmethod(of)  # type: ignore[assignment]  # the fault


def main() -> int:
    """Run the process to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("worker", "train"))
    parser.add_argument("settings", type=Path)
    parser.add_argument("--die-at", default="")
    parser.add_argument("--orders", type=Path)
    parser.add_argument("--session-s", type=float, default=10.0)
    parser.add_argument("--records", type=int, default=5_000)
    options = parser.parse_args()
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings(**orjson.loads(options.settings.read_bytes()))
    chunk_app.__kwdefaults__["session_timeout_s"] = options.session_s  # type: ignore[index]  # it has some
    chunk_app.__kwdefaults__["max_records"] = options.records  # type: ignore[index]
    if options.kind == "worker":
        from streams.worker_app import make_worker as make
    else:
        from streams.train import make_trainer as make
    raise_on_poison()
    if options.orders:
        run_out_of_memory(memory_order(options.orders))
    app = make(settings)
    if options.die_at or options.orders:
        prepare(app, settings.intents, Doom.at(options.die_at, options.orders))
    return run_worker(app)


if __name__ == "__main__":
    sys.exit(main())
