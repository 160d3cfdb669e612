"""At which thresholds a question's candidates would sound an alarm: where nothing is cooling down, at each by itself.

As in an intent's life (`intents/life.py`), an alarm is followed by a cool-down of one horizon at its threshold, which
an outcome of that customer and subject ends. What cools down is kept by question, with one bit for each threshold of
GRID. It follows from what was read, in that order, so a trainer that reads again from where a copy was made comes to
the same. Of customers, who are known by a hash, it keeps a share: halved whenever more than MOST questions are kept.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from features.bundle import F32
from features.log import U64
from intents.intent import STEP
from intents.questions import Source
from intents.targets import GRID

MOST: Final = 16_384
MOST_OF_ONE: Final = 64
"""Questions of one customer that are kept, the newest: whoever floods the log must not cost others their share."""

_STEPS: Final = np.rint(GRID * STEP)
_UP_TO: Final = np.array([(1 << count) - 1 for count in range(len(GRID) + 1)], dtype=np.uint64)
_NONE: Final = np.uint64(0)


@dataclass(slots=True)
class Sounded:
    """The alarms of one question: `alarms` (n,) has bit k where one sounded of that subject at GRID[k]."""

    source: Source
    customer: int
    time: int
    subjects: U64
    alarms: U64


class CoolDowns:
    """What is cooling down, by source and customer."""

    def __init__(self, horizon_ms: int, share: float = 1.0, sounded: Iterable[Sounded] = ()) -> None:
        """Those of a checkpoint go on, in their order."""
        self.horizon_ms, self.share = horizon_ms, share
        self._by_source: dict[Source, deque[Sounded]] = {}
        self._of: dict[tuple[Source, int], list[Sounded]] = {}
        self._count = 0
        for one in sounded:
            self._keep(replace(one, alarms=one.alarms.copy()))

    def ask(self, source: Source, customer: int, time: int, subjects: U64, said: F32) -> U64 | None:
        """Of a question's candidates (n,), the thresholds at which each sounds an alarm, as bits; they cool down now.

        None for a customer who is not of the share, or where nothing was said (NaN).
        """
        if not self._holds(customer) or not np.isfinite(said).any():
            return None
        steps = np.rint(np.fmax(said, 0.0).astype(np.float64) * STEP)  # NaN: 0
        alarms: U64 = _UP_TO[np.searchsorted(_STEPS, steps, "right")]
        past = [one for one in self._of.get((source, customer), ()) if time - one.time <= self.horizon_ms]
        if past:
            before, cooling = (np.concatenate([getattr(one, name) for one in past]) for name in ("subjects", "alarms"))
            same = subjects[:, None] == before
            alarms = alarms & ~np.bitwise_or.reduce(np.where(same, cooling, _NONE), axis=1)
        loud = alarms != 0
        if loud.any():
            self._keep(Sounded(source, customer, time, subjects[loud], alarms[loud]))
            while self._count > MOST:
                self._thin()
        return alarms

    def outcome(self, source: Source, customer: int, subject: int, time: int) -> None:
        """An outcome ends what is cooling down of its customer and subject, from alarms before it."""
        for one in list(self._of.get((source, customer), ())):
            if one.time < time:
                one.alarms[one.subjects == subject] = 0
                if not one.alarms.any():
                    self._drop(one)

    def passed(self, source: Source, time: int) -> None:
        """A source has passed this event time: what has cooled down by then is dropped."""
        kept = self._by_source.get(source)
        while kept and (time - kept[0].time > self.horizon_ms or not kept[0].alarms.any()):
            one = kept.popleft()
            if one.alarms.any():
                self._drop(one)

    def sounded(self) -> list[Sounded]:
        """Copies of what is cooling down, by source in order of reading."""
        kept = (one for source in sorted(self._by_source) for one in self._by_source[source])
        return [replace(one, alarms=one.alarms.copy()) for one in kept if one.alarms.any()]

    def _keep(self, one: Sounded) -> None:
        self._by_source.setdefault(one.source, deque()).append(one)
        mine = self._of.setdefault((one.source, one.customer), [])
        mine.append(one)
        self._count += 1
        if len(mine) > MOST_OF_ONE:
            self._drop(mine[0])

    def _drop(self, one: Sounded) -> None:
        """Keep it no longer; it may stay in its queue, where it is nothing without alarms."""
        one.alarms[:] = 0
        mine = self._of[one.source, one.customer]
        mine[:] = [other for other in mine if other is not one]
        if not mine:
            del self._of[one.source, one.customer]
        self._count -= 1

    def _thin(self) -> None:
        kept, self.share = self.sounded(), self.share / 2
        self._by_source, self._of, self._count = {}, {}, 0
        for one in kept:
            if self._holds(one.customer):
                self._keep(one)

    def _holds(self, customer: int) -> bool:
        """Whether a customer is of the share; hashes are even."""
        return customer < self.share * 2.0**64
