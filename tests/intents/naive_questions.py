"""Open questions again, slow and obvious: everything that was ever asked and every outcome, in two lists.

It judges intents/questions.py.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

DAY = 24 * 3_600_000


class Asked(NamedTuple):
    """A question, in the order in which they are due."""

    time: int
    offset: int
    place: int
    source: str
    customer: int
    subjects: tuple[int, ...]


class Answered(NamedTuple):
    """A question with the answer of each of its subjects."""

    asked: Asked
    labels: tuple[bool, ...]


@dataclass
class NaiveQuestions:
    """What has been asked and what came, in order of reading (`turn`)."""

    horizon: int
    most: int
    share: float = 1.0
    turn: int = 0
    asked: list[tuple[int, Asked]] = field(default_factory=list)
    came: list[tuple[int, str, int, int, int]] = field(default_factory=list)
    told_now: set[Asked] = field(default_factory=set)
    told_soon: set[Asked] = field(default_factory=set)
    left: set[Asked] = field(default_factory=set)
    chances: dict[Asked, float] = field(default_factory=dict)

    def ask(self, question: Asked, chance: float) -> None:
        """One more; where too many wait, the share of those that may wait for a day is halved."""
        self.turn += 1
        self.asked.append((self.turn, question))
        self.chances[question] = chance
        self._leave()
        while len(self.waiting()) > self.most:
            self.share /= 2
            self._leave()

    def _leave(self) -> None:
        self.left |= {asked for _, asked in self.asked if self.chances[asked] >= self.share}

    def waiting(self) -> list[Asked]:
        """The sample of those that wait for a day."""
        return [asked for _, asked in self.asked if asked not in self.told_soon | self.left]

    def outcome(self, source: str, customer: int, subject: int, time: int) -> None:
        """One more outcome."""
        self.turn += 1
        self.came.append((self.turn, source, customer, subject, time))

    def due(self, source: str, passed: int, *, soon: bool) -> list[Answered]:
        """Those older than their horizon, the oldest first, each answered by what was read since it was asked."""
        horizon, told = (DAY, self.told_soon | self.left) if soon else (self.horizon, self.told_now)
        found = [
            (turn, asked)
            for turn, asked in self.asked
            if asked.source == source and asked not in told and asked.time + horizon < passed
        ]
        (self.told_soon if soon else self.told_now).update(asked for _, asked in found)
        return sorted(Answered(asked, self._labels(turn, asked, horizon)) for turn, asked in found)

    def _labels(self, turn: int, asked: Asked, horizon: int) -> tuple[bool, ...]:
        mine = [
            (subject, time)
            for read, source, customer, subject, time in self.came
            if read > turn and (source, customer) == (asked.source, asked.customer)
        ]
        return tuple(
            any(subject == mine_ and asked.time < time <= asked.time + horizon for mine_, time in mine)
            for subject in asked.subjects
        )
