"""How far a trainer has read: by source partition, the entries and event time that it is past, and who is silent."""

from dataclasses import dataclass, field
from typing import Final

from intents.questions import Source

Mark = tuple[int, int]
"""Where an entry is in its source: (offset, index)."""

PATIENCE_MS: Final = 24 * 3_600_000
"""A source of which nothing came for so long is silent: its open questions are answered with what is known."""
_EVERYTHING: Final = 1 << 62


@dataclass(slots=True)
class Reading:
    """How far the examples were read: the next offset, and per source partition the highest entry and the watermark.

    `clock` is the log's time (ms), `heard` when something came of each source, by it: a source that others are ahead of
    in event time may only be read later, as after a replay. `silenced`: up to which entry a source's questions were
    answered because it was silent.
    """

    next: int = 0
    marks: dict[Source, Mark] = field(default_factory=dict)
    watermarks: dict[Source, int] = field(default_factory=dict)
    clock: int = -1
    heard: dict[Source, int] = field(default_factory=dict)
    silenced: dict[Source, Mark] = field(default_factory=dict)

    def hear(self, source: Source, watermark: int, at_ms: int) -> None:
        """Note a record of a source, and when Kafka took it; where that is not known (-1), watermarks are the clock."""
        self.watermarks[source] = max(self.watermarks.get(source, -1), watermark)
        if at_ms - self.clock > PATIENCE_MS:  # nothing came of anybody: that is not the silence of one
            self.heard = dict.fromkeys(self.heard, at_ms)
        self.clock = max(self.clock, watermark if at_ms < 0 else at_ms)
        self.heard[source] = self.clock
        silent = [other for other in self.heard if self._silent(other)]
        self.silenced |= {other: self.marks[other] for other in silent if other in self.marks}

    def passed(self, source: Source) -> int:
        """Event time that a source has passed: its watermark, or if it is silent, everything."""
        return _EVERYTHING if self._silent(source) else self.watermarks.get(source, -1)

    def _silent(self, source: Source) -> bool:
        return self.clock - self.heard.get(source, self.clock) > PATIENCE_MS

    def answered(self, source: Source, entry: Mark) -> int:
        """Event time before which questions that end there have been answered, of this entry of a source."""
        return _EVERYTHING if entry <= self.silenced.get(source, (-1, -1)) else self.passed(source)

    def copy(self) -> "Reading":
        """An independent copy."""
        dicts = (dict(self.marks), dict(self.watermarks), self.clock, dict(self.heard), dict(self.silenced))
        return Reading(self.next, *dicts)
