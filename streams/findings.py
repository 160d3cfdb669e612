"""What a checkup says about one thing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `problem` needs somebody to act, a `note` does not (yet); `advice` says how."""

    check: str
    status: Literal["ok", "note", "problem"]
    found: str
    advice: str = ""


def well(check: str, found: str) -> Finding:
    """All is as it should be."""
    return Finding(check, "ok", found)


def note(check: str, found: str, advice: str) -> Finding:
    """Nothing is broken, but somebody may want to know."""
    return Finding(check, "note", found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Somebody must do something."""
    return Finding(check, "problem", found, advice)
