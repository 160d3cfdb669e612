"""Another number of partitions would tear customers from their states: the worker stops, and says what to do."""

import asyncio

import pytest

from streams.partition_count import PartitionsChanged
from tests.intents.replaying import Pair
from tests.intents.steered import Shop
from tests.streams.working import StandIn, TroubledStore, run, worker


def views(count: int) -> list[Pair]:
    """Views of one customer."""
    shop = Shop()
    for n in range(count):
        shop.view(n * 1_000, "tea", 0.4)
    return shop.records


def test_states_remember_the_count() -> None:
    """A worker that begins after the change is told by the states how many there were, and works nothing."""
    app, store = StandIn(views(4)), TroubledStore()
    asyncio.run(worker(app, store).work([app.chunk(0, 2)]))
    app.counts |= {"clickstream": 3, "intents": 3}
    app.seek(2)
    with pytest.raises(PartitionsChanged, match="has 3 partitions, but its states were made when it had 1"):
        run(app, store)
    assert store.at().position == 2


def test_a_change_while_it_works() -> None:
    """One that works already compares with what it found first, also of partitions that have no states yet."""
    app, store = StandIn([]), TroubledStore()
    made = worker(app, store)
    assert asyncio.run(made.claims.count.now("clickstream")) == 1
    app.counts["clickstream"] = 2
    with pytest.raises(PartitionsChanged, match="has 2 partitions, but its states were made when it had 1"):
        asyncio.run(made.claims.count.now("clickstream"))


def test_intents_have_as_many() -> None:
    """Intents go to the partition that their events came from: their topic must have as many, if it is there."""
    app, store = StandIn(views(1)), TroubledStore()
    app.counts["intents"] = 2
    with pytest.raises(PartitionsChanged, match="it must have as many"):
        run(app, store)
    assert app.published == []
    app.counts["intents"] = 1
    app.seek(0)
    run(app, store)
    assert app.said() == [("detected", "anna", "tea")]
