"""Windows, aggregates and features again, slow and obvious, over a plain list of entries.

They judge features/windows.py, pairs.py, aggregates.py and bundle.py. `entries` are always those of one customer that
are visible at time `t`, in the log's order.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from features.aggregates import Aggregate
from features.bundle import Bundle, Feature
from tests.features.naive_log import DAY, HOUR, Entry

MINUTE: Final = 60_000
SESSION_GAP: Final = 30 * MINUTE
NEVER: Final = 90 * DAY
UNITS: Final = {"s": 1_000, "m": MINUTE, "h": HOUR, "d": DAY}
TOUCHING: Final = ("view", "click", "banner_click", "search", "favorite", "cart_add", "purchase")


def within(word: str, entries: Sequence[Entry], t: int) -> list[Entry]:
    """Entries that lie in a window that ends at `t`."""
    raw = [entry for entry in entries if entry.raw]
    if not word:
        return list(entries)
    if word == "session":
        return session(entries, t)
    name, _, amount = word.partition(":")
    if name == "since":
        return since(amount, entries)
    if name == "last":
        return raw[-int(amount) :]
    if name == "pace":
        return [entry for entry in raw if t - entry.time < int(amount) * pace(entries)]
    return [entry for entry in entries if t - int(word[:-1]) * UNITS[word[-1]] < entry.time <= t]


def session(entries: Sequence[Entry], t: int) -> list[Entry]:
    """Raw entries back to the last gap longer than the session gap, the one before `t` included."""
    found: list[Entry] = []
    at = t
    for entry in reversed([entry for entry in entries if entry.raw]):
        if at - entry.time > SESSION_GAP:
            break
        found.insert(0, entry)
        at = entry.time
    return found


def since(kind: str, entries: Sequence[Entry]) -> list[Entry]:
    """Entries after the last one of a kind; all if there is none."""
    found: list[Entry] = []
    for entry in entries:
        if entry.kind == kind:
            found = []
        else:
            found.append(entry)
    return found


def pace(entries: Sequence[Entry]) -> int:
    """The median of the last 20 gaps between events (of two middle ones the smaller), 1 min to 7 days.

    A day where there are fewer than four gaps.
    """
    times = [entry.time for entry in entries if entry.raw and entry.first]
    gaps = [later - earlier for earlier, later in pairwise(times)][-20:]
    if len(gaps) < 4:
        return DAY
    median = sorted(gaps)[(len(gaps) - 1) // 2]
    return min(max(median, MINUTE), 7 * DAY)


def partial(word: str, entries: Sequence[Entry], t: int, complete_since: int) -> bool:
    """Whether a window reaches back to where nothing is known, or one of raw entries to where the log was folded."""
    return folded(word, entries, t) or (complete_since >= 0 and any_could_be(word, entries, t, complete_since - 1))


def any_could_be(word: str, entries: Sequence[Entry], t: int, unknown: int) -> bool:
    """Whether an event at `unknown`, or anywhere before, would be in the window, or move where it begins."""
    raw = [entry for entry in entries if entry.raw]
    name, _, amount = word.partition(":")
    if name == "since":
        return all(entry.time <= unknown for entry in entries if entry.kind == amount)
    if name == "last":
        return len(raw) < int(amount) or raw[-int(amount)].time <= unknown
    if name == "pace":
        return t - unknown < int(amount) * pace(entries)
    if name == "session":
        return min([entry.time for entry in session(entries, t)], default=t) - unknown <= SESSION_GAP
    return t - unknown < int(word[:-1]) * UNITS[word[-1]]


def folded(word: str, entries: Sequence[Entry], t: int) -> bool:
    """Whether a window of raw entries reaches back to where the log was folded."""
    tiles = [entry for entry in entries if not entry.raw]
    if not tiles:
        return False
    if word == "session":
        reach = min([entry.time for entry in session(entries, t)], default=t)
        return any(reach - tile.time <= SESSION_GAP for tile in tiles)
    name, _, amount = word.partition(":")
    if name == "last":
        newest = max(place for place, entry in enumerate(entries) if not entry.raw)
        return len(entries) - 1 - newest < int(amount)
    if name == "pace":
        return any(t - tile.time < int(amount) * pace(entries) for tile in tiles)
    return False


def aggregate(what: Aggregate, entries: Sequence[Entry], t: int, subject: int = 0) -> float:
    """One aggregate for the customer, or for the customer and `subject`."""
    if what.what == "pace":
        return pace(entries)
    if what.what == "rank":
        order = by_recency(entries)
        return min(order.index(subject), 64) if subject in order else 64
    if what.what == "subjects":
        return len(by_recency(entries))
    if what.what == "run":
        others = [place for place, entry in enumerate(entries) if entry.subject != subject]
        return len(entries) - 1 - max(others, default=-1) if subject else 0
    found = [entry for entry in within(what.window, entries, t) if not what.kinds or entry.kind in what.kinds]
    if what.over == "pair":
        found = [entry for entry in found if entry.subject == subject]
    else:
        found = [entry for entry in found if entry.first]  # an event of several subjects is one event
    if what.what == "count":
        return sum(entry.count for entry in found)
    if what.what == "value":
        return sum(entry.value for entry in found)
    if what.what == "distinct":
        return len({entry.product for entry in found} - {0})
    if what.what == "repeat":
        return repeat(found)
    if what.what == "same":
        return same(found, entries, subject)
    if what.what == "open":
        return 1 if found and found[-1].kind == "cart_add" else 0
    if what.what == "active":
        return sum(gap for gap in gaps_of(found) if gap <= SESSION_GAP)
    if what.what == "visits":
        return 1 + len([gap for gap in gaps_of(found) if gap > SESSION_GAP]) if found else 0
    if what.what == "age":
        return t - found[-1].time if found else NEVER
    if what.what == "first_age":
        return t - found[0].time if found else NEVER
    assert what.what == "gap"
    return gaps_of(found)[-1] if len(found) > 1 else NEVER


def repeat(found: Sequence[Entry]) -> int:
    """How often the product is there that is there most often, of those without an outcome."""
    seen: dict[int, list[str]] = {}
    for entry in found:
        if entry.product:
            seen.setdefault(entry.product, []).append(entry.kind)
    counts = [
        sum(entry.count for entry in found if entry.product == product)
        for product, kinds in seen.items()
        if not {"cart_add", "purchase"} & set(kinds)
    ]
    return max(counts, default=0)


def same(found: Sequence[Entry], entries: Sequence[Entry], subject: int) -> int:
    """How many of `found` are of the product that this subject was last touched with."""
    touches = [entry for entry in entries if entry.subject == subject and entry.kind in TOUCHING]
    latest = touches[-1].product if touches else 0
    return sum(entry.count for entry in found if latest and entry.product == latest)


def gaps_of(entries: Sequence[Entry]) -> list[int]:
    """Times from each entry to the next."""
    return [later.time - earlier.time for earlier, later in pairwise(entries)]


def by_recency(entries: Sequence[Entry]) -> list[int]:
    """Subjects touched, the latest first."""
    order: list[int] = []
    for entry in reversed(entries):
        if entry.subject and entry.kind in TOUCHING and entry.subject not in order:
            order.append(entry.subject)
    return order


def feature(declared: Feature, entries: Sequence[Entry], t: int, subject: int) -> float:
    """One feature of a customer and a subject."""
    if declared.latest and by_recency(entries)[:1] != [subject]:
        return 0.0
    value = aggregate(declared.of, entries, t, subject) + declared.add_top
    if declared.per is not None:
        bottom = aggregate(declared.per, entries, t, subject) + declared.add_bottom
        value = value / bottom if bottom > 0 else 0.0
    if declared.then == "log1p":
        return math.log1p(value / declared.scale)
    if declared.then == "log":
        return math.log(value)
    if declared.then == "decay":
        return math.exp(-value / declared.scale)
    if declared.then == "inverse":
        return 1 / (1 + value)
    if declared.then == "flag":
        return 1.0 if value > 0 else 0.0
    if declared.then == "single":
        return 1.0 if value <= 1 else 0.0
    return value


def vector(bundle: Bundle, entries: Sequence[Entry], t: int, subject: int) -> list[float]:
    """All features of a customer and a subject."""
    return [feature(declared, entries, t, subject) for declared in bundle.features]
