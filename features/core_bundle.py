"""The bundle that ships: what a customer does with a subject now, has done before, and is like.

What it is worth by group, and what was tried beside it, is in docs/quality.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from features.aggregates import OUTCOME, TOUCHED, VIEWED, Aggregate
from features.bundle import Bundle, Feature

_MINUTE: Final = 60_000.0
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def _views(window: str) -> Aggregate:
    return Aggregate("pair", "count", VIEWED, window)


def _all_views(window: str) -> Aggregate:
    return Aggregate("customer", "count", VIEWED, window)


def _all_outcomes(window: str) -> Aggregate:
    return Aggregate("customer", "count", OUTCOME, window)


_AGE: Final = Aggregate("pair", "age", TOUCHED)
_RANK: Final = Aggregate("pair", "rank")
_VISITS: Final = Aggregate("pair", "visits", TOUCHED, "7d")
_REPEAT: Final = Aggregate("pair", "repeat", TOUCHED)
_SESSIONS: Final = Aggregate("customer", "visits", (), "7d")

_GROUPS: Final[dict[str, tuple[Feature, ...]]] = {
    "choice": (
        Feature("run", Aggregate("pair", "run"), "log1p"),
        Feature("open", Aggregate("pair", "open", OUTCOME)),
    ),
    "activity": (
        Feature("views_5m", _views("5m"), "log1p", words="{n} view{s} in 5 min"),
        Feature("views_2h", _views("2h"), "log1p", words="{n} view{s} in 2 h"),
        Feature("views_1d", _views("1d"), "log1p", words="{n} view{s} in a day"),
        Feature("views_7d", _views("7d"), "log1p", words="{n} view{s} in a week"),
        Feature("share_5m", _views("5m"), per=_all_views("5m")),
    ),
    "recency": (
        Feature("age", _AGE, "log1p", scale=1_000.0),
        Feature("fresh_1m", _AGE, "decay", scale=_MINUTE),
        Feature("fresh_1h", _AGE, "decay", scale=_HOUR),
        Feature("fresh_1d", _AGE, "decay", scale=_DAY),
        Feature("rank_log", _RANK, "log1p"),
        Feature("first_age", Aggregate("pair", "first_age", TOUCHED), "log1p", scale=1_000.0),
        Feature("gap", Aggregate("pair", "gap", TOUCHED), "log1p", scale=1_000.0),
    ),
    "actions": (
        Feature("cart_10m", Aggregate("pair", "age", ("cart_add",)), "decay", scale=10 * _MINUTE),
        Feature("carted", Aggregate("pair", "count", ("cart_add",), "1d"), "log1p", words="{n} in the cart"),
        Feature("outcomes", Aggregate("pair", "count", OUTCOME, "7d"), "log1p"),
    ),
    "items": (
        Feature("single_item", Aggregate("pair", "distinct", TOUCHED, "1d"), "single"),
        Feature("favorite_item", Aggregate("pair", "same", ("favorite",)), "flag"),
        Feature("bought_item", Aggregate("pair", "same", ("purchase",)), "flag"),
        Feature("repeat", _REPEAT, "log1p", words="{n} look{s} at one item"),
        Feature("repeat_share", _REPEAT, per=_views("7d"), add_bottom=1.0),
    ),
    "customer": (
        Feature("conversion", _all_outcomes("30d"), "log1p", 0.05, _all_views("30d"), 1.0, 20.0),
        Feature(
            "outcomes_per_hour",
            _all_outcomes("30d"),
            "log",
            per=Aggregate("customer", "active", (), "30d"),
            add_top=0.5,
            add_bottom=0.5 * _HOUR,
        ),
        Feature("all_views_session", _all_views("session"), "log1p"),
        Feature("views_per_session", _all_views("7d"), "log", per=_SESSIONS, add_top=8.0, add_bottom=1.0),
        Feature("subjects", Aggregate("customer", "subjects"), "log1p"),
    ),
    "latest": (  # with "is the latest subject"
        Feature("latest_views_5m", _views("5m"), "log1p", latest=True),
        Feature("latest_share_5m", _views("5m"), per=_all_views("5m"), latest=True),
        Feature("latest_outcome_10m", Aggregate("customer", "age", OUTCOME), "decay", scale=10 * _MINUTE, latest=True),
        Feature("latest_visits", _VISITS, "log1p", latest=True),
    ),
}


def _declared() -> Iterator[Feature]:
    for group, features in _GROUPS.items():
        for feature in features:
            yield replace(feature, group=group)


CORE: Final = Bundle("core-3", tuple(_declared()))
"""Activity, recency, actions, items and the customer's own ways; the model adds what it knows of the subject."""
