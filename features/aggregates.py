"""Aggregates: a number for each ask or pair, of what a log holds in a window; each is computed at most once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from features.kinds import ASKED, CODE, OUTCOMES, TOUCHES
from features.log import I64, MORE, OUTCOME_TABLE, Bool
from features.pairs import Pairs
from features.windows import SESSION_GAP_MS, Window

F64 = npt.NDArray[np.float64]

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
NEVER_RANK: Final = 64
"""Recency rank given to a subject never touched."""
VIEWED: Final = tuple(sorted(ASKED))
OUTCOME: Final = tuple(sorted(OUTCOMES))
TOUCHED: Final = tuple(sorted(TOUCHES))
_IN_TURN: Final = ("gap", "visits", "active")  # from one event to the next one of the same place


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
    """Aggregates of one set of pairs, each computed at most once.

    A pair's array has a spare last place (never touched).
    """

    def __init__(self, pairs: Pairs) -> None:
        """Nothing is computed before it is asked for."""
        self.pairs = pairs
        self.view = pairs.view
        self._values: dict[Aggregate, F64] = {}
        self._kinds: dict[tuple[str, ...], Bool] = {}
        self._numbered: dict[Over, tuple[I64, I64]] = {}
        pairs_, rank = pairs.by_recency()
        self.order, self.rank = pairs_, rank

    def __getitem__(self, aggregate: Aggregate) -> F64:
        """Values of `aggregate`: (a,) over customers, (p + 1,) over pairs."""
        value = self._values.get(aggregate)
        if value is None:
            value = self._values[aggregate] = self._compute(aggregate)
        return value

    def rank_of(self, chosen: I64) -> I64:
        """Recency rank of pairs `chosen`, NEVER_RANK for what was not touched."""
        return self[Aggregate("pair", "rank")][chosen].astype(np.int64)

    def _of_kinds(self, kinds: tuple[str, ...]) -> Bool:
        mask = self._kinds.get(kinds)
        if mask is None:
            table = np.zeros(MORE, dtype=bool)
            table[[CODE[kind] for kind in kinds]] = True
            mask = self._kinds[kinds] = table[self.view.kind]
        return mask

    def _rows(self, aggregate: Aggregate) -> I64:
        """Rows that count for an aggregate."""
        view = self.view
        mask = self._of_kinds(aggregate.kinds) if aggregate.kinds else np.ones(len(view.ask), dtype=bool)
        if aggregate.window:
            mask = mask & view.within(Window.parse(aggregate.window))
        if aggregate.over == "customer":
            mask = mask & self._heads
        return np.flatnonzero(mask)

    @cached_property
    def _heads(self) -> Bool:
        heads: Bool = ((self.view.logs.entries["kind"] & MORE) == 0)[self.view.entry]
        return heads

    def _compute(self, aggregate: Aggregate) -> F64:
        if aggregate.what == "pace":
            return self.view.pace().astype(np.float64)
        if aggregate.what == "rank":
            value = np.full(self.pairs.size + 1, float(NEVER_RANK))
            value[self.order] = np.minimum(self.rank, NEVER_RANK)
            return value
        if aggregate.what == "subjects":
            return np.bincount(self.pairs.ask[self.order], minlength=len(self.view.asks.time)).astype(np.float64)
        if aggregate.what == "run":
            return self._run()
        rows, by_pair = self._rows(aggregate), aggregate.over == "pair"
        places = self.pairs.size + 1 if by_pair else len(self.view.asks.time)
        if aggregate.what in ("distinct", "repeat"):
            value = getattr(self, f"_{aggregate.what}")(rows, *self._products(aggregate.over), places)
        else:
            if by_pair and aggregate.what in _IN_TURN:
                rows = self._by_pair(rows)
            place = self.pairs.row_pair if by_pair else self.view.ask
            value = getattr(self, f"_{aggregate.what}")(rows, place[rows], places)
        if by_pair:
            value[-1] = float(NEVER_MS) if aggregate.what in ("age", "first_age", "gap") else 0.0
        return value  # type: ignore[no-any-return]  # by name: each of the methods below returns F64

    def _by_pair(self, rows: I64) -> I64:
        """Those of `rows` with a subject, by pair, and in time order within one."""
        mask = np.zeros(len(self.view.ask), dtype=bool)
        mask[rows] = True
        return self._pair_order[mask[self._pair_order]]

    @cached_property
    def _pair_order(self) -> I64:
        return self.pairs.rows()

    def _count(self, rows: I64, place: I64, places: int) -> F64:
        return np.bincount(place, self.view.count[rows], places).astype(np.float64, copy=False)

    def _value(self, rows: I64, place: I64, places: int) -> F64:
        values = self.view.logs.entries["value"][self.view.entry[rows]]
        return np.bincount(place, values.astype(np.float64), places).astype(np.float64, copy=False)

    def _product(self, rows: I64) -> I64:
        product: I64 = self.view.logs.entries["product"][self.view.entry[rows]].astype(np.int64)
        return product

    def _products(self, over: Over) -> tuple[I64, I64]:
        found = self._numbered.get(over)
        if found is None:
            found = self._numbered[over] = self.pairs.products(over == "pair")
        return found

    def _distinct(self, rows: I64, number: I64, place: I64, places: int) -> F64:
        there = np.zeros(len(place) + 1, dtype=bool)
        there[number[rows]] = True
        return np.bincount(place[there[:-1]], minlength=places).astype(np.float64)

    def _repeat(self, rows: I64, number: I64, place: I64, places: int) -> F64:
        mine, outcome = number[rows], OUTCOME_TABLE[self.view.kind[rows]]
        times = np.bincount(mine, self.view.count[rows], len(place) + 1)
        times[mine[outcome]] = 0.0
        value = np.zeros(places)
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        if len(starts):
            value[place[starts]] = np.maximum.reduceat(times[:-1], starts)
        return value

    def _same(self, rows: I64, place: I64, places: int) -> F64:
        latest = np.zeros(places, dtype=np.int64)
        touched = np.flatnonzero(self.pairs.last >= 0)  # none of a customer's before their first event
        latest[touched] = self._product(self.pairs.last[touched])
        product = self._product(rows)
        again = (product == latest[place]) & (product != 0)
        return self._count(rows[again], place[again], places)

    def _open(self, rows: I64, place: I64, places: int) -> F64:
        value = np.zeros(places)
        value[place] = self.view.kind[rows] == CODE["cart_add"]  # rows are in time order: the last one stays
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

    def _active(self, rows: I64, place: I64, places: int) -> F64:
        gap = self.view.age[rows[:-1]] - self.view.age[rows[1:]]
        within = (place[1:] == place[:-1]) & (gap <= SESSION_GAP_MS)
        return np.bincount(place[1:][within], weights=gap[within].astype(np.float64), minlength=places).astype(
            np.float64
        )

    def _age(self, rows: I64, place: I64, places: int) -> F64:
        value = np.full(places, float(NEVER_MS))
        value[place] = self.view.age[rows]  # rows are in time order: the last one stays
        return value

    def _first_age(self, rows: I64, place: I64, places: int) -> F64:
        value = np.full(places, float(NEVER_MS))
        value[place[::-1]] = self.view.age[rows[::-1]]
        return value

    def _gap(self, rows: I64, place: I64, places: int) -> F64:
        value = np.full(places, float(NEVER_MS))
        again = np.flatnonzero(place[1:] == place[:-1])
        value[place[again + 1]] = self.view.age[rows[again]] - self.view.age[rows[again + 1]]
        return value

    def _visits(self, rows: I64, place: I64, places: int) -> F64:
        starts = np.ones(len(rows), dtype=bool)
        far = self.view.age[rows[:-1]] - self.view.age[rows[1:]] > SESSION_GAP_MS
        starts[1:] = (place[1:] != place[:-1]) | far
        return np.bincount(place[starts], minlength=places).astype(np.float64)
