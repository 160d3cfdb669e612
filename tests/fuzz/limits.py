"""Limits under which a decoder is fuzzed: so much more memory, so much time, and no more."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class TookTooLong(BaseException):
    """One input took longer than any may."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise TookTooLong


@contextmanager
def bounded(more_bytes: int = 1 << 30, seconds: float = 20.0) -> Iterator[None]:
    """Run a block with at most `more_bytes` beyond what is in use, and for at most `seconds`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    bell = signal.signal(signal.SIGALRM, _ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, before[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, bell)
