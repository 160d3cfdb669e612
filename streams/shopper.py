"""One made-up customer: hidden wants, the clicks that betray them, and much that means nothing."""

from math import log
from random import Random
from typing import Final

from intents.truth import TrueSpan
from streams.shop import OCCASIONS, PRODUCTS, SHELVES, STAPLES, Occasion, product

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_SESSION_GAP_MS: Final = 30 * _MINUTE
_CATEGORIES: Final = tuple(SHELVES)
_OCCASION_WEIGHTS: Final = tuple(occasion.weight for occasion in OCCASIONS)

Event = dict[str, object]
"""An event in the clickstream's wire format, still without its event_id."""


class Shopper:
    """A customer with a pace, a will and tastes of their own; `visit` adds to `events` and `spans`.

    `events` holds (time in UTC ms, event). Everything random comes from the generator given, in order of calls.
    """

    def __init__(self, random: Random, customer_id: str) -> None:
        self.events: list[tuple[int, Event]] = []
        self.spans: list[TrueSpan] = []
        self.eagerness = random.lognormvariate(0, 0.7)
        self._random = random
        self._customer_id = customer_id
        self._pace = random.lognormvariate(0, 0.35)
        self._resolve = random.betavariate(5, 2)
        self._distraction = random.betavariate(2, 5)
        self._tastes = random.sample(_CATEGORIES, 5)
        self._staple = random.choice(STAPLES) if random.random() < 0.35 else None
        self._channel = random.choice(("web", "web", "app"))
        self._visits = 0
        self._now = 0

    def visit(self, at_ms: int) -> None:
        """Come to the shop at `at_ms`: for a staple, for an occasion, or just to look around."""
        self._arrive(at_ms)
        drawn = self._random.random()
        if self._staple and drawn < 0.15:
            self._restock(self._staple)
        elif drawn < 0.38:
            self._pursue(self._random.choices(OCCASIONS, _OCCASION_WEIGHTS)[0])
        else:
            self._stroll()

    # What they come for

    def _restock(self, staple: str) -> None:
        """Buy the usual, hardly looking."""
        start = self._now
        if self._random.random() < 0.7:
            self._look(staple, 0)
        self._wait(25 * _SECOND)
        self._do("cart_add", staple, 0)
        self._wait(60 * _SECOND)
        self._buy(staple, 0)
        self._wanted(staple, "restock", 1, start)

    def _pursue(self, occasion: Occasion) -> None:
        """Want one shelf after another, some customers joining half-way, most stopping somewhere."""
        first = 1 if len(occasion.stages) > 1 and self._random.random() < 0.12 else 0
        for stage, category in enumerate(occasion.stages[first:], first + 1):
            start = self._now
            follows = stage > first + 1
            if not follows or self._random.random() > 0.35:
                self._compare(category, views=2.5 if follows else 4.5)
            bought = self._random.random() < self._resolve
            if bought:
                self._decide(category)
            self._wanted(category, occasion.name, stage, start)
            if self._random.random() > (occasion.onward if bought else 0.15):
                break
            self._wait(2 * _MINUTE)
            while self._stray(0.55):
                self._wait(40 * _SECOND)
            self._wait(10 * _MINUTE, spread=0.9)

    def _compare(self, category: str, views: float) -> None:
        """Search, look ever faster, come back to the same few products, other shelves in between."""
        few = self._random.sample(range(PRODUCTS), 4)
        if self._random.random() < 0.3:
            self._search(category)
        for view in range(1 + self._geometric(views)):
            self._stray(self._distraction)
            self._look(category, self._random.choice(few))
            if view > 1 and self._random.random() < 0.12:
                self._do("favorite", category, few[0])
            self._wait(max(20, 80 * 0.85**view) * _SECOND)

    def _decide(self, category: str) -> None:
        """Put a product into the cart, often after looking elsewhere once more; then mostly buy."""
        self._wait(60 * _SECOND, spread=0.9)
        while self._stray(0.45):
            pass
        number = self._random.randrange(PRODUCTS)
        self._do("cart_add", category, number)
        self._wait(2 * _MINUTE, spread=0.8)
        while self._stray(0.3):
            pass
        drawn = self._random.random()
        if drawn < 0.6:
            self._buy(category, number)
        elif drawn < 0.7:
            self._do("cart_remove", category, number)

    def _stray(self, probability: float) -> bool:
        """Look at something else for a moment, perhaps."""
        strays = self._random.random() < probability
        if strays:
            self._look(self._random.choice(self._tastes if self._random.random() < 0.5 else _CATEGORIES))
        return strays

    def _stroll(self) -> None:
        """Window shopping: bursts of views that look like a want and end in nothing, or in a whim."""
        for _ in range(1 + self._geometric(0.9)):
            category = self._random.choice(self._tastes if self._random.random() < 0.5 else _CATEGORIES)
            if self._random.random() < 0.1:
                self._search(category)
            elif self._random.random() < 0.06:
                self._do("banner_click", category, None)
            few = self._random.sample(range(PRODUCTS), 4)
            for _ in range(1 + self._geometric(2.8)):
                self._stray(self._distraction / 2)
                self._look(category, self._random.choice(few))
                self._wait(45 * _SECOND)
            drawn = self._random.random()
            if drawn < 0.06:
                self._do("favorite", category, 0)
            elif drawn < 0.1:
                self._do("cart_add", category, 0)
            self._wait(40 * _SECOND)

    # Single steps

    def _look(self, category: str, number: int | None = None) -> None:
        self._do("view", category, self._random.randrange(PRODUCTS) if number is None else number)
        self._wait(10 * _SECOND)

    def _search(self, category: str) -> None:
        """Search in the shelf's words; a search names no category."""
        extra = self._random.choice(("", "", " sale", " best"))
        self._append({"kind": "search", "query": SHELVES[category].query + extra})
        self._wait(15 * _SECOND)

    def _buy(self, category: str, number: int) -> None:
        self._append({"kind": "checkout"})
        self._wait(40 * _SECOND)
        self._do("purchase", category, number)

    def _do(self, kind: str, category: str, number: int | None) -> None:
        event: Event = {"kind": kind, "category": category}
        if number is None:
            event["banner_id"] = f"banner-{category}"
        else:
            good = product(category, number)
            event |= {"product_id": good.product_id, "name": good.name, "price": good.price, "currency": "EUR"}
        self._append(event)

    def _append(self, event: Event) -> None:
        known = {"customer_id": self._customer_id, "time": self._now, "channel": self._channel}
        self.events.append((self._now, known | {"session_id": f"{self._customer_id}-{self._visits}"} | event))

    def _wanted(self, category: str, journey: str, stage: int, from_ms: int) -> None:
        self.spans.append(TrueSpan(self._customer_id, category, journey, stage, from_ms, self._now + 1))

    # Time and chance

    def _arrive(self, at_ms: int) -> None:
        self._visits += 1
        self._now = at_ms

    def _wait(self, about_ms: float, spread: float = 0.5) -> None:
        """Let time pass: `about_ms` in the median for a customer of ordinary pace."""
        passed = 1 + int(self._random.lognormvariate(log(about_ms * self._pace), spread))
        self._now += passed
        if passed > _SESSION_GAP_MS:
            self._visits += 1

    def _geometric(self, mean: float) -> int:
        """A count from 0 upwards, each further one as likely as the last."""
        count = 0
        while self._random.random() < mean / (1 + mean):
            count += 1
        return count
