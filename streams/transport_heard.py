"""Since when Kafka has answered the fetches of a partition: only what it answered can have been quiet."""

import time
from dataclasses import dataclass, field
from typing import Final

from faust.types import TP

LONGEST_BREAK_S: Final = 5.0
"""A longer time without an answer, or without anybody looking for one, is an absence."""


@dataclass(slots=True)
class Heard:
    """Told again and again of each partition's last answer; any mark will do that differs from answer to answer."""

    _last: dict[TP, tuple[float, object]] = field(default_factory=dict)
    _since: dict[TP, float] = field(default_factory=dict)

    def look(self, tp: TP, mark: object, now_s: float) -> None:
        """The last answer at a time (monotonic)."""
        at, before = self._last.get(tp, (-LONGEST_BREAK_S, None))
        if now_s - at > LONGEST_BREAK_S:
            self._since[tp] = now_s
        if mark != before:
            self._last[tp] = (now_s, mark)

    def since(self, tp: TP) -> float:
        """Since when there was no absence (monotonic s); now, if there never was an answer."""
        return self._since.get(tp, time.monotonic())
