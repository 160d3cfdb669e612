"""A subject's place on a journey: declared by the catalogue, else the likeliest next that stands out."""

from dataclasses import replace

from intents.catalog import Catalogue
from intents.intent import JourneyStep
from intents.journeys import MIN_LIFT, Journeys
from intents.model import Model
from intents.subjects import subject_hash
from intents.tables import Tables
from tests.intents.steered import steered_model

CATALOGUE = """
[intent.party]
label = "Party"
category = "party"
[intent.cake]
category = "cake"
[intent.gift]
category = "gift"
[journey.birthday]
stages = ["party", "cake"]
[journey.shower]
stages = ["cake", "gift"]
"""
PARTY, CAKE, GIFT, SHOES, SOCKS = (subject_hash(name) for name in ("party", "cake", "gift", "shoes", "socks"))


def journeys(tables: Tables, names: dict[int, str] | None = None) -> Journeys:
    """The journeys of the catalogue and a model of these tables."""
    model: Model = replace(steered_model(tables=tables), names=names or {})
    catalogue = Catalogue.parse(CATALOGUE)
    return Journeys(catalogue, model, catalogue.names)


def test_declared() -> None:
    """Name, stage from 1 and next stage are the catalogue's; the share is what was learned of it, None if nothing."""
    assert journeys(Tables()).step(PARTY) == JourneyStep("birthday", 1, "cake", None)
    tables = Tables()
    for subject in (CAKE, CAKE, SHOES):
        tables.count_view(subject, PARTY, 1.0)
    assert journeys(tables).step(PARTY) == JourneyStep("birthday", 1, "cake", round(2 / 11, 4))


def test_first_declared_journey_wins() -> None:
    """A subject on two journeys is on the first of them; the last stage has no next."""
    assert journeys(Tables()).step(CAKE) == JourneyStep("birthday", 2, None, None)
    assert journeys(Tables()).step(GIFT) == JourneyStep("shower", 2, None, None)


def test_learned() -> None:
    """A journey that nobody declared has no name and no stage, and its next is the likeliest subject."""
    tables = Tables()
    for _ in range(90):
        tables.count_view(GIFT, 0, 1.0)
    for subject in [SOCKS] * 6 + [GIFT] * 5:
        tables.count_view(subject, SHOES, 1.0)
    step = journeys(tables, {SHOES: "shoes", SOCKS: "socks"}).step(SHOES)
    assert step == JourneyStep(None, None, "socks", round(6 / 19, 4))


def test_learned_next_stands_out() -> None:
    """What everybody wants anyway is nobody's next, however often it follows."""
    tables = Tables()
    for _ in range(200):
        tables.count_view(GIFT, 0, 1.0)
    for _ in range(40):
        tables.count_view(GIFT, SHOES, 1.0)
    assert MIN_LIFT > 1
    assert journeys(tables).step(SHOES) == JourneyStep(None, None, None)


def test_nothing_known() -> None:
    """Of a subject that the model has never seen there is nothing to tell."""
    assert journeys(Tables()).step(12345) == JourneyStep(None, None, None)


def test_names() -> None:
    """A subject's name is the worker's, else the model's, so that a foreseen one has its name; else its hash."""
    found = journeys(Tables(), {SHOES: "shoes", PARTY: "other"})
    assert [found.name(subject) for subject in (PARTY, SHOES, 255)] == ["party", "shoes", "00000000000000ff"]
