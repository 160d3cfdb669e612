"""Themes are words that many products share, that tell no versions apart, and whose products go together."""

import numpy as np
import pytest

from intents.catalog import Catalogue
from intents.themes import MIN_TOGETHER, WORDS_APART, Sales, Theme, themes

COLOURS = ("red", "blue", "pink")
KITCHEN = [f"kitchen {what}" for what in ("spoon", "fork", "scales", "timer")]
PARTY = [f"party {what}" for what in ("bunting", "hats", "plates", "candles")]
MUGS = [f"{colour} {what} mug" for colour in COLOURS for what in ("tall", "wide")]
TAILS = [f"{what} shelf" for what in ("oak", "hall", "loft", "bath")]


def sell(baskets: list[list[str]], repeat: int = 5) -> Sales:
    """Sales of baskets, each bought by `repeat` customers."""
    names = sorted({name for basket in baskets for name in basket})
    rows = [(number, number, names.index(name)) for number, basket in enumerate(baskets * repeat) for name in basket]
    customer, basket, product = np.array(rows, dtype=np.int64).T
    return Sales(customer, basket, product, names)


def found(sales: Sales, **limits: int) -> dict[str, Theme]:
    """Themes by name."""
    return {theme.name: theme for theme in themes(sales, **{"min_products": 3, "min_customers": 3} | limits)}


SHOP = sell([KITCHEN, PARTY, MUGS, [*TAILS[:1], *KITCHEN[:1]], [*TAILS[1:2], *PARTY[:1]], [*TAILS[2:], "plain thing"]])


def test_words_that_go_together_are_themes() -> None:
    """Kitchen, party and mug: shared by products that are bought together; with how many products and customers."""
    told = found(SHOP)
    assert {"kitchen", "party", "mug"} <= told.keys()
    assert (told["party"].rule, told["party"].products, told["party"].customers) == (("party",), 4, 10)
    assert told["party"].together > MIN_TOGETHER


def test_words_that_tell_versions_apart_are_none() -> None:
    """Colours and sizes: with another of them in its place the name is another product's."""
    assert not {"red", "blue", "pink", "tall", "wide"} & found(SHOP, min_products=2).keys()


def test_words_that_do_not_go_together_are_none() -> None:
    """A word that many products share by chance, each bought with something else, says nothing."""
    scattered = [[shelf, other] for shelf, other in zip(TAILS, [*KITCHEN[:2], *PARTY[:2]], strict=True)]
    assert "shelf" not in found(sell([KITCHEN, PARTY, *scattered]))


def test_words_apart_are_none() -> None:
    """A material passes every other rule, and is known by its word only."""
    metal = [f"metal {what}" for what in ("sign", "bin", "rack")]
    assert "metal" in WORDS_APART and "metal" not in found(sell([metal, KITCHEN, PARTY]))
    silk = [f"silk {what}" for what in ("sign", "bin", "rack")]
    assert "silk" in found(sell([silk, KITCHEN, PARTY]))


def test_a_word_and_its_plural_are_one() -> None:
    """One theme, its rule with both forms; a double s is no plural."""
    bags = ["lunch bag", "shopping bag", "party bags", "cross stitch"]
    told = found(sell([bags, KITCHEN, PARTY]))
    assert told["bag"].rule == ("bag", "bags") and told["bag"].products == 3
    brushes = ["paint brush", "hair brush", "tooth brushes", "dress"]
    assert found(sell([brushes, KITCHEN, PARTY]))["brush"].rule == ("brush", "brushes")
    assert "candle" in found(sell([["tall candle", "wax candles", "big candles", "odd candl"], KITCHEN, PARTY]))


def test_a_word_that_never_stands_alone_is_told_as_a_phrase() -> None:
    """Water that is always water bottle is told so, once."""
    bottles = ["hot water bottle", "kids water bottle", "sport water bottles", "milk jug"]
    told = found(sell([bottles, KITCHEN, PARTY]))
    assert told["water_bottle"].rule == ("water bottle", "water bottles")
    assert not {"water", "bottle"} & told.keys()


def test_limits() -> None:
    """Themes of too few products or customers are left out, and those of most customers come first."""
    assert not found(SHOP, min_products=7) and not found(SHOP, min_customers=16)
    first, *_ = themes(SHOP, most=1, min_products=3, min_customers=3)
    assert first.customers == max(theme.customers for theme in found(SHOP).values())
    assert len(themes(SHOP, most=2, min_products=3, min_customers=3)) == 2


def test_rules_catch_what_was_counted() -> None:
    """A theme's rule, in a catalogue, catches exactly its products."""
    for theme in found(SHOP).values():
        rule = ", ".join(f'"{text}"' for text in theme.rule)
        catalogue = Catalogue.parse(f"[intent.{theme.name}]\nname = [{rule}]")
        assert sum(bool(catalogue.subjects(None, None, name)) for name in SHOP.names) == theme.products


def test_large_baskets_say_nothing() -> None:
    """Who buys everything at once makes nothing go together."""
    gadgets = [f"thing{n} gadget" for n in range(5)]
    many = [[f"{letter}{n}" for n in range(65)] for letter in "abcd"]
    assert "gadget" not in found(sell([gadgets + many[0], *many[1:], KITCHEN, PARTY]))
    fewer = [basket[:55] for basket in many]
    assert "gadget" in found(sell([gadgets + fewer[0], *fewer[1:], KITCHEN, PARTY]))


@pytest.mark.parametrize("names", [[], ["lamp"]])
def test_hardly_anything_sold(names: list[str]) -> None:
    """No sales, or one: no themes, and nothing fails."""
    one = np.zeros(len(names), dtype=np.int64)
    assert themes(Sales(one, one, one, names)) == []
