"""Variable time windows, computed when read: which entries of a customer's log lie in a window that ends at an ask.

A window is written as one word:

| word | meaning, for an ask at time t |
|---|---|
| `90s`, `30m`, `2h`, `7d` | duration, half-open `(t - w, t]` |
| `session` | back to the last gap between entries longer than `SESSION_GAP_MS` |
| `since:purchase` | after the customer's last event of that kind (everything, if there is none) |
| `last:20` | the last 20 entries |
| `pace:3` | 3 times the customer's own median gap between events |

`session`, `last` and `pace` read raw entries only, as if there were no tiles (which late events can come to lie
between), and are *partial* when the log was folded within their reach. Any window is partial that reaches back
to before its log's `complete_since`.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from features.kinds import CODE, KINDS
from features.log import I64, MORE, Bool, Logs, expand

SESSION_GAP_MS: Final = 30 * 60_000
PACE_GAPS: Final = 20
PACE_NEEDED: Final = 4
PACE_MIN_MS: Final = 60_000
PACE_MAX_MS: Final = 7 * 86_400_000
PACE_DEFAULT_MS: Final = 86_400_000
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

WindowKind = Literal["duration", "session", "since", "last", "pace"]


@dataclass(frozen=True, slots=True)
class Window:
    """A parsed window.

    `amount` is milliseconds (duration), a count (last, pace), a kind's code (since) or 0 (session).
    """

    word: str
    kind: WindowKind
    amount: int

    @staticmethod
    def parse(word: str) -> "Window":
        """Parse a window's word; raises ValueError saying what is allowed."""
        if word == "session":
            return Window(word, "session", 0)
        if match := re.fullmatch(r"([1-9]\d*)([smhd])", word):
            return Window(word, "duration", int(match[1]) * _UNIT_MS[match[2]])
        if match := re.fullmatch(r"(last|pace):([1-9]\d*)", word):
            return Window(word, "last" if match[1] == "last" else "pace", int(match[2]))
        if word.startswith("since:") and word[6:] in KINDS:
            return Window(word, "since", CODE[word[6:]])
        raise ValueError(f"no window {word!r}: write 30m, 7d, session, since:KIND, last:N or pace:N")


@dataclass(slots=True)
class Asks:
    """Moments at which customers are looked at.

    Customer (a,), `time` (a,) UTC ms, `stop` (a,) the row after the last visible entry, `arrival` (a,) the last event
    (index in the chunk) that is visible.
    """

    customer: I64
    time: I64
    stop: I64
    arrival: I64


