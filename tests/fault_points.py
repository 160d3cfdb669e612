"""Places inside the commit protocol where a worker can be made to die, to see that nothing is lost there or done twice.

A worker dies (SIGKILL) at the n-th hit of a point: of one it was started with, or one it is ordered to while it runs,
by a file that holds `POINT:N`. It says so in its log before.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from features.redis_store import RedisStore
from features.store import Answer, Claimed, Commit, PartitionKey
from sinks.records import Record
from streams.transport import ChunkApp

POINTS: Final = {
    "before_commit": "before a commit",
    "before_publish": "between commit and publish",
    "before_acknowledgement": "between publish and acknowledgement",
    "during_claim": "between a claim and publishing the outbox found",
    "during_rebuild": "between two commits of a rebuild",
}
"""The points, and how a dying worker calls them."""


@dataclass(slots=True)
class Doom:
    """At which point this process has to die, and how many hits of it are left; `orders` is a file with another."""

    point: str = ""
    left: int = 0
    orders: Path | None = None

    @staticmethod
    def at(order: str, orders: Path | None = None) -> "Doom":
        """A doom of `POINT:N`, or none yet for an empty order."""
        point, _, left = order.partition(":")
        if point and point not in POINTS:
            raise ValueError(f"no fault point {point!r}: there are {', '.join(POINTS)}")
        return Doom(point, int(left or 0), orders)

    def passes(self, point: str) -> None:
        """Be at `point`: die if the time has come."""
        if self.orders is not None and self.orders.exists():
            ordered = Doom.at(self.orders.read_text())
            self.orders.unlink()
            self.point, self.left = ordered.point, ordered.left
        self.left -= point == self.point
        if point == self.point and self.left == 0:
            print(f"dying {POINTS[point]}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


def died_at(log: str) -> str:
    """The point that a dead worker's log names, empty if none."""
    return next((point for point, words in POINTS.items() if f"dying {words}" in log), "")


def prepare(app: ChunkApp, intents: str, doom: Doom) -> None:
    """Make `app`'s process pass the points; a publication counts if a commit with `intents` led to it."""
    claim, commit, publish = RedisStore.claim, RedisStore.commit, app.publish
    committed = False

    async def claimed(*of: Any, **options: Any) -> Claimed:
        found = await claim(*of, **options)
        if found.outbox:
            doom.passes("during_claim")
        return found

    async def committing(store: RedisStore, key: PartitionKey, what: Commit) -> Answer:
        nonlocal committed
        doom.passes("before_commit")
        answer = await commit(store, key, what)
        committed = True
        if what.adopt_until >= 0:
            doom.passes("during_rebuild")
        return answer

    async def publishing(records: Sequence[Record], *of: Any, **options: Any) -> None:
        nonlocal committed
        counts = committed and any(record.topic == intents for record in records)
        if counts:
            committed = False
            doom.passes("before_publish")
        await publish(records, *of, **options)
        if counts:
            doom.passes("before_acknowledgement")

    RedisStore.claim = claimed  # type: ignore[method-assign]
    RedisStore.commit = committing  # type: ignore[method-assign, assignment]
    app.publish = publishing  # type: ignore[method-assign]
