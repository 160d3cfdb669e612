"""One guard that is taken out of the sources, and the test that must go red without it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The project."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """`text` of a file becomes `instead`, which breaks what `what` says; `test` is a node of pytest's, or several."""

    what: str
    file: str
    text: str
    instead: str
    test: str

    def found(self, root: Path = ROOT) -> int:
        """How often the text is there: once, or the mutation does not fit the sources any more."""
        return (root / self.file).read_text().count(self.text)

    def apply(self, root: Path) -> None:
        """Mutate the file below `root`; raises LookupError if the text is not there exactly once."""
        if (times := self.found(root)) != 1:
            raise LookupError(f"{self.file} has this text {times} times, not once: {self.text!r}")
        path = root / self.file
        path.write_text(path.read_text().replace(self.text, self.instead))
