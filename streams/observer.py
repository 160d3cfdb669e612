"""What is told of a worker or trainer while it works: a few verbs, called once a chunk, that keep the metrics.

Nothing here waits, raises, or costs work for each event of a chunk.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from intents.model import Model
from intents.training import Trainer
from sinks.records import Record
from streams import metrics
from streams.meter import Meter
from streams.metrics import Lost, Service
from streams.stall import Place

if TYPE_CHECKING:
    from streams.engine import Step
    from streams.wire import Records


def wall_clock() -> float:
    """UTC seconds, compared with the broker's clock in one metric and used for nothing else."""
    return time.time()  # noqa: TID251  # the latency is between two machines' clocks


@dataclass(slots=True)
class Observer:
    """Keeps the metrics of one process; `clock` in UTC seconds."""

    meter: Meter = field(default_factory=lambda: Meter(metrics.BOTH, metrics.WORKER))
    clock: Callable[[], float] = wall_clock
    _moved: set[Place] = field(default_factory=set)
    _snapshot_at: float | None = None

    @classmethod
    def of_trainer(cls) -> "Observer":
        """The observer of a trainer."""
        return cls(Meter(metrics.BOTH, metrics.TRAINER))

    # Both

    def took(self, records: int) -> None:
        """A chunk of so many records begins."""
        self.meter.observe(metrics.CHUNK, [records])

    def moved(self, topic: str, partition: int) -> None:
        """Something came of a partition: it does not stall. Commits say it; long work without any must say it too."""
        self._moved.add((topic, partition))

    def take_moved(self) -> set[Place]:
        """Partitions that moved since this was last asked."""
        moved, self._moved = self._moved, set()
        return moved

    def waits(self, service: Service) -> None:
        """A call failed for now."""
        self.meter.add_by(metrics.WAITS, service)

    def gone(self, records: int) -> None:
        """Retention deleted so many records that were not read."""
        self.meter.add(metrics.GONE, records)

    def stands(self, lags: dict[int, float], stalled_s: float, ready: bool) -> None:
        """How far each assigned partition is behind, and whether the process is ready."""
        self.meter.set_by_partition(metrics.LAG, lags)
        self.meter.set(metrics.QUIET, stalled_s)
        self.meter.set(metrics.READY, ready)
        if self._snapshot_at is not None:
            self.meter.set(metrics.MODEL_AGE, time.monotonic() - self._snapshot_at)

    def snapshot(self, offset: int) -> None:
        """A snapshot of this offset was taken up, or saved."""
        self._snapshot_at = time.monotonic()
        self.meter.set(metrics.MODEL_OFFSET, offset)
        self.meter.set(metrics.MODEL_AGE, 0.0)

    def looked(self, refused: int, disputed: int) -> None:
        """The model store was looked at; so many snapshots could not be used, or contradict another."""
        self.meter.set(metrics.REFUSED_SNAPSHOTS, refused)
        self.meter.set(metrics.DISPUTED_SNAPSHOTS, disputed)

    # The worker

    def limited(self, dead_letters: int) -> None:
        """More dead letters a minute would stop the worker."""
        self.meter.set(metrics.DEAD_LETTER_LIMIT, dead_letters)

    def speaks(self, model: Model, threshold: float) -> None:
        """The worker took up a model; intents are detected from this probability on."""
        self.meter.set(metrics.MODEL_READY, model.ready)
        self.meter.set(metrics.MODEL_LOSING, model.losing)
        self.meter.set(metrics.THRESHOLD, threshold)

    def refused(self, letters: Sequence[Record]) -> None:
        """Dead letters will be published."""
        for letter in letters:
            reason = dict(letter.headers)["reason"].decode("utf-8", "replace")
            self.meter.add_by(metrics.REFUSALS, metrics.refused(reason))

    def diverted(self, letters: Sequence[Record]) -> None:
        """Dead letters were published."""
        self.meter.add(metrics.DEAD_LETTERS, len(letters))

    def claimed(self) -> None:
        """A partition was claimed."""
        self.meter.add(metrics.CLAIMS)

    def committed(self, topic: str, partition: int, seconds: float, state_bytes: int) -> None:
        """A commit was taken."""
        self.moved(topic, partition)
        self.meter.observe(metrics.COMMIT, [seconds])
        self.meter.add(metrics.STATE_BYTES, state_bytes)

    def lost(self, found: Lost) -> None:
        """A commit or a read was refused."""
        self.meter.add_by(metrics.LOST, found)

    def worked(self, step: "Step", pieces: "Sequence[tuple[int, Records | None]]") -> None:
        """These pieces of a step, by number and with their records, were committed and what came of them published."""
        if step.detected.unslotted:
            self.meter.add(metrics.UNSLOTTED, step.detected.unslotted)
        for number, records in pieces:
            self.meter.add(metrics.EVENTS, len(step.pieces[number].chunk))
            for status, count in Counter(intent.status for intent in step.intents[number]).items():
                self.meter.add_by(metrics.INTENTS, status, count)
            if records is not None:
                said = {intent.source.offset for intent in step.intents[number] if intent.status != "expired"}
                self.meter.observe(metrics.LATENCY, self._since(records, said))

    def _since(self, records: "Records", offsets: Iterable[int]) -> list[float]:
        """Seconds since the broker's timestamps of these records, those without one left out."""
        places = np.searchsorted(records.offsets, np.array(sorted(offsets), dtype=np.int64))
        stamps = records.timestamps[places[places < len(records.offsets)]]
        seconds: list[float] = np.maximum(self.clock() - stamps[stamps >= 0] / 1000.0, 0.0).tolist()
        return seconds

    # The trainer

    def read(self, trainer: Trainer, records: int, unreadable: int) -> None:
        """A chunk of examples was read."""
        self.meter.add(metrics.EXAMPLES, records)
        self.meter.add(metrics.UNREADABLE, unreadable)
        self.meter.set(metrics.POSITIVES, trainer.now.positives)
        self.meter.set(metrics.NEGATIVES, trainer.now.negatives)
        progress = trainer.progress
        self.meter.set(metrics.MODEL_LOSING, progress.losing)
        area, precision = progress.discrimination()
        for gauge, value in (
            (metrics.JUDGED, progress.pairs),
            (metrics.LOSS, progress.loss),
            (metrics.FALLBACK_LOSS, progress.fallback_loss),
            (metrics.AREA, area),
            (metrics.PRECISION, precision),
            (metrics.SAID, progress.mean),
            (metrics.RATE, progress.rate),
        ):
            if not isnan(value):
                self.meter.set(gauge, value)

    def unsaved(self) -> None:
        """A snapshot could not be saved."""
        self.meter.add(metrics.UNSAVED)
