"""Rows of a view, place by place: those of each ask, or of each pair, in time order, with the columns that count."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.kinds import CODE
from features.log import I64, MORE, Bool, expand
from features.windows import View, Window

F64 = npt.NDArray[np.float64]


class Rows:
    """Rows `row` (r,) of a view and the `place` (r,) in [0, places) of each, ascending; of one place, in time order.

    `owner` (places,) is what each place is of, in the logs: a customer, or a group of entries; `owners` (entries,)
    says it of each entry, -1 of none.
    """

    def __init__(self, view: View, row: I64, place: I64, owner: I64, owners: I64) -> None:
        """Columns are read when they are first asked for."""
        self.view, self.row, self.place, self.owner, self.owners = view, row, place, owner, owners
        self.places = len(owner)
        self._kinds: dict[tuple[str, ...], Bool] = {}
        self._chosen: dict[tuple[tuple[str, ...], str], I64] = {}

    @cached_property
    def entry(self) -> I64:
        """Entry of each row."""
        return self.view.entry[self.row]

    @cached_property
    def age(self) -> I64:
        """Milliseconds before the ask."""
        return self.view.age[self.row]

    @cached_property
    def kind(self) -> I64:
        """Kind's code."""
        return self.view.kind[self.row]

    @cached_property
    def count(self) -> F64:
        """Events that each row stands for."""
        counts: F64 = self.view.logs.entries["count"][self.entry].astype(np.float64)
        return counts

    def chosen(self, kinds: tuple[str, ...], window: str) -> I64:
        """Which of these rows are of `kinds` (all, if empty) in `window` (anywhere, if empty)."""
        found = self._chosen.get((kinds, window))
        if found is None:
            mask = self._of_kinds(kinds) if kinds else np.ones(len(self.row), dtype=bool)
            if window:
                mask = mask & self._within(Window.parse(window))
            found = self._chosen[kinds, window] = np.flatnonzero(mask)
        return found

    @cached_property
    def products(self) -> tuple[I64, I64]:
        """(number of each row's product within its place (r,), the place of each number (n,)); n: no product."""
        product = self.view.logs.entries["product"].astype(np.int64)
        known = np.flatnonzero((product > 0) & (self.owners >= 0))
        key, found = np.unique((self.owners[known] << 32) | product[known], return_inverse=True)
        in_log = np.full(len(product), -1, dtype=np.int64)
        in_log[known] = found
        start = np.searchsorted(key >> 32, self.owner)
        counts = np.searchsorted(key >> 32, self.owner, "right") - start
        place, _ = expand(start, counts)
        number = in_log[self.entry]
        base = np.cumsum(counts) - counts - start
        return np.where(number >= 0, base[self.place] + number, len(place)), place

    def _of_kinds(self, kinds: tuple[str, ...]) -> Bool:
        mask = self._kinds.get(kinds)
        if mask is None:
            table = np.zeros(MORE, dtype=bool)
            table[[CODE[kind] for kind in kinds]] = True
            mask = self._kinds[kinds] = table[self.kind]
        return mask

    def _within(self, window: Window) -> Bool:
        return self.age < window.amount if window.kind == "duration" else self.view.within(window)[self.row]
