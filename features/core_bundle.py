"""The bundle that ships: what a customer does with a subject now, has done before, and is like."""

from typing import Final

from features.bundle import OUTCOME, TOUCHED, VIEWED, Aggregate, Bundle, Feature

_MINUTE: Final = 60_000.0
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def _views(window: str) -> Aggregate:
    return Aggregate("pair", "count", VIEWED, window)


def _all_views(window: str) -> Aggregate:
    return Aggregate("customer", "count", VIEWED, window)


_AGE: Final = Aggregate("pair", "age", TOUCHED)
_CART_AGE: Final = Aggregate("pair", "age", ("cart_add",))
_RANK: Final = Aggregate("pair", "rank")
_OUTCOME_AGE: Final = Aggregate("customer", "age", OUTCOME)

CORE: Final = Bundle(
    "core-1",
    (
        # activity on the subject
        Feature("views_1m", _views("1m"), "log1p", words="{n} view{s} in 1 min"),
        Feature("views_5m", _views("5m"), "log1p", words="{n} view{s} in 5 min"),
        Feature("views_30m", _views("30m"), "log1p", words="{n} view{s} in 30 min"),
        Feature("views_2h", _views("2h"), "log1p", words="{n} view{s} in 2 h"),
        Feature("views_1d", _views("1d"), "log1p", words="{n} view{s} in a day"),
        Feature("views_7d", _views("7d"), "log1p", words="{n} view{s} in a week"),
        Feature("views_session", _views("session"), "log1p", words="{n} view{s} this session"),
        Feature("views_pace", _views("pace:3"), "log1p"),
        Feature("share_5m", _views("5m"), per=_all_views("5m")),
        Feature("share_session", _views("session"), per=_all_views("session")),
        Feature("share_last_20", Aggregate("pair", "count", TOUCHED, "last:20"), "none", scale=1.0, per=None),
        Feature("views_since_purchase", _views("since:purchase"), "log1p"),
        # recency
        Feature("age", _AGE, "log1p", scale=1_000.0),
        Feature("fresh_1m", _AGE, "decay", scale=_MINUTE),
        Feature("fresh_10m", _AGE, "decay", scale=10 * _MINUTE),
        Feature("fresh_1h", _AGE, "decay", scale=_HOUR),
        Feature("fresh_1d", _AGE, "decay", scale=_DAY),
        Feature("rank_inverse", _RANK, "inverse"),
        Feature("rank_log", _RANK, "log1p"),
        Feature("first_age", Aggregate("pair", "first_age", TOUCHED), "log1p", scale=1_000.0),
        Feature("gap", Aggregate("pair", "gap", TOUCHED), "log1p", scale=1_000.0),
        # actions
        Feature("cart_10m", _CART_AGE, "decay", scale=10 * _MINUTE),
        Feature("carted", Aggregate("pair", "count", ("cart_add",), "1d"), "log1p", words="{n} in the cart"),
        Feature("carted_unbought", Aggregate("pair", "count", ("cart_add",), "since:purchase"), "flag"),
        Feature("favorites", Aggregate("pair", "count", ("favorite",), "7d"), "log1p", words="{n} marked as favorite"),
        Feature("bought", Aggregate("pair", "count", ("purchase",), "7d"), "log1p"),
        Feature("outcomes", Aggregate("pair", "count", OUTCOME, "7d"), "log1p"),
        # items
        Feature("items", Aggregate("pair", "distinct", TOUCHED, "1d"), "log1p", words="{n} different item{s} in a day"),
        Feature("visits", Aggregate("pair", "visits", TOUCHED, "7d"), "log1p", words="{n} visit{s} in a week"),
        # the customer
        Feature("all_views_5m", _all_views("5m"), "log1p"),
        Feature("all_views_1h", _all_views("1h"), "log1p"),
        Feature("all_views_session", _all_views("session"), "log1p"),
        Feature("sessions", Aggregate("customer", "visits", (), "7d"), "log1p"),
        Feature(
            "conversion",
            Aggregate("customer", "count", OUTCOME, "30d"),
            "log1p",
            scale=0.05,
            per=_all_views("30d"),
            add_top=1.0,
            add_bottom=20.0,
        ),
        Feature("outcome_rate_1d", Aggregate("customer", "count", OUTCOME, "1d"), per=_all_views("1d"), add_bottom=4.0),
        Feature(
            "favorite_rate",
            Aggregate("customer", "count", ("favorite",), "30d"),
            per=_all_views("30d"),
            add_bottom=10.0,
        ),
        Feature("outcome_10m", _OUTCOME_AGE, "decay", scale=10 * _MINUTE),
        Feature("outcome_1h", _OUTCOME_AGE, "decay", scale=_HOUR),
        Feature("pace", Aggregate("customer", "pace"), "log1p", scale=1_000.0),
        # with "is the latest subject"
        Feature("latest_views_5m", _views("5m"), "log1p", latest=True),
        Feature("latest_share_5m", _views("5m"), per=_all_views("5m"), latest=True),
        Feature("latest_outcome_10m", _OUTCOME_AGE, "decay", scale=10 * _MINUTE, latest=True),
        Feature("latest_visits", Aggregate("pair", "visits", TOUCHED, "7d"), "log1p", latest=True),
    ),
)
"""Activity, recency, actions, items and the customer's own ways; the model adds what it knows of the subject."""
