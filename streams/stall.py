"""When a partition stalls: it has records, or nobody can say, and nothing comes of them.

Faust's and Kafka's own watchdogs only log, or only see whether polls go on. A worker whose agent hangs, whose fetcher
is silent after a rebalance, or whose offsets never move looks alive to them: so what comes out is watched, not what
runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

Place = tuple[str, int]
"""A topic and one of its partitions."""

READY_S: Final = 30.0
"""A stall this long makes the process not ready."""
STALL_S: Final = 180.0
"""A stall this long ends the process, to be started again. Longer than `RETRY_FOR_S` and the calls that it repeats."""
LONGEST_LOOK_S: Final = 10.0
"""What one look counts at most: a process that was stopped, or a machine that slept, has not stalled."""


@dataclass(frozen=True, slots=True)
class Behind:
    """Where a partition stands: the next offset to finish, and how many records are left (None: not known yet)."""

    position: int
    lag: int | None


@dataclass(slots=True)
class Silence:
    """How long (s) nothing has come of a partition with records, and where it stood last."""

    seconds: float = 0.0
    last: Behind = field(default_factory=lambda: Behind(-1, None))

    def look(self, elapsed_s: float, now: Behind | None, moved: bool) -> None:
        """Look again after `elapsed_s`; `now` is None if Kafka does not say.

        Claims and seeks are no progress: a worker that is fenced again and again only has those.
        """
        self.seconds += min(elapsed_s, LONGEST_LOOK_S)
        if moved or (now is not None and now.lag == 0):
            self.seconds = 0.0
        if now is not None:
            self.last = now


@dataclass(slots=True)
class Stall:
    """Watches the assigned partitions of a process, and that it has joined its group at all."""

    silences: dict[Place, Silence] = field(default_factory=dict)
    unjoined_s: float = 0.0

    def look(
        self,
        elapsed_s: float,
        assigned: Collection[Place] | None,
        behind: Mapping[Place, Behind] | None,
        moved: Collection[Place],
    ) -> None:
        """Look again after `elapsed_s`.

        `assigned` is None while the group is not joined, `behind` if Kafka does not say; `moved` is what came about.
        """
        if assigned is None:
            self.unjoined_s += min(elapsed_s, LONGEST_LOOK_S)
            return
        self.unjoined_s = 0.0
        self.silences = {place: self.silences.get(place) or Silence() for place in assigned}
        for place, silence in self.silences.items():
            silence.look(elapsed_s, behind.get(place) if behind is not None else None, place in moved)

    @property
    def worst(self) -> tuple[Place, Silence] | None:
        """The partition that is silent longest."""
        return max(self.silences.items(), key=lambda item: item[1].seconds, default=None)

    @property
    def seconds(self) -> float:
        """How long the worst is silent."""
        return max(self.unjoined_s, self.worst[1].seconds if self.worst else 0.0)

    @property
    def said(self) -> str:
        """The worst in words."""
        if self.worst is None or self.unjoined_s > self.worst[1].seconds:
            return f"the group was not joined for {self.unjoined_s:.0f} s"
        (topic, partition), silence = self.worst
        lag = silence.last.lag
        left = f"{lag} records are left" if lag is not None else "Kafka does not say how many records are left"
        return (
            f"nothing was finished of {topic}/{partition} at offset {silence.last.position} "
            f"for {silence.seconds:.0f} s, and {left}"
        )
