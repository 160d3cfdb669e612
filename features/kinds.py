"""The kinds of clickstream events and what each of them does."""

from typing import Final

KINDS: Final[tuple[str, ...]] = (
    "impression",
    "click",
    "view",
    "search",
    "favorite",
    "cart_add",
    "cart_remove",
    "checkout",
    "purchase",
    "refund",
    "banner_impression",
    "banner_click",
    "message",
    "feedback",
    "forget",
)
"""Kinds in the order of their codes: a kind is stored as its index here, so this tuple is only ever appended to."""

CODE: Final[dict[str, int]] = {kind: code for code, kind in enumerate(KINDS)}
"""Code of each kind."""

ASKED: Final[frozenset[str]] = frozenset({"view", "click", "banner_click", "search"})
"""Kinds after which detect is asked what the customer wants."""

OUTCOMES: Final[frozenset[str]] = frozenset({"cart_add", "purchase"})
"""Kinds that fulfil an intent."""

TOUCHES: Final[frozenset[str]] = ASKED | OUTCOMES | {"favorite"}
"""Kinds that touch their subject."""
