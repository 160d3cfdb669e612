"""Intents in words: what a shop's person reads."""

import msgspec
import pytest

from intents.intent import Evidence, Intent, JourneyStep, ModelName, Source, Status
from streams.words import Words, plain

MINUTE_MS = 60_000
START_MS = 1_717_400_000_000


def intent(status: Status = "detected", **changes: object) -> Intent:
    """An intent for party supplies on the declared journey to a birthday, changed as told."""
    made = Intent(
        intent_id="8a9f3b52-0000-5000-8000-000000000001",
        sequence=0,
        customer_id="4711",
        intent="party_supplies",
        label="Party supplies",
        status=status,
        confidence=0.6412,
        journey=JourneyStep("birthday", 1, "ice_cream", 0.4),
        evidence=[Evidence("views_5m", 5, "5 views in 5 min"), Evidence("carted", 1, "1 in the cart")],
        detected_at=START_MS,
        updated_at=START_MS + 12 * MINUTE_MS,
        expires_at=START_MS + 30 * MINUTE_MS,
        model=ModelName("logistic", "17", "main"),
        source=Source("clickstream", 3, 99, "e1"),
    )
    return msgspec.structs.replace(made, **changes)


def test_a_declared_journey() -> None:
    """A detected intent on a declared journey says what is planned, what comes next, how sure, and why."""
    said = "customer 4711 is planning a birthday: Party supplies → next: ice cream, 64 %, because "
    assert Words().say(intent()) == said + "5 views in 5 min, 1 in the cart"


def test_labels_of_what_comes_next() -> None:
    """What comes next has its label where a catalogue or an earlier intent brings it."""
    assert "next: Ice cream," in Words({"ice_cream": "Ice cream"}).say(intent())
    words = Words()
    words.say(intent(intent="ice_cream", label="Eis", journey=JourneyStep("birthday", 2, None)))
    assert "next: Eis," in words.say(intent())


@pytest.mark.parametrize(("share", "told"), [(0.45, True), (0.05, False), (None, False)])
def test_a_learned_journey(share: float | None, told: bool) -> None:
    """Without a declared journey it is a want; what is learned to come next is said only if it is likely."""
    said = Words().say(intent(journey=JourneyStep(None, None, "tents", share)))
    assert said.startswith("customer 4711 wants Party supplies")
    assert ("→ next: tents" in said) == told


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            "strengthened",
            "customer 4711 wants Party supplies more now → next: ice cream, 64 %, because "
            "5 views in 5 min, 1 in the cart",
        ),
        ("weakened", "customer 4711 wants Party supplies less now, 64 %"),
        ("expired", "customer 4711 let it be: Party supplies, nothing in 30 min"),
        ("forgotten", "customer 4711 asked to be forgotten: Party supplies ends here"),
    ],
)
def test_each_change(status: Status, said: str) -> None:
    """Every status has a sentence of its own."""
    assert Words().say(intent(status)) == said


def test_a_fulfilled_intent() -> None:
    """The end that one hopes for says what happened, and how long before it was foreseen."""
    found = Words().say(intent("fulfilled", evidence=[Evidence("cart_add", 1, "put into the cart")]))
    assert (
        found
        == "customer 4711 got it: Party supplies, put into the cart, 12 min after it was seen coming → next: ice cream"
    )


def test_a_vowel() -> None:
    """An anniversary is planned with an n."""
    assert "is planning an anniversary: " in Words().say(intent(journey=JourneyStep("anniversary", 1, None)))


def test_customers_cannot_move_the_cursor() -> None:
    """Control characters in an id or a label do not reach the terminal."""
    said = Words().say(intent(customer_id="\x1b[2J4711\n", label="a\rb"))
    assert said.isprintable() and "4711" in said
    assert plain("all good → 64 %") == "all good → 64 %"
