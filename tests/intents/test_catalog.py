"""A catalogue maps events to subjects, names them for people, and says where its mistakes are."""

from pathlib import Path

import pytest

from intents.catalog import MAX_SUBJECTS, Catalogue, CatalogueError, Journey
from intents.name_words import words_of
from intents.subjects import Names, SubjectCollision, subject_hash

SHOP = """
# What our customers may want.
[intent.party_supplies]
label = "Party supplies"
category = ["party*", "balloons"]
query = ["birthday party"]

[intent.balloons]
category = "balloons"

[intent."ice cream"]
query = ["ice cream", "sorbet"]

[journey.birthday]
stages = ["party_supplies", "ice cream"]
"""


def names(catalogue: Catalogue, category: str | None, query: str | None = None) -> list[str]:
    """Names of an event's subjects."""
    return [catalogue.names[subject] for subject in catalogue.subjects(category, query)]


def test_without_a_catalogue() -> None:
    """Every category is its own subject, with its own name and label; words say nothing."""
    catalogue = Catalogue()
    assert catalogue.subjects("shoes", "red shoes") == (subject_hash("shoes"),)
    assert catalogue.names == {subject_hash("shoes"): "shoes"}
    assert catalogue.label("shoes") == "shoes"
    assert catalogue.subjects(None, "red shoes") == catalogue.subjects("", "") == ()
    assert catalogue.stage("shoes") is None and catalogue.steps() == []


@pytest.mark.parametrize(
    ("category", "query", "found"),
    [
        ("party-hats", None, ["party_supplies"]),
        ("my party", None, ["my party"]),  # a glob holds from the beginning to the end
        ("Party-hats", None, ["Party-hats"]),  # categories are taken as they are written
        ("balloons", None, ["party_supplies", "balloons"]),  # in the catalogue's order
        ("shoes", None, ["shoes"]),
        ("shoes", "Sorbet please", ["ice cream"]),
        (None, "party for a birthday", ["party_supplies"]),  # all words, in any order
        (None, "birthday", []),
        (None, "birthdays party", []),  # whole words
        ("party", "ice cream", ["party_supplies", "ice cream"]),
        (None, None, []),
    ],
)
def test_subjects(category: str | None, query: str | None, found: list[str]) -> None:
    """An event has the subjects of all rules that it matches, else its category."""
    assert names(Catalogue.parse(SHOP), category, query) == found


NAMED = """
[intent.party]
name = ["party", "birthday card"]
[intent.cards]
name = "card"
category = "post"
[intent.tealights]
name = "T-Light"
"""


@pytest.mark.parametrize(
    ("name", "category", "found"),
    [
        ("PARTY BUNTING", None, ["party"]),
        ("CARD, FANCY FONT BIRTHDAY ", None, ["party", "cards"]),  # all words, in any order, whatever is around them
        ("BIRTHDAY CAKE", "cakes", ["cakes"]),  # no rule: the category
        ("PARTY", "post", ["party", "cards"]),  # by its name and by its category
        ("CARDS", None, []),  # whole words
        ("WHITE T-LIGHT HOLDER", None, ["tealights"]),  # a joined word is one word
        ("LIGHT T SHIRT", None, []),
        ("LOUNGE,PARTY/SIGN", None, ["party"]),
        ("", None, []),
    ],
)
def test_names(name: str, category: str | None, found: list[str]) -> None:
    """A rule on names catches products whose name has all words of one of its strings."""
    catalogue = Catalogue.parse(NAMED)
    for _ in range(2):  # the second time remembered
        assert [catalogue.names[s] for s in catalogue.subjects(category, None, name)] == found


def test_names_and_searches_are_apart() -> None:
    """What a customer searches for is no product's name, and the other way round."""
    assert Catalogue.parse(NAMED).subjects(None, "party") == ()
    assert Catalogue.parse(SHOP).subjects(None, None, "ice cream") == ()
    assert Catalogue.parse(NAMED).reads_names and not Catalogue.parse(SHOP).reads_names


def test_a_name_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name's words are compared with the rules the first time only, and what is remembered is bounded."""
    asked: list[str] = []

    def counting(name: str) -> tuple[str, ...]:
        asked.append(name)
        return words_of(name)

    catalogue = Catalogue.parse(NAMED)
    monkeypatch.setattr("intents.catalog.words_of", counting)
    monkeypatch.setattr("intents.catalog.MOST_NAMES", 2)
    for name in ("party", "card", "party", "card", "tin", "tin", "party"):
        catalogue.subjects(None, None, name)
    assert asked == ["party", "card", "tin", "party"]


def test_labels_and_journeys() -> None:
    """People read the label; a journey's steps are transitions between its stages."""
    catalogue = Catalogue.parse(SHOP)
    assert [catalogue.label(name) for name in ("party_supplies", "balloons", "shoes")] == [
        "Party supplies",
        "balloons",
        "shoes",
    ]
    birthday = Journey("birthday", ("party_supplies", "ice cream"))
    assert catalogue.journeys == (birthday,)
    assert catalogue.stage("ice cream") == (birthday, 1)
    assert catalogue.steps() == [(subject_hash("party_supplies"), subject_hash("ice cream"))]


