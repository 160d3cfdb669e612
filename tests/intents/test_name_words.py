"""A name's words are what people would call words, in lower case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.name_words import words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", ("white", "hanging", "heart", "t-light", "holder")),
        ("AIRLINE LOUNGE,METAL SIGN ", ("airline", "lounge", "metal", "sign")),
        ('RECORD FRAME 7" SINGLE', ("record", "frame", "7", "single")),
        ("CHILDREN'S CUP (BLUE)", ("children's", "cup", "blue")),
        ("Größe_M - Tee", ("größe", "m", "tee")),
        ("--- ''", ()),
    ],
)
def test_words(name: str, words: tuple[str, ...]) -> None:
    """Letters and digits make words; - and ' join within one, everything else parts."""
    assert words_of(name) == words


@given(st.text(max_size=60))
def test_words_of_words_are_the_same(name: str) -> None:
    """Reading words again changes nothing, so a rule that was written from a name catches that name."""
    assert words_of(" ".join(words_of(name))) == words_of(name)
