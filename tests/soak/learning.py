"""What came to the trainer, and whether it learned every question once: its labels, against these questions.

A publication repeated, or records worked again after a loss, bring a question again: it counts once.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from features.core_bundle import CORE
from intents.examples import unpack
from intents.model_store import ModelStore
from intents.snapshots import decode
from intents.training import Trainer
from streams.settings import Settings

Source = tuple[str, int]


class Entry(NamedTuple):
    """What the trainer is told of one event: that something was asked, or an outcome."""

    what: Literal["asked", "outcome"]
    partition: int
    offset: int
    line: int


def entries_of(records: Iterable[bytes]) -> set[Entry]:
    """What records of the examples topic tell."""
    found: set[Entry] = set()
    for examples in map(unpack, records):
        for what, entries in (("asked", examples.asked), ("outcome", examples.outcomes)):
            places = zip(entries["offset"].tolist(), entries["index"].tolist(), strict=True)
            found |= {Entry(what, examples.partition, *place) for place in places}  # type: ignore[arg-type]  # one of two
    return found


class Listener(Trainer):
    """A trainer that keeps what it is told, and learns nothing."""

    def __init__(self) -> None:
        super().__init__(CORE, 1)
        self.told: set[Entry] = set()

    def read(self, offset: int, record: bytes, at_ms: int = -1) -> None:
        """Keep what a record tells."""
        self.told |= entries_of([record])


def labels_due(records: Iterable[bytes], horizon_ms: int) -> int:
    """Labels that the examples lead to: one for each candidate of each question that is due at the end."""
    asked: dict[tuple[Source, int, int], tuple[int, int]] = {}
    passed: dict[Source, int] = {}
    for record in records:
        examples = unpack(record)
        source = examples.topic, examples.partition
        passed[source] = max(passed.get(source, -1), examples.watermark)
        for entry in examples.asked:
            place = source, int(entry["offset"]), int(entry["index"])
            asked.setdefault(place, (int(entry["time"]), int(entry["candidates"])))
    return sum(count for (source, *_), (time, count) in asked.items() if time + horizon_ms < passed[source])


def labels_learned(settings: Settings) -> int:
    """Labels in the newest snapshot."""
    store = ModelStore(settings.model_store)
    model = decode(store.load(store.names()[-1]), CORE).model
    return model.now.positives + model.now.negatives


def trained_up_to(settings: Settings) -> int:
    """The offset up to which the newest snapshot has read the examples."""
    names = ModelStore(settings.model_store).names()
    return int(names[-1].split("-")[0]) if names else 0