def test_many_subjects() -> None:
    """An event maps to a bounded number of subjects, the catalogue's first."""
    rules = "\n".join(f'[intent.i{n}]\ncategory = "*"' for n in range(12))
    assert names(Catalogue.parse(rules), "shoes") == [f"i{n}" for n in range(MAX_SUBJECTS)]


def test_collision() -> None:
    """A category whose hash another name has stops loudly, before anything is counted."""
    catalogue = Catalogue(names=Names({subject_hash("shoes"): "boots"}))
    with pytest.raises(SubjectCollision, match="'boots' and 'shoes'"):
        catalogue.subjects("shoes", None)


def test_idle_rules() -> None:
    """Rules that catch nothing in a recording are told: likely mistakes."""
    catalogue = Catalogue.parse(SHOP)
    assert catalogue.idle_rules(["shoes"], ["red shoes"]) == ["party_supplies", "balloons", "ice cream"]
    assert catalogue.idle_rules(["balloons"], ["big sorbet"]) == []
    assert Catalogue.parse(NAMED).idle_rules(["post"], ["party"], ["Lamp"]) == ["party", "tealights"]
    assert Catalogue.parse(NAMED).idle_rules([], [], ["Card for a birthday", "t-light"]) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[intent.a]\ncategory = "a"\n[intent.b]\nstages = ["a"]', 3, "has 'stages'"),
        ('[intent.a]\ncategory = "a"\n\n[intent.b]\nlabel = "B"', 4, "catches nothing"),
        ("[intent.a]\ncategory = 5", 1, "category of [intent.a] must be a string or a list"),
        ('[intent.a]\ncategory = ["a", 5]', 1, "must be a string or a list of strings"),
        ('[intent.a]\ncategory = "a"\n[intent.b]\nquery = "  "', 3, "none empty"),
        ('[intent.a]\ncategory = ""', 1, "none empty"),
        (
            '[intent.a]\ncategory = "a"\n[intent.b]\nname = ["tea", 5]',
            3,
            "name of [intent.b] must be a string or a list",
        ),
        ('[intent.a]\ncategory = "a"\n[intent.b]\nname = ["tea", " "]', 3, "none empty"),
        ('[intent.a]\ncategory = "a"\n[intent.b]\nname = ["tea", "!"]', 3, "must have a word (letters or digits)"),
        ('[intent.a]\ncategory = "a"\nlabel = 5', 1, "label of [intent.a] must be a string"),
        ('[intent.a]\ncategory = "a"\n[journey.j]\nstages = ["a"]', 3, "at least two stages"),
        ('[intent.a]\ncategory = "a"\n[journey.j]\nstages = ["a", "b"]', 3, "the stage 'b', which is no [intent.b]"),
        ('[intent.a]\ncategory = "a"\n[journey.j]\nstages = ["a", "a"]', 3, "a stage twice"),
        ('[intent.a]\ncategory = "a"\n[journey.j]\nsteps = ["a"]', 3, "has 'steps'"),
        ('[intent.a]\ncategory = "a"\n[journey.j]\n', 3, "at least two stages"),
        ('\n[intents.a]\ncategory = "a"', 2, "[intents] is neither [intent.NAME] nor [journey.NAME]"),
        ('title = "ours"', 1, "[title] is neither"),
        ('\nintent = "a"', 2, "[intent] is neither"),
        ('\n[intent]\na = "shoes"', 1, "[intent.a] must be a table"),
        ('[intent.a]\ncategory = "a"\n[intent."b c"]\nlabel = "B"', 3, "[intent.b c] catches nothing"),
        ('[intent.a]\ncategory = "a"\n[ intent . b ]\nlabel = "B"', 3, "[intent.b] catches nothing"),
        ('[intent.ab]\ncategory = "a"\n[intent.a]\nlabel = "B"', 3, "[intent.a] catches nothing"),
        ('\n[[intent.a]]\ncategory = "a"', 2, "[intent.a] must be a table"),
    ],
)
def test_mistakes(text: str, line: int, words: str) -> None:
    """A mistake is told with the file, the line of its table, and what to write instead."""
    with pytest.raises(CatalogueError) as error:
        Catalogue.parse(text, "shop.toml")
    assert str(error.value).startswith(f"shop.toml:{line}: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "text", ['[intent.a]\ncategory = "a"\n[intent.a]\ncategory = "b"', "[intent.a]\n\ncategory = a\n"]
)
def test_not_toml(text: str) -> None:
    """A duplicate table, or what is no TOML, is told with its line."""
    with pytest.raises(CatalogueError, match=r"^shop\.toml: .*line 3"):
        Catalogue.parse(text, "shop.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 10_000, "a" * 10 + "\ud800"])
def test_too_much_of_it(text: str) -> None:
    """What breaks the reader of TOML, nested without end or a number without end, is a mistake like any other."""
    with pytest.raises(CatalogueError, match=r"^shop\.toml: "):
        Catalogue.parse(text, "shop.toml")


def test_load(tmp_path: Path) -> None:
    """A file is read as UTF-8; its mistakes name it."""
    path = tmp_path / "shop.toml"
    path.write_text(SHOP.replace("Party supplies", "Żyrandole 🎈"), encoding="utf-8")
    assert Catalogue.load(path).label("party_supplies") == "Żyrandole 🎈"
    path.write_bytes(b'[intent.a]\ncategory = "\xff"')
    with pytest.raises(CatalogueError, match=r"shop\.toml: not UTF-8"):
        Catalogue.load(path)
