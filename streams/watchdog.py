"""A thread that ends the process when its event loop has stood still for too long: the loop cannot say so itself."""

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from streams.stall import LONGEST_LOOK_S

EVERY_S: Final = 1.0
"""Between two beats of the loop, and two looks of the thread."""

_log = logging.getLogger(__name__)


def end_process(code: int) -> None:
    """End this process at once, its log written."""
    logging.shutdown()
    os._exit(code)


class Watchdog:
    """Wants a `beat` of the watched loop at least every `bound_s`; else says where it hangs, and calls `end`."""

    def __init__(self, bound_s: float, end: Callable[[int], None] = end_process, every_s: float = EVERY_S) -> None:
        self._bound_s, self._end, self._every_s = bound_s, end, every_s
        self._beaten = False
        self._silent_s = 0.0
        self._stopped = threading.Event()
        self._watched = threading.get_ident()

    @property
    def silent_s(self) -> float:
        """How long the loop has been silent."""
        return self._silent_s

    def beat(self) -> None:
        """The loop turns."""
        self._beaten = True

    def start(self) -> None:
        """Watch the thread that calls this, until `stop`."""
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(self._every_s):
            now = time.monotonic()
            self.look(now - before)
            before = now

    def look(self, elapsed_s: float) -> None:
        """Look again after `elapsed_s`; of a process that was stopped or slept, little of it counts."""
        self._silent_s = 0.0 if self._beaten else self._silent_s + min(elapsed_s, LONGEST_LOOK_S)
        self._beaten = False
        if self._silent_s > self._bound_s:
            self._stopped.set()
            frame = sys._current_frames().get(self._watched)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else "its thread is gone"
            _log.critical(
                "the event loop stands still for %.0f s, ending the process; it is at\n%s", *self._told(stack)
            )
            self._end(os.EX_TEMPFAIL)

    def _told(self, stack: str) -> tuple[float, str]:
        return self._silent_s, stack[-4000:]
