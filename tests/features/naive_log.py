"""The activity log again, slow and obvious: one customer, one event at a time, lists and loops.

It judges features/log.py and features/apply.py.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from features.kinds import KINDS

HOUR: Final = 60 * 60 * 1000
DAY: Final = 24 * HOUR
STATE: Final = 30 * DAY
WEEK: Final = 7 * DAY


@dataclass(frozen=True)
class Event:
    """One event of the clickstream; the ids and subjects are the numbers that the hashes would be."""

    customer: str
    kind: str
    time: int
    id: int
    subjects: tuple[int, ...] = ()
    product: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log: of a raw event and one of its subjects (the `first` or a further one), or a tile."""

    time: int
    kind: str
    subject: int = 0
    id: int = 0
    product: int = 0
    value: int = 0
    count: int = 1
    first: bool = True
    span: Literal["raw", "hour", "day"] = "raw"

    @property
    def raw(self) -> bool:
        """Whether this is an event itself, not a tile."""
        return self.span == "raw"

    @property
    def slice(self) -> tuple[int, int]:
        """The aligned slice [start, end) that a tile stands for."""
        length = HOUR if self.span == "hour" else DAY
        start = self.time // length * length
        return start, start + length


Verdict = Literal["applied", "duplicate", "unverifiable", "forgotten", "forget"]


class Told(NamedTuple):
    """What became of an event, and the log as it was seen `before` it and `after` it, up to its own time."""

    verdict: Verdict
    late: bool = False
    before: tuple[Entry, ...] = ()
    after: tuple[Entry, ...] = ()


@dataclass
class NaiveLog:
    """One customer's log and what it remembers. With `folding` off it is the truth that folding approximates."""

    folding: bool = True
    entries: list[Entry] = field(default_factory=list)
    folded: list[tuple[int, int]] = field(default_factory=list)  # (id, time), the last 64
    newest: int = -1
    floor: int = -1
    complete_since: int = -1
    forced: int = 0
    tombstone: int = -1
    since: int = -1  # what came before it was in a log that is gone

    def __post_init__(self) -> None:
        self.clear()

    def end(self, watermark: int) -> None:
        """The state ends 30 days after the last event: when a watermark is greater than that."""
        if self.newest >= 0 and watermark > self.newest + STATE:
            self.clear()

    def clear(self) -> None:
        """Leave nothing but the tombstone."""
        self.entries, self.folded = [], []
        self.newest, self.floor, self.complete_since = -1, max(self.since - 1, -1), self.since
        self.forced = 0

    def buried(self, time: int, watermark: int) -> bool:
        """Whether events of that time are forgotten: for a week after the tombstone's time, by the watermark."""
        return time <= self.tombstone and watermark <= self.tombstone + WEEK

    def apply(self, event: Event, watermark: int) -> Told:
        """Apply one event; `watermark` is the partition's, this event's record included."""
        self.end(watermark)
        if event.kind == "forget":
            if not self.buried(event.time, watermark):
                self.tombstone = max(event.time, self.newest)  # what is erased stays erased
                self.clear()
            return Told("forget")
        if self.buried(event.time, watermark):
            return Told("forgotten")
        known = [entry.id for entry in self.entries if entry.raw] + [folded for folded, _ in self.folded]
        if event.id in known:
            return Told("duplicate")
        if event.time <= self.floor:
            return Told("unverifiable")
        late = event.time < self.newest
        self.newest = max(self.newest, event.time)
        earlier = [entry for entry in self.entries if entry.time <= event.time]
        later = [entry for entry in self.entries if entry.time > event.time]
        mine = [
            Entry(event.time, event.kind, subject, event.id, event.product, event.value, first=number == 0)
            for number, subject in enumerate(event.subjects or (0,))
        ]
        self.entries = earlier + mine + later
        while self.folding and len([entry for entry in self.entries if entry.raw]) > 128:
            self._fold(watermark)
        return Told("applied", late, tuple(earlier), tuple(earlier + mine))

    def _fold(self, watermark: int) -> None:
        raw = [entry for entry in self.entries if entry.raw]
        old, raw = raw[:17], raw[17:]
        self.forced += len([entry for entry in old if entry.time >= watermark])
        for entry in old:
            if entry.first:
                self._remember(entry)
        edge = old[-1].time
        tiles = [entry for entry in self.entries if not entry.raw]
        tiles += [replace(entry, span="hour" if edge - entry.time < 2 * DAY else "day") for entry in old]
        tiles = self._bounded(merged(tiles), edge)
        self.entries = sorted(tiles + raw, key=lambda entry: entry.time)  # of equal time, tiles first

    def _remember(self, entry: Entry) -> None:
        self.folded.append((entry.id, entry.time))
        if len(self.folded) > 64:
            _, time = self.folded.pop(0)
            self.floor = max(self.floor, time)

    def _bounded(self, tiles: list[Entry], edge: int) -> list[Entry]:
        if len(tiles) > 64:
            tiles = merged([replace(tile, span="day") if edge - tile.time >= 2 * DAY else tile for tile in tiles])
        if len(tiles) > 64:
            tiles = merged([replace(tile, span="day") for tile in tiles])
        while len(tiles) > 64:
            lost = min(tiles, key=lambda tile: (tile.time, tile.count, tile.subject, _code(tile)))
            tiles.remove(lost)
            self.complete_since = max(self.complete_since, lost.slice[1])
        return tiles


def merged(tiles: list[Entry]) -> list[Entry]:
    """One tile for each kind, subject and slice; ordered, so that tiles of equal time have an order too."""
    groups: dict[tuple[str, int, int, str, bool], list[Entry]] = {}
    for tile in tiles:
        groups.setdefault((tile.span, tile.slice[0], tile.subject, tile.kind, tile.first), []).append(tile)
    found = []
    for group in groups.values():
        if len(group) == 1 and not group[0].id:  # a tile that nothing joins
            found.append(group[0])
            continue
        time = max(tile.time for tile in group)
        count = min(sum(tile.count for tile in group), 65_535)
        value = max(min(sum(tile.value for tile in group), 2**31 - 1), -(2**31))
        products = {entry.product for entry in group}
        product = products.pop() if len(products) == 1 else 0
        found.append(replace(group[0], time=time, count=count, value=value, id=0, product=product))
    return sorted(found, key=lambda tile: (tile.span == "day", tile.subject, _code(tile), tile.time))


def _code(tile: Entry) -> tuple[bool, int]:
    return (not tile.first, KINDS.index(tile.kind))


@dataclass
class NaiveLogs:
    """Logs of all customers of one partition."""

    folding: bool = True
    since: int = -1
    of: dict[str, NaiveLog] = field(default_factory=dict)

    def apply(self, event: Event, watermark: int) -> Told:
        """Apply one event to its customer's log."""
        log = self.of.setdefault(event.customer, NaiveLog(self.folding, since=self.since))
        return log.apply(event, watermark)
