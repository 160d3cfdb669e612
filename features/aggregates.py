"""Aggregates: a number for each ask or pair, of what a log holds in a window; each is computed at most once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from features.kinds import ASKED, CODE, OUTCOMES, TOUCHES
from features.log import I64, MORE, OUTCOME_TABLE
from features.pairs import Pairs
from features.rows import F64, Rows
from features.windows import SESSION_GAP_MS

Over = Literal["pair", "customer"]
What = Literal[
    "count",
    "value",
    "distinct",
    "repeat",
    "same",
    "open",
    "run",
    "age",
    "first_age",
    "gap",
    "rank",
    "visits",
    "pace",
    "active",
    "subjects",
]

NEVER_MS: Final = 90 * 86_400_000
"""Age given to what has not happened."""
VIEWED: Final = tuple(sorted(ASKED))
OUTCOME: Final = tuple(sorted(OUTCOMES))
TOUCHED: Final = tuple(sorted(TOUCHES))


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number for each ask or pair: `what` over the events of `kinds` in `window`.

    Ages and gaps are milliseconds; `visits` counts runs of events without a gap longer than the session gap; `value` is
    money in minor units; `pace` is the customer's median gap; `active` is the time in sessions, as far as it is not
    folded away, `subjects` those ever touched. `distinct` counts products; `repeat` is how often the product was there
    that was there most often without an outcome; `same` counts events of the pair's latest product; `open` is 1 if
    the last of the events was a cart_add; `run` counts the customer's last entries as far as they are of the pair.
    """

    over: Over
    what: What
    kinds: tuple[str, ...] = ()
    window: str = ""


class Aggregates:
    """Aggregates of asks (a,), and of `chosen` pairs (c,) by place in that list; each is computed at most once."""

    def __init__(self, pairs: Pairs, chosen: I64) -> None:
        """Nothing is computed before it is asked for; pairs.size among `chosen` is a subject never touched."""
        self.pairs, self.chosen, self.view = pairs, chosen, pairs.view
        self._values: dict[Aggregate, F64] = {}

    def __getitem__(self, aggregate: Aggregate) -> F64:
        """Values of `aggregate`: (a,) over customers, (c,) over pairs."""
        value = self._values.get(aggregate)
        if value is None:
            value = self._values[aggregate] = self._compute(aggregate)
        return value

    @cached_property
    def _of_pairs(self) -> Rows:
        return self.pairs.rows(self.chosen)

    @cached_property
    def _of_customers(self) -> Rows:
        view = self.view
        heads = np.flatnonzero(((view.logs.entries["kind"] & MORE) == 0)[view.entry])
        return Rows(view, heads, view.ask[heads], view.asks.customer, view.logs.customer)

    def _compute(self, aggregate: Aggregate) -> F64:
        if aggregate.what == "pace":
            return self.view.pace().astype(np.float64)
        if aggregate.what == "rank":
            return self.pairs.rank[self.chosen].astype(np.float64)
        if aggregate.what == "subjects":
            touched, _ = self.pairs.by_recency
            return np.bincount(self.pairs.ask[touched], minlength=len(self.view.asks.time)).astype(np.float64)
        if aggregate.what == "run":
            return self._run()[self.chosen]
        rows = self._of_pairs if aggregate.over == "pair" else self._of_customers
        value: F64 = getattr(self, f"_{aggregate.what}")(rows, rows.chosen(aggregate.kinds, aggregate.window))
        return value

    def _count(self, rows: Rows, at: I64) -> F64:
        return np.bincount(rows.place[at], rows.count[at], rows.places).astype(np.float64, copy=False)

    def _value(self, rows: Rows, at: I64) -> F64:
        values = self.view.logs.entries["value"][rows.entry[at]].astype(np.float64)
        return np.bincount(rows.place[at], values, rows.places).astype(np.float64, copy=False)

    def _distinct(self, rows: Rows, at: I64) -> F64:
        number, place = rows.products
        there = np.zeros(len(place) + 1, dtype=bool)
        there[number[at]] = True
        return np.bincount(place[there[:-1]], minlength=rows.places).astype(np.float64)

    def _repeat(self, rows: Rows, at: I64) -> F64:
        number, place = rows.products
        mine, outcome = number[at], OUTCOME_TABLE[rows.kind[at]]
        times = np.bincount(mine, rows.count[at], len(place) + 1)
        times[mine[outcome]] = 0.0
        value, first = np.zeros(rows.places), _firsts(place)
        if len(first):
            value[place[first]] = np.maximum.reduceat(times[:-1], first)
        return value

    def _same(self, rows: Rows, at: I64) -> F64:
        product, place = self._product(rows.row[at]), rows.place[at]
        last = np.append(self.pairs.last, -1)[self.chosen]
        latest = np.zeros(rows.places, dtype=np.int64)
        touched = np.flatnonzero(last >= 0)
        latest[touched] = self._product(last[touched])
        return self._count(rows, at[(product == latest[place]) & (product != 0)])

    def _product(self, row: I64) -> I64:
        product: I64 = self.view.logs.entries["product"][self.view.entry[row]].astype(np.int64)
        return product

    def _open(self, rows: Rows, at: I64) -> F64:
        value = np.zeros(rows.places)
        value[rows.place[at]] = rows.kind[at] == CODE["cart_add"]  # rows are in time order: the last one stays
        return value

    def _run(self) -> F64:
        view, pair = self.view, self.pairs.row_pair
        asks = np.flatnonzero(view.end > view.first)
        latest = np.full(len(view.end), -1)
        latest[asks] = pair[view.end[asks] - 1]
        before = np.maximum(view.last_row(pair != latest[view.ask]), view.first - 1)
        value = np.zeros(self.pairs.size + 1)
        value[latest[asks]] = (view.end - 1 - before)[asks]
        value[-1] = 0.0
        return value

    def _active(self, rows: Rows, at: I64) -> F64:
        place, age = rows.place[at], rows.age[at]
        gap = age[:-1] - age[1:]
        within = (place[1:] == place[:-1]) & (gap <= SESSION_GAP_MS)
        total = np.bincount(place[1:][within], gap[within].astype(np.float64), rows.places)
        return total.astype(np.float64, copy=False)

    def _age(self, rows: Rows, at: I64) -> F64:
        value = np.full(rows.places, float(NEVER_MS))
        value[rows.place[at]] = rows.age[at]  # rows are in time order: the last one stays
        return value

    def _first_age(self, rows: Rows, at: I64) -> F64:
        value, first = np.full(rows.places, float(NEVER_MS)), at[_firsts(rows.place[at])]
        value[rows.place[first]] = rows.age[first]
        return value

    def _gap(self, rows: Rows, at: I64) -> F64:
        value, place = np.full(rows.places, float(NEVER_MS)), rows.place[at]
        last = np.flatnonzero(np.diff(place, append=-1))
        last = last[(last > 0) & (place[last - 1] == place[last])]  # one alone has none before it
        value[place[last]] = rows.age[at[last - 1]] - rows.age[at[last]]
        return value

    def _visits(self, rows: Rows, at: I64) -> F64:
        place, age = rows.place[at], rows.age[at]
        starts = np.ones(len(place), dtype=bool)
        starts[1:] = (place[1:] != place[:-1]) | (age[:-1] - age[1:] > SESSION_GAP_MS)
        return np.bincount(place[starts], minlength=rows.places).astype(np.float64)


def _firsts(place: I64) -> I64:
    """Where each place begins, in ascending places."""
    return np.flatnonzero(np.diff(place, prepend=-1))
