"""Running an app: until a signal or a crash, with an exit code that says whether a new start may mend it."""

import asyncio
import gc
import logging
import os
import signal
from typing import Final

from aiokafka.errors import KafkaConnectionError

from features.store import StoreUnavailable
from streams.monitor import Stalled
from streams.transport import ChunkApp
from streams.transport_chunks import SeekFailed
from streams.transport_publish import PublishAgain

STOP_TIMEOUT_S: Final = 4.0
"""How long a clean stop may take; after it the process ends as in a crash, which loses nothing."""

_RETRY = (SeekFailed, PublishAgain, StoreUnavailable, KafkaConnectionError, MemoryError, Stalled)
"""Crashes that a new start may well mend."""

_log = logging.getLogger(__name__)


def run_worker(app: ChunkApp) -> int:
    """Run an app in an event loop of its own until SIGTERM, SIGINT or a crash, and return the exit code.

    0 after a signal; 75 (`os.EX_TEMPFAIL`) after a crash that a new start may mend; else 1. Logging stays as the caller
    has set it up. When stopping takes more than `STOP_TIMEOUT_S`, it ends the process itself.
    """
    _collect_less()
    return asyncio.run(_work(app))


def _collect_less() -> None:
    """Let Python look for garbage in cycles less often, and never in what is there from the start.

    A chunk makes tens of thousands of objects, none of them in cycles: looking at them cost a tenth of a worker.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _work(app: ChunkApp) -> int:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    ending = asyncio.create_task(told.wait())
    starting, crashing = asyncio.create_task(app.start()), asyncio.create_task(app.wait_until_stopped())
    watching = asyncio.create_task(app.watch() if app.watch is not None else told.wait())
    await asyncio.wait({starting, crashing, ending, watching}, return_when=asyncio.FIRST_COMPLETED)
    crash = starting.exception() if starting.done() else None
    if crash is None:
        await asyncio.wait({crashing, ending, watching}, return_when=asyncio.FIRST_COMPLETED)
        crash = app.crash_reason or (watching.exception() if watching.done() else None)
    if told.is_set():
        code = 0  # agents cut short count as crashes
    else:
        code = os.EX_TEMPFAIL if isinstance(crash, _RETRY) else 1
        _log.critical("worker crashed", exc_info=crash)
    await _stop(app, code)
    starting.cancel()
    watching.cancel()
    return code


async def _stop(app: ChunkApp, code: int) -> None:
    _, late = await asyncio.wait({asyncio.create_task(app.stop())}, timeout=STOP_TIMEOUT_S)
    if late:
        _log.critical("not stopped after %g s, ending the process", STOP_TIMEOUT_S)
        logging.shutdown()
        os._exit(code or 1)  # the consumer's thread would keep it alive
