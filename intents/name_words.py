"""The words of a product's name: what the catalogue's rules on names are compared with, and themes are found among."""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")


def words_of(name: str) -> tuple[str, ...]:
    """The words of `name` in lower case and in order: runs of letters and digits, joined by - or ' within a word."""
    return tuple(_WORD.findall(name.lower()))