@dataclass(slots=True)
class View:
    """Every (ask, visible entry) as one row, in time order by ask.

    Columns (r,), made once and shared by all features.
    """

    asks: Asks
    logs: Logs
    ask: I64 = field(init=False)
    entry: I64 = field(init=False)
    age: I64 = field(init=False)
    kind: I64 = field(init=False)
    raw: Bool = field(init=False)
    first: I64 = field(init=False)  # (a,) first row of each ask; with `end`, empty where nothing is visible
    end: I64 = field(init=False)
    _masks: dict[str, Bool] = field(default_factory=dict)
    _pace: I64 | None = None
    _number: I64 | None = None  # row of each entry up to the asks' stops, -1 where it is not visible; None: all are

    def __post_init__(self) -> None:
        asks, logs = self.asks, self.logs
        starts = logs.offsets[asks.customer]
        ask, entry = expand(starts, asks.stop - starts)
        seen = logs.arrival[entry] <= asks.arrival[ask]
        if not seen.all():
            ask, entry = ask[seen], entry[seen]
            self._number = np.where(seen, np.cumsum(seen) - 1, -1)
        self.ask, self.entry = ask, entry
        self.age = asks.time[ask] - logs.entries["time"][entry]
        self.kind = (logs.entries["kind"] & ~np.uint8(MORE)).astype(np.int64)[entry]
        self.raw = (logs.entries["span"] == 0)[entry]
        counts = np.bincount(ask, minlength=len(asks.time))
        self.end = np.cumsum(counts)
        self.first = self.end - counts

    @property
    def row(self) -> I64:
        """Row numbers (r,)."""
        return np.arange(len(self.ask))

    def row_of(self, ask: I64, entry: I64) -> I64:
        """Row of each entry (n,) of the asks' customers, -1 where the ask does not see it."""
        length = self.asks.stop - self.logs.offsets[self.asks.customer]
        shift = np.cumsum(length) - self.asks.stop
        row = np.where(entry < self.asks.stop[ask], entry + shift[ask], -1)
        if self._number is not None:
            row = np.where(row >= 0, self._number[row], -1)
        return row

    def last_row(self, mask: Bool) -> I64:
        """Last row of each ask where `mask`, -1 where none (a,)."""
        last = np.full(len(self.asks.time), -1, dtype=np.int64)
        rows = np.flatnonzero(mask)
        last[self.ask[rows]] = rows  # of repeated indices numpy keeps the last
        return last

    def within(self, window: Window) -> Bool:
        """Rows that lie in `window` (r,)."""
        mask = self._masks.get(window.word)
        if mask is None:
            mask = self._masks[window.word] = self._compute(window)
        return mask

    def _compute(self, window: Window) -> Bool:
        if window.kind == "duration":
            return self.age < window.amount
        if window.kind == "last":
            seen = np.cumsum(self.raw)
            newer = np.concatenate([[0], seen])[self.end][self.ask] - seen  # raw rows of the ask after each row
            return self.raw & (newer < window.amount)
        if window.kind == "since":
            return self.row > self.last_row(self.kind == window.amount)[self.ask]
        if window.kind == "pace":
            return self.raw & (self.age < (window.amount * self.pace())[self.ask])
        return self.raw & (self.row >= self.session_start()[self.ask])

    def session_start(self) -> I64:
        """First row of each ask's session (a,).

        The end of its rows where there is no raw entry or the session is over.
        """
        rows = np.flatnonzero(self.raw)
        ask, age = self.ask[rows], self.age[rows]
        breaks, last = np.ones(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
        last[:-1] = ask[1:] != ask[:-1]
        breaks[1:] = last[:-1] | (age[:-1] - age[1:] > SESSION_GAP_MS)
        start, newest = np.full(len(self.end), -1), np.full(len(self.end), np.iinfo(np.int64).max)
        start[ask[breaks]] = rows[breaks]  # of repeated indices numpy keeps the last
        newest[ask[last]] = age[last]
        return np.where(newest > SESSION_GAP_MS, self.end, start)

    def pace(self) -> I64:
        """Median (lower) of the last PACE_GAPS gaps between each customer's raw events, bounded; (a,) ms."""
        if self._pace is not None:
            return self._pace
        heads = self.raw & ((self.logs.entries["kind"] & MORE) == 0)[self.entry]
        rows = np.flatnonzero(heads)
        counts = np.bincount(self.ask[rows], minlength=len(self.asks.time))
        ends = np.cumsum(counts)
        back = np.arange(PACE_GAPS + 1)
        column = ends[:, None] - 1 - back
        inside = back < counts[:, None]
        ages = self.age[rows][np.where(inside, column, 0)] if len(rows) else np.zeros(inside.shape, dtype=np.int64)
        gaps = np.where(inside[:, 1:], ages[:, 1:] - ages[:, :-1], np.iinfo(np.int64).max)
        gaps.sort(axis=1)
        number = np.clip(counts - 1, 0, PACE_GAPS)
        median = gaps[np.arange(len(number)), np.maximum(number - 1, 0) // 2]
        bounded = np.clip(median, PACE_MIN_MS, PACE_MAX_MS)
        self._pace = np.where(number >= PACE_NEEDED, bounded, PACE_DEFAULT_MS)
        return self._pace

    def partial(self, window: Window, complete_since: I64) -> Bool:
        """Asks for which `window` reaches into what the log has no raw entries of, or nothing (a,).

        Its answer is a lower bound. `complete_since` (n,) is the customers'.
        """
        since = complete_since[self.asks.customer]
        return self._folded(window) | ((since >= 0) & (self._reach(window) < since))

    def _reach(self, window: Window) -> I64:
        """The earliest time of which an event could be, or have been, in `window` (a,); -1 where any could."""
        time = self.asks.time
        if window.kind == "duration":
            return time - window.amount + 1
        if window.kind == "pace":
            return time - window.amount * self.pace() + 1
        if window.kind == "session":
            start = self.session_start()
            begin = self._time_of(np.where(start < self.end, start, -1))
            return np.where(begin < 0, time, begin) - SESSION_GAP_MS
        if window.kind == "since":
            return self._time_of(self.last_row(self.kind == window.amount))
        inside = self.within(window)
        whole = np.bincount(self.ask[inside], minlength=len(time)) == window.amount
        first = np.full(len(time), -1)
        rows = np.flatnonzero(inside)[::-1]
        first[self.ask[rows]] = rows  # of repeated indices numpy keeps the last
        return self._time_of(np.where(whole, first, -1))

    def _time_of(self, rows: I64) -> I64:
        """Times of the rows (a,), -1 where there is none."""
        entry = self.entry[np.maximum(rows, 0)] if len(self.entry) else np.zeros(0, dtype=np.int64)
        return np.where(rows < 0, -1, self.logs.entries["time"][entry]) if len(entry) else np.full(len(rows), -1)

    def _folded(self, window: Window) -> Bool:
        """Asks for which `window` reads raw entries, and reaches into the folded part of the log (a,)."""
        folded = self.last_row(~self.raw)
        if window.kind in ("duration", "since"):
            return np.zeros(len(folded), dtype=bool)
        if window.kind == "last":
            return (folded >= 0) & (self.end - 1 - folded < window.amount)
        if not len(self.age):
            return np.zeros(len(folded), dtype=bool)
        age = self.age[folded]
        if window.kind == "pace":
            return (folded >= 0) & (age < window.amount * self.pace())
        start = self.session_start()
        reach = np.where(start < self.end, self.age[np.minimum(start, len(self.age) - 1)], 0)
        return (folded >= 0) & (age - reach <= SESSION_GAP_MS)
