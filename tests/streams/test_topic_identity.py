"""A topic of the same name that is another one: the worker stops, though it has grown past what was read."""

import asyncio

import pytest

from features.store import StoreUnavailable
from streams.topic_identity import TopicMadeAnew
from tests.intents.steered import Shop
from tests.streams.working import KEY, StandIn, TroubledStore, run, worker


@pytest.fixture(autouse=True)
def no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause before the second question."""
    monkeypatch.setattr("streams.claims.LAG_S", 0.0)


def at_two() -> tuple[StandIn, TroubledStore]:
    """A log of four views, the first two of which were worked."""
    shop = Shop()
    for n in range(4):
        shop.view(n * 1_000, "tea", 0.4)
    app, store = StandIn(shop.records), TroubledStore()
    asyncio.run(worker(app, store).work([app.chunk(0, 2)]))
    app.seek(2)
    return app, store


def test_a_topic_made_anew_that_has_grown_past_the_position() -> None:
    """Its id tells: nothing of it is worked, and what to do is said."""
    app, store = at_two()
    app.made = "the second"
    with pytest.raises(TopicMadeAnew, match=r"id is the second, .* made from the first, .* MICRO_INTENTS_NAMESPACE"):
        run(app, store)
    assert store.at().position == 2


@pytest.mark.parametrize("made", ["the first", ""])
def test_the_same_topic_or_an_unknown_one(made: str) -> None:
    """With the same id, or where Kafka tells none, work goes on."""
    app, store = at_two()
    app.made = made
    run(app, store)
    assert store.at().position == 4


def test_states_of_an_earlier_release() -> None:
    """They know no id: the first one that is told is theirs from then on."""
    app, store = at_two()
    store._partitions[KEY].topic_id = ""
    app.made = "the second"
    run(app, store)
    assert (store.at().position, store._partitions[KEY].topic_id) == (4, "the second")


def test_a_topic_made_anew_under_a_worker() -> None:
    """No claim follows it: the worker asks for the id of what it holds, once a topic, and stops at another one."""
    app, store = at_two()
    made = worker(app, store)
    asyncio.run(made.claims.recognise())
    assert app.identified == 1  # at its predecessor's claim: it holds nothing yet
    asyncio.run(made.tick())
    made.claims.held[1] = made.claims.held[0]
    asyncio.run(made.claims.recognise())
    assert app.identified == 3
    app.made = "the second"
    with pytest.raises(TopicMadeAnew, match=r"id is the second, .* made from the first"):
        asyncio.run(made.claims.recognise())


def test_a_broker_that_has_not_heard_of_it() -> None:
    """Another id is asked for again, at a claim and between claims: what one broker says once stops no worker."""
    app, store = at_two()
    app.told.append("one before")
    made = run(app, store)
    assert (store.at().position, app.identified) == (4, 3)
    app.told.extend(["one before", StoreUnavailable("away")])
    asyncio.run(made.claims.recognise())
    assert app.identified == 6


def test_a_kafka_that_is_away_is_not_waited_for() -> None:
    """Between claims it is asked again the next time."""
    app, store = at_two()
    made = run(app, store)
    app.told.append(StoreUnavailable("away"))
    asyncio.run(made.claims.recognise())
    assert (len(app.told), app.identified) == (0, 3)
