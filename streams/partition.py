"""A claimed partition: where it stands, what one step does for it, and how it is lost."""

from dataclasses import dataclass

from features.events import Chunk
from features.store import Answer, Cursor, PartitionKey
from features.tombstones import Tombstones
from intents.detect import Bound, Past
from sinks.records import Record


class LostPartition(Exception):
    """A commit was refused: the partition belongs to another claim, or does not continue here.

    Claim again or drop it.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the commit was {answer.verdict}; the store is at {answer.found}")
        self.answer = answer


@dataclass(slots=True)
class Partition:
    """A claimed partition.

    Its key, where it stands, which names the store has, the records still to be published, who is forgotten, and how
    many partitions the topic had, and which id, when its states were made (0 and "": not known). After a loss of
    states: `acknowledged` is the offset before which everything was published, examples too; `last` that of the last
    record for which any intent was (-1: none), and `answered` the subjects of these. No deadline in the store is before
    `due_from` (UTC ms). `unpublished`: the last commit's outbox may wait in the store with nobody at
    work to publish it, and must not be overwritten.
    """

    key: PartitionKey
    cursor: Cursor
    known: set[int]
    outbox: list[Record]
    tombstones: Tombstones
    partitions: int = 0
    acknowledged: int = -1
    last: int = -1
    answered: frozenset[int] = frozenset()
    topic_id: str = ""
    due_from: int = -1
    unpublished: bool = False

    @property
    def watermark_ms(self) -> int:
        """Event time up to which no earlier event is expected; -1 before the first commit."""
        return self.cursor.watermark_ms

    @property
    def rebuilding(self) -> bool:
        """Whether its records were worked before, and its intents are still to be taken over."""
        return self.cursor.position < self.cursor.adopt_until

    @property
    def past(self) -> Past:
        """What the next piece has behind it."""
        unasked = self.cursor.position < self.acknowledged
        if self.rebuilding or self.cursor.position > self.last:
            return Past(self.rebuilding, unasked=unasked)
        return Past(self.rebuilding, self.last, self.answered, unasked)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step does for one partition.

    A chunk, the customers it touches or finds due, and which deadlines it may fire.

    A chunk without events moves the watermark to `advance_ms`, if that is later.
    """

    partition: Partition
    chunk: Chunk
    customers: list[str]
    bound: Bound | None = None
    advance_ms: int = -1
