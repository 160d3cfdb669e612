"""What a run is asked to be, and what it came to: one line of JSON."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

import orjson

from tests.fault_points import POINTS
from tests.soak.crew import Exit
from tests.soak.judge import Verdict
from tests.soak.progress import Fault, Stall
from tests.soak.schedule import KINDS, POINT_HITS

SHORT_SESSION_S: Final = 4.0
"""The groups' session time-out in runs of under ten minutes; in longer ones it is the product's own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to be; `per_s` records a second are sent."""

    seed: int
    minutes: float
    swapping: bool = False
    per_s: float = 200.0

    @property
    def length_s(self) -> float:
        """How long it is."""
        return 60.0 * self.minutes

    @property
    def session_s(self) -> float:
        """The time-out of the consumer groups."""
        return SHORT_SESSION_S if self.minutes < 10 else 10.0


@dataclass
class Happened:
    """What happened in a run: faults, hits of fault points, exits of processes other than as told, stalls."""

    faults: list[Fault] = field(default_factory=list)
    points: Counter[str] = field(default_factory=Counter)
    exits: Counter[Exit] = field(default_factory=Counter)
    stalls: list[Stall] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Faults by kind."""
        counted = Counter(fault.name for fault in self.faults if fault.name in KINDS)
        return {name: counted[name] for name in KINDS}

    def missing(self) -> list[str]:
        """What should have happened and did not."""
        rare = [point for point in POINTS if self.points[point] < POINT_HITS]
        return [name for name, count in self.counts().items() if not count] + rare

    def crashes(self) -> list[Exit]:
        """How processes ended by themselves that should not have."""
        return sorted(ended for ended in self.exits if not ended.allowed)

    def worst(self) -> Stall | None:
        """The longest stall."""
        return max(self.stalls, key=lambda stall: stall.length_s, default=None)

    def over(self) -> list[str]:
        """Stalls over their bounds, in words."""
        return [
            f"partition {stall.partition} stood {stall.length_s:.1f} s from {stall.began:.1f} s on, "
            f"{late:.1f} s too long after {cause.name if (cause := stall.cause(self.faults)) else 'nothing'}"
            for stall in self.stalls
            if (late := stall.over_s(self.faults)) > 0
        ]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    plan: Plan
    verdict: Verdict
    happened: Happened

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, nothing crashed or stood too long, and everything planned has happened."""
        happened = self.happened
        return self.verdict.good and not (happened.crashes() or happened.over() or happened.missing())

    def line(self) -> bytes:
        """One line of JSON."""
        found = {item.name: getattr(self.verdict, item.name) for item in fields(Verdict) if item.name != "words"}
        worst = self.happened.worst()
        line = {
            "good": self.good,
            "seed": self.plan.seed,
            "minutes": self.plan.minutes,
            "swapping": self.plan.swapping,
            "events": found.pop("events"),
            "faults": self.happened.counts(),
            "fault_points": {point: self.happened.points[point] for point in POINTS},
            **found,
            "worst_stall_s": round(worst.length_s, 1) if worst else 0.0,
            "stalls_over_bound": self.happened.over(),
            "not_happened": self.happened.missing(),
            "exits": {f"{ended.kind} {ended.code}": count for ended, count in self.happened.exits.items()},
            "crashes": sum(self.happened.exits[ended] for ended in self.happened.crashes()),
        }
        return orjson.dumps(line)
