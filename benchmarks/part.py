"""What each part of the benchmarks prints: one JSON line, read by the tables and plots of docs/performance.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """A value measured several times: its median, and the lowest and highest."""

    median: float
    lowest: float
    highest: float
    runs: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return Spread(median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its `name`, the `command` that repeats it, and what was measured, `values` by label, in `unit`.

    `notes` are sentences that belong under the table: what a peer does not do, what else ran.
    """

    name: str
    command: str
    unit: str
    values: dict[str, Spread]
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """One JSON line."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(line: str) -> "Part":
        """The part of a line that `line()` made."""
        told = json.loads(line)
        values = {label: Spread(**spread) for label, spread in told["values"].items()}
        return Part(told["name"], told["command"], told["unit"], values, tuple(told["notes"]))
