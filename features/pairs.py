"""Pairs of an ask and a subject.

Which rows of a view speak of which pair, and in what order the subjects were touched.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.log import I64, TOUCH_TABLE, U64, Logs, expand
from features.windows import View

_SUBJECT_SHIFT: Final = np.uint64(20)
_CUSTOMER_SHIFT: Final = np.uint64(44)  # a batch has fewer than 2**20 customers


def _groups(logs: Logs) -> tuple[I64, U64, I64, I64]:
    """(group of each entry or -1, subject of each group, first group of each customer (size + 1,), entries in order).

    Groups sort by (customer, subject); the entries that have one are ordered by it, those of one group by time.
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
    return group, wanted[heads], starts, rows[order]


def _spread(view: View, number: I64, starts: I64) -> tuple[I64, I64, I64]:
    """What is numbered in the logs, once for each ask: (place of each row (r,), ask and number of each place (p,)).

    `number` (entries,), -1 for none, ascends with the customers, whose first numbers are `starts` (size + 1,). A row
    of an entry without a number has place p.
    """
    customer = view.asks.customer
    ask, numbers = expand(starts[customer], starts[customer + 1] - starts[customer])
    mine = number[view.entry]
    return np.where(mine >= 0, _base(customer, starts)[view.ask] + mine, len(ask)), ask, numbers


def _base(customer: I64, starts: I64) -> I64:
    """What to add to a number to get its place, for asks of these customers (a,)."""
    counts = starts[customer + 1] - starts[customer]
    base: I64 = np.cumsum(counts) - counts - starts[customer]
    return base


@dataclass(slots=True)
class Pairs:
    """All (ask, subject) pairs of a view: `ask`, `subject`, `last` (p,).

    `row_pair` (r,) is p for rows without a subject.

    `last` is the row of the latest touch (-1: not touched). Arrays made with `spare` have p + 1 places: the last one
    stands for a subject of which the log says nothing.
    """

    view: View
    ask: I64 = field(init=False)
    subject: U64 = field(init=False)
    row_pair: I64 = field(init=False)
    last: I64 = field(init=False)
    _group: I64 = field(init=False)
    _starts: I64 = field(init=False)
    _in_order: I64 = field(init=False)

    def __post_init__(self) -> None:
        view = self.view
        self._group, subjects, self._starts, self._in_order = _groups(view.logs)
        self.row_pair, self.ask, groups = _spread(view, self._group, self._starts)
        self.subject = subjects[groups]
        touching = np.flatnonzero(TOUCH_TABLE[view.kind] & (self.row_pair < len(self.ask)))
        self.last = np.full(len(self.ask), -1, dtype=np.int64)
        self.last[self.row_pair[touching]] = touching  # of repeated indices numpy keeps the last

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.ask)

    def by_recency(self) -> tuple[I64, I64]:
        """(pairs, rank): the touched pairs ordered by ask, then latest touch first; rank 0 is the latest of its ask."""
        touched = np.flatnonzero(self.last >= 0)
        key = self.ask[touched] * (len(self.view.ask) + 1) - self.last[touched]
        pairs = touched[np.argsort(key, kind="stable")]
        ask = self.ask[pairs]
        counts = np.bincount(ask, minlength=len(self.view.asks.time))
        return pairs, np.arange(len(pairs)) - (np.cumsum(counts) - counts)[ask]

    def rows(self) -> I64:
        """Rows with a subject by pair, those of one pair in time order."""
        return self.view.rows_of(self._in_order)

    def products(self, by_pair: bool) -> tuple[I64, I64]:
        """(place of each row's product within its pair, or ask (r,), the pair, or ask, of each place (n,)).

        Rows without a product have place n.
        """
        logs, customer = self.view.logs, self.view.asks.customer
        group, starts = (self._group, self._starts) if by_pair else (logs.customer, np.arange(logs.size + 1))
        product = logs.entries["product"].astype(np.int64)
        known = np.flatnonzero((product > 0) & (group >= 0))
        key, found = np.unique((group[known] << 32) | product[known], return_inverse=True)
        number = np.full(len(product), -1, dtype=np.int64)
        number[known] = found
        place, ask, numbers = _spread(self.view, number, np.searchsorted(key >> 32, starts))
        return place, _base(customer, starts)[ask] + (key >> 32)[numbers]
