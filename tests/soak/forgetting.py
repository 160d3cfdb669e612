"""Customers of the feed who ask to be forgotten, and what of theirs comes afterwards: again, late, and a week on.

What comes is due by event time, as the feed goes on: the same for a seed, whatever its pace.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random
from typing import Final

import orjson

FORGET_EVERY: Final = 150
"""After so many records one more customer asks to be forgotten."""
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_WEEK_MS: Final = 7 * 24 * _HOUR_MS
_ASKED_AFTER_MS: Final = (0, _MINUTE_MS, -_HOUR_MS)
"""The time of a forget, from that of the customer's last record on: it may be late, too."""
_LATE_MS: Final = (0, 1, _MINUTE_MS, 3 * _HOUR_MS)
"""How much older than the forget what comes late may be."""
_WEEK_AND_MS: Final = (-_HOUR_MS, _MINUTE_MS, 3 * _MINUTE_MS, 2 * _HOUR_MS)
"""When, a week on, the old record comes once more: a little before its forget is forgotten, too, or after."""

_STAYS_AWAY: Final = 0.5
"""How many of them do nothing any more."""


class Forgetting:
    """Beside each record of a feed, what this makes come."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._due: list[tuple[int, int, bytes]] = []
        self._left: dict[object, int] = {}
        self._made = 0

    def has_left(self, value: bytes) -> bool:
        """Whether a record is of somebody who does nothing any more after being forgotten."""
        event = orjson.loads(value)
        return bool(event["time"] > self._left.get(event["customer_id"], event["time"]))

    def beside(self, number: int, value: bytes) -> Iterator[bytes]:
        """What comes just after the feed's `number`th record."""
        event = orjson.loads(value)
        while self._due and self._due[0][0] <= event["time"]:
            yield heappop(self._due)[2]
        if number % FORGET_EVERY == 0:
            yield from self._forget(number, event, value)

    def _forget(self, number: int, event: dict[str, object], value: bytes) -> Iterator[bytes]:
        last = int(str(event["time"]))
        time = last + self._dice.choice(_ASKED_AFTER_MS)
        asking = {"event_id": f"forget-{number}", "customer_id": event["customer_id"], "kind": "forget", "time": time}
        yield orjson.dumps(asking)
        yield value
        late = {"event_id": f"late-{number}", "time": time - self._dice.choice(_LATE_MS)}
        again = last + self._dice.randint(2 * _MINUTE_MS, _HOUR_MS)
        self._later(last + self._dice.randint(0, _HOUR_MS), value)
        self._later(last + self._dice.randint(0, _HOUR_MS), orjson.dumps(event | late))
        if self._dice.random() < _STAYS_AWAY:
            self._left.setdefault(event["customer_id"], time)
            return
        self._later(again, orjson.dumps(event | {"event_id": f"again-{number}", "time": again}))
        self._later(last + _WEEK_MS + self._dice.choice(_WEEK_AND_MS), value)

    def _later(self, time: int, value: bytes) -> None:
        self._made += 1
        heappush(self._due, (time, self._made, value))
