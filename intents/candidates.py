"""Candidates of an ask: the subjects touched last, then the subjects that are likely next."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.log import I64, U64, Bool, expand
from features.pairs import Pairs
from features.rows import F64
from intents.catalog import Catalogue
from intents.tables import COMPANIONS, Tables, previous_subject

TOUCHED: Final = 6
"""Touched subjects that are candidates after a view."""
FORESEEN: Final = 2
"""Subjects that are candidates after a view because they are likely next."""
POPULAR: Final = 48
"""Most wanted subjects that are considered too where more than FORESEEN are to be found."""
_LOOK_BACK: Final = 3
_LOOK_FAR: Final = 10
_NEAR: Final = 8  # companions of each of the last subjects
_FADE: Final = 0.9
_FADE_MS: Final = 30 * 60_000
_LEAST: Final = 0.02
_DECLARED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of some asks, flat and in candidate order: ask a's are [offsets[a], offsets[a + 1]).

    Columns (n,): `ask`, `subject`, `pair` (the spare one for a subject the log says nothing of),
    `rank` by recency (NEVER_RANK: never touched). `touched` (a,) is how many of an ask's candidates are those touched
    last; the others are foreseen.
    """

    ask: I64
    subject: U64
    pair: I64
    rank: I64
    offsets: I64
    touched: I64

    def before(self) -> U64:
        """Each candidate's latest other subject (n,), 0 for none."""
        return previous_subject(self.subject, self.rank, self.offsets[self.ask], self.touched[self.ask])


class Declared:
    """Declared transitions as arrays: for each subject that begins one, where they lead."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Transitions of the catalogue's journeys."""
        steps = sorted(set(catalogue.steps()))
        self.origin = np.array([a for a, _ in steps], dtype=np.uint64)
        self.target = np.array([b for _, b in steps], dtype=np.uint64)
        self.targets = np.unique(self.target)

    def after(self, subjects: U64) -> tuple[I64, U64]:
        """(index into `subjects`, target) of every declared transition that starts from one of them."""
        low = np.searchsorted(self.origin, subjects, "left")
        high = np.searchsorted(self.origin, subjects, "right")
        owner, place = expand(low, high - low)
        return owner, self.target[place]


def choose(pairs: Pairs, tables: Tables, declared: Declared, touched: I64, foreseen: I64) -> Candidates:
    """Choose at most touched[a] touched and foreseen[a] foreseen subjects for each ask a."""
    (pair, rank), asks = pairs.by_recency, len(touched)
    keep = rank < touched[pairs.ask[pair]]
    pair, rank = pair[keep], rank[keep]
    ask, subject, age = pairs.ask[pair], pairs.subject[pair], pairs.view.age[pairs.last[pair]]
    count = np.bincount(ask, minlength=asks)
    next_ask, next_subject, place = _likely(ask, subject, rank, age, tables, declared, foreseen)
    more = np.bincount(next_ask, minlength=asks)
    offsets = np.zeros(asks + 1, dtype=np.int64)
    np.cumsum(count + more, out=offsets[1:])
    at, at_next = offsets[ask] + rank, offsets[next_ask] + count[next_ask] + place
    columns = Candidates(
        np.repeat(np.arange(asks), count + more),
        np.zeros(offsets[-1], dtype=np.uint64),
        np.zeros(offsets[-1], dtype=np.int64),
        np.zeros(offsets[-1], dtype=np.int64),
        offsets,
        count,
    )
    columns.subject[at], columns.subject[at_next] = subject, next_subject
    columns.pair[at], columns.pair[at_next] = pair, _pair_of(pairs, next_ask, next_subject)
    columns.rank[at] = rank
    columns.rank[at_next] = pairs.rank[columns.pair[at_next]]
    return columns


