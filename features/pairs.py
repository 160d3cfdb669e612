"""Pairs of an ask and a subject.

Which rows of a view speak of which pair, and in what order the subjects were touched.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from features.log import I64, TOUCH_TABLE, U64, Logs, expand
from features.rows import Rows
from features.windows import View

NEVER_RANK: Final = 64
"""Recency rank given to a subject never touched."""
_SUBJECT_SHIFT: Final = np.uint64(20)
_CUSTOMER_SHIFT: Final = np.uint64(44)  # a batch has fewer than 2**20 customers


def _groups(logs: Logs) -> tuple[I64, U64, I64, I64, I64]:
    """Entries grouped by customer and subject: groups sort by that, the entries of one by time.

    (group of each entry or -1, subject of each group, first group of each customer (size + 1,), entries in order,
    first of these of each group (groups + 1,)).
    """
    subject = logs.entries["subject"]
    rows = np.flatnonzero(subject)
    owner, wanted = logs.customer[rows], subject[rows]
    key = (owner.astype(np.uint64) << _CUSTOMER_SHIFT) | (wanted >> _SUBJECT_SHIFT)
    order = np.argsort(key, kind="stable")
    first = np.ones(len(rows), dtype=bool)
    first[1:] = key[order[1:]] != key[order[:-1]]
    if (first[1:] != (wanted[order[1:]] != wanted[order[:-1]]))[~first[1:]].any():  # two subjects agree in 44 bits
        order = np.lexsort((wanted, owner))
        first[1:] = (owner[order[1:]] != owner[order[:-1]]) | (wanted[order[1:]] != wanted[order[:-1]])
    group = np.full(len(subject), -1, dtype=np.int64)
    group[rows[order]] = np.cumsum(first) - 1
    heads = order[first]
    starts = np.zeros(logs.size + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner[heads], minlength=logs.size), out=starts[1:])
    return group, wanted[heads], starts, rows[order], np.append(np.flatnonzero(first), len(rows))


@dataclass
class Pairs:
    """All (ask, subject) pairs of a view: `ask`, `subject`, `last` (p,).

    `row_pair` (r,) is p for rows without a subject.

    `last` is the row of the latest touch (-1: not touched). Pair p is the spare one: it stands for a subject of which
    the log says nothing.
    """

    view: View
    ask: I64 = field(init=False)
    subject: U64 = field(init=False)
    row_pair: I64 = field(init=False)
    last: I64 = field(init=False)

    def __post_init__(self) -> None:
        view = self.view
        self._group, subjects, starts, self._in_order, self._begins = _groups(view.logs)
        customer = view.asks.customer
        counts = starts[customer + 1] - starts[customer]
        self.ask, self._groups = expand(starts[customer], counts)
        self.subject = subjects[self._groups]
        base = np.cumsum(counts) - counts - starts[customer]
        mine = self._group[view.entry]
        self.row_pair = np.where(mine >= 0, base[view.ask] + mine, len(self.ask))
        touching = np.flatnonzero(TOUCH_TABLE[view.kind] & (mine >= 0))
        self.last = np.full(len(self.ask), -1, dtype=np.int64)
        self.last[self.row_pair[touching]] = touching  # of repeated indices numpy keeps the last

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.ask)

    @cached_property
    def by_recency(self) -> tuple[I64, I64]:
        """(pairs, rank): the touched pairs ordered by ask, then latest touch first; rank 0 is the latest of its ask."""
        touched = np.flatnonzero(self.last >= 0)
        key = self.ask[touched] * (len(self.view.ask) + 1) - self.last[touched]
        pairs = touched[np.argsort(key, kind="stable")]
        ask = self.ask[pairs]
        counts = np.bincount(ask, minlength=len(self.view.asks.time))
        return pairs, np.arange(len(pairs)) - (np.cumsum(counts) - counts)[ask]

    @cached_property
    def rank(self) -> I64:
        """Recency rank of each pair and the spare one (p + 1,), NEVER_RANK for what was not touched."""
        pairs, rank = self.by_recency
        ranks = np.full(self.size + 1, NEVER_RANK)
        ranks[pairs] = np.minimum(rank, NEVER_RANK)
        return ranks

    def rows(self, chosen: I64) -> Rows:
        """Rows of the pairs `chosen`, each a place; the spare one has none."""
        nothing = len(self._begins) - 1
        group = np.append(self._groups, nothing)[chosen]
        begins = np.append(self._begins, self._begins[-1])
        place, at = expand(begins[group], begins[group + 1] - begins[group])
        row = self.view.row_of(np.append(self.ask, 0)[chosen][place], self._in_order[at])
        seen = row >= 0
        return Rows(self.view, row[seen], place[seen], group, self._group)
