"""Refused records on their way to the dead letter topic, and the limit on them: diverting everything is an outage."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sinks.events import dead_letter
from sinks.records import Record
from streams.plain_text import one_line
from streams.wire import Records

MINUTE_S = 60.0


class TooManyDeadLetters(Exception):
    """More records a minute are refused than the limit allows: something is wrong with the input or with us."""


@dataclass(slots=True)
class DeadLetters:
    """Makes dead letters for one topic and counts them over the last minute."""

    topic: str
    per_minute: int
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _made: dict[int, set[int]] = field(default_factory=dict)

    def of(self, records: Records, refused: Iterable[tuple[int, str]]) -> list[Record]:
        """Dead letters of the (offset, reason) in `refused`, published ones left out; raises TooManyDeadLetters."""
        made = {offset for offset in self._made.get(records.partition, ()) if offset >= records.start}
        self._made[records.partition] = made
        letters = []
        for offset, reason in refused:
            if offset in made:
                continue  # a chunk that is tried again refuses the same records again
            at = int(np.searchsorted(records.offsets, offset))
            key, value = records.keys[at], records.values[at]
            letters.append(
                dead_letter(self.topic, records.topic, records.partition, offset, one_line(reason, 1_000), key, value)
            )
        if letters:
            self._count(len(letters), reason)
        return letters

    def published(self, partition: int, offsets: Iterable[int]) -> None:
        """Note that the dead letters of these offsets are in the topic."""
        self._made.setdefault(partition, set()).update(offsets)

    def _count(self, letters: int, reason: str) -> None:
        now = time.monotonic()
        self._recent.append((now, letters))
        while self._recent[0][0] < now - MINUTE_S:
            self._recent.popleft()
        if (total := sum(count for _, count in self._recent)) > self.per_minute:
            raise TooManyDeadLetters(
                f"{total} records were refused within a minute, more than {self.per_minute}: the last for "
                f"{reason!r}; more in the topic {self.topic}. Mend the input, then start again "
                "(setting dead_letters_per_minute)"
            )