def _likely(
    ask: I64, subject: U64, rank: I64, age: I64, tables: Tables, declared: Declared, limit: I64
) -> tuple[I64, U64, I64]:
    """(ask, subject, place) of the likeliest next subjects that are not candidates yet, limit[a] for ask a.

    They are what the recent subjects met in sessions, weighed by how recent these are, and what is declared to follow
    them; where many are to be found, smoothed by what is wanted most.
    """
    wide = limit > FORESEEN
    recent = (rank < np.where(wide, _LOOK_FAR, _LOOK_BACK)[ask]) & (limit[ask] > 0)
    origin, owner = subject[recent], ask[recent]
    weight = (np.exp(-age[recent] / _FADE_MS) + _LEAST) * np.power(_FADE, rank[recent].astype(np.float64))
    weight /= np.bincount(owner, weight, len(limit))[owner]
    far = np.flatnonzero(wide)
    row, share, smoothing = tables.companions_of(origin, COMPANIONS if len(far) else _NEAR)
    share[~wide[owner], _NEAR:] = 0.0
    ground = 1.0 - np.bincount(owner, weight * (1.0 - smoothing), len(limit))
    step, step_target = declared.after(origin)
    seat, _ = there = np.nonzero(share > 0)
    popular = tables.lookup(tables.popular(POPULAR)) if len(far) else row[:0, 0]
    to = np.concatenate([row[there], _rows(step_target, tables, declared), np.tile(popular, len(far))])
    asked = np.concatenate([owner[seat], owner[step], np.repeat(far, len(popular))])
    score = np.concatenate([weight[seat] * share[there], weight[step] * _DECLARED, np.zeros(len(far) * len(popular))])
    key = asked * (tables.subjects.size + len(declared.targets)) + to
    order = np.argsort(key, kind="stable")  # of one subject as they stand here, so that a sum has the same last bits
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    total = np.add.reduceat(score[order], starts) if len(starts) else score
    to, asked = _subjects(to[order[starts]], tables, declared), asked[order[starts]]
    new = ~_is_candidate(asked, to, ask, subject)
    to, asked, total = to[new], asked[new], total[new]
    total = np.where(wide[asked], total + ground[asked] * tables.wanted(to), total) if len(far) else total
    best = wide[asked] | _among_best(asked, total)
    to, asked, total = to[best], asked[best], total[best]
    order = np.lexsort((to, -total, asked))
    to, asked = to[order], asked[order]
    counts = np.bincount(asked, minlength=len(limit))
    place = np.arange(len(to)) - (np.cumsum(counts) - counts)[asked]
    keep = place < limit[asked]
    return asked[keep], to[keep], place[keep]


def _rows(targets: U64, tables: Tables, declared: Declared) -> I64:
    """A row for each declared target (n,): that of the tables, or after them all where they have none."""
    row = tables.lookup(targets)
    return np.where(row >= 0, row, tables.subjects.size + np.searchsorted(declared.targets, targets))


def _subjects(rows: I64, tables: Tables, declared: Declared) -> U64:
    """The subjects of such rows (n,)."""
    known, keys = tables.subjects.size, tables.subjects.keys
    subjects = keys[np.minimum(rows, len(keys) - 1)]
    only_declared = rows >= known
    subjects[only_declared] = declared.targets[rows[only_declared] - known]
    return subjects


def _among_best(asked: I64, total: F64) -> Bool:
    """Whether each total is among the FORESEEN largest of its ask, or as large; asks ascend."""
    starts = np.flatnonzero(np.diff(asked, prepend=-1))
    left, best = total.copy(), np.zeros(len(total), dtype=bool)
    lengths = np.diff(starts, append=len(asked))
    for _ in range(FORESEEN if len(starts) else 0):
        best |= left >= np.repeat(np.maximum.reduceat(left, starts), lengths)
        left[best] = -np.inf
    return best


def _is_candidate(asked: I64, to: U64, ask: I64, subject: U64) -> Bool:
    """Whether each (asked, to) is among the (ask, subject) already chosen; asks ascend in both."""
    low = np.searchsorted(ask, asked, "left")
    owner, place = expand(low, np.searchsorted(ask, asked, "right") - low)
    hit = np.zeros(len(to), dtype=bool)
    hit[owner[subject[place] == to[owner]]] = True
    return hit


def _pair_of(pairs: Pairs, ask: I64, subject: U64) -> I64:
    """Pair of each (ask, subject), the spare place where the log has none."""
    if not pairs.size:
        return np.zeros(len(ask), dtype=np.int64)
    low = np.searchsorted(pairs.ask, ask, "left")
    owner, place = expand(low, np.searchsorted(pairs.ask, ask, "right") - low)
    same = pairs.subject[place] == subject[owner]
    found = np.full(len(ask), pairs.size, dtype=np.int64)
    found[owner[same]] = place[same]
    return found
