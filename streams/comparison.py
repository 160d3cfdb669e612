"""A replay in process, cold and learning, with learners beside the trainer."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from intents.comparison import HashedFold, LearnerComparison
from intents.evidence import Fold
from streams.engine import HASH_KEY
from streams.inprocess import PARTITIONS
from streams.recordings import Recording, RecordingBatch
from streams.replay import Outputs, Summary, replay_in_process
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events there were, and the ids of their customers."""

    events: int
    customers: list[str]

    def fold(self, fold: Fold | None = None) -> HashedFold:
        """A fold of the customers, or all."""
        return HashedFold(fold, self.customers, HASH_KEY)


def replay_comparison(
    recording: Recording,
    settings: Settings,
    beside: LearnerComparison,
    limit: int | None,
    told: Callable[[float, int], None],
) -> Replayed:
    """Replay a recording (`limit` events of it) once with a trainer, and let the learners `beside` learn the same.

    `told` hears how far it has come: its share, and how many events.
    """
    customers: dict[bytes, None] = {}

    def noted(batches: Iterable[RecordingBatch]) -> Iterator[RecordingBatch]:
        for batch in batches:
            customers.update(dict.fromkeys(batch.keys))
            yield batch

    def tell(batch: RecordingBatch, summary: Summary) -> None:
        told(recording.share(batch, summary.records, limit), summary.events)

    work = replay_in_process(
        noted(recording.batches(limit=limit)),
        settings,
        settings.load_catalogue(),
        Outputs(),
        learn=True,
        partitions=PARTITIONS,
        told=tell,
        watcher=beside,
    )
    summary = asyncio.run(work)
    return Replayed(summary.events, [key.decode(errors="replace") for key in customers])
