"""What goes wrong when: every kind of fault, and every fault point, spread over a run by a seed.

Two tracks run beside each other: faults of services and processes, and workers that die at fault points.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fault_points import POINTS

POINT_HITS: Final = 3
"""How often each fault point is hit at least."""
SHORTEST_S: Final = 120.0
"""A run of this length has every kind once; `Kind.length_s` is for it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how long it lasts in the shortest run, at most in any, and after how long all must go on again.

    `recovery_s` comes on top of the fault's own length; `sessions` of the group's session time-out come on top of that.
    """

    length_s: float
    longest_s: float
    recovery_s: float
    sessions: int = 1
    about: str = ""

    def lasts_s(self, run_s: float) -> float:
        """Its length in a run of `run_s`."""
        return min(self.longest_s, self.length_s * max(1.0, run_s / SHORTEST_S))

    def bound_s(self, session_s: float) -> float:
        """How long, from its end on, a partition may still stand."""
        return self.recovery_s + self.sessions * session_s


KINDS: Final = {
    "worker_kill": Kind(0, 0, 12, about="SIGKILL"),
    "worker_zombie": Kind(0, 0, 12, about="SIGSTOP beyond the session time-out, then SIGCONT"),
    "worker_replace": Kind(0, 0, 5, 0, "SIGTERM, and the start of another: two rebalances, each promised in under 5 s"),
    "worker_burst": Kind(2, 8, 12, about="workers that join and leave every second"),
    "worker_starved": Kind(2, 20, 12, about="memory for two events at a time, then for none: it ends and is replaced"),
    "trainer_kill": Kind(0, 0, 5, 0, "SIGKILL"),
    "trainer_pause": Kind(5, 30, 5, 0, "SIGSTOP, SIGCONT"),
    "redis_kill": Kind(0, 0, 10, 0, "SIGKILL and a restart from the AOF"),
    "redis_away": Kind(3, 60, 12, 0, "SIGKILL, and a restart later"),
    "redis_pause": Kind(5, 5, 10, 0, "SIGSTOP, SIGCONT"),
    "redis_cut": Kind(1, 1, 5, 0, "all connections cut, several times"),
    "redis_full": Kind(2, 20, 10, 0, "out of memory"),
    "redis_emptied": Kind(0, 0, 20, 0, "FLUSHALL"),
    "redis_older": Kind(4, 60, 20, 0, "restored from a snapshot of some seconds before"),
    "kafka_kill": Kind(0, 0, 15, 2, "SIGKILL and a restart"),
    "kafka_away": Kind(3, 60, 15, 2, "SIGSTOP, SIGCONT"),
    "produce_errors": Kind(3, 20, 10, 0, "Kafka refuses intents"),
    "duplicate_delivery": Kind(0, 0, 5, 0, "a producer starts again and repeats what it is not sure of"),
    "retention": Kind(2, 10, 20, about="while there are no workers, Kafka deletes some of what they have not read"),
}
"""Every kind of fault."""
LAST: Final = "retention"
"""Comes once, when all others are over: what Redis loses after it could not be rebuilt from what Kafka still has."""

POINT_KIND: Final = Kind(0, 0, 20, about="a worker dies at a fault point")
CALM_S: Final = 15.0
"""How long a partition may stand though nothing is the matter: a record that detect cannot work, in a full chunk, is
looked for in some thirty tries, and meanwhile all partitions of that worker wait."""


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """A fault, or the fault point of that name, at `at_s` from the beginning."""

    at_s: float
    name: str
    length_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The two tracks of a run, each in order of time, and what comes when both are over."""

    faults: list[Planned]
    points: list[Planned]
    last: Planned


def schedule(seed: int, run_s: float) -> Schedule:
    """The schedule of a seed; in longer runs everything comes more often, but further apart."""
    dice = Random(f"schedule {seed}")
    rounds = max(1, round(run_s / (2 * SHORTEST_S)))
    faults = _spread(dice, [name for name in KINDS if name != LAST], rounds, run_s)
    lasting = [Planned(at.at_s, at.name, KINDS[at.name].lasts_s(run_s)) for at in faults]
    last = Planned(run_s, LAST, KINDS[LAST].lasts_s(run_s))
    return Schedule(lasting, _spread(dice, list(POINTS), max(POINT_HITS, rounds), run_s), last)


def _spread(dice: Random, names: list[str], rounds: int, run_s: float) -> list[Planned]:
    """Each of `names` once a round, shuffled, in slots of equal length with some room before each."""
    order = [name for _ in range(rounds) for name in dice.sample(names, len(names))]
    slot = 0.9 * run_s / len(order)
    return [Planned(round(0.03 * run_s + (n + 0.5 * dice.random()) * slot, 2), name) for n, name in enumerate(order)]
