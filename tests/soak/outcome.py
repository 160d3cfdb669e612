"""What came of a run: the log that was worked, and everything that the job left in Kafka and Redis."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import redis
from confluent_kafka import Message

from sinks.records import unpack_outbox
from streams.recordings import RecordingBatch
from streams.settings import Settings
from streams.wire import Records
from tests.job import KafkaRun
from tests.soak.feed import is_bad
from tests.soak.learning import Entry, entries_of, labels_due, labels_learned
from tests.soak.retention import Cut, Row, told


class Letter(NamedTuple):
    """A dead letter: the place of the record that was refused, and what was kept of it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass
class Outcome:
    """By partition: the log (offsets from 0, without holes) and the intents; and dead letters, states, and lags.

    What of the log was deleted (`cut`), its rows included in `log`, and what workers said of it.
    And customers whom Redis names elsewhere than in a state, what was told to the trainer, the labels that it learned,
    and those that it should have.
    """

    log: dict[int, list[Row]]
    intents: dict[int, list[bytes]]
    letters: list[Letter]
    states: dict[str, bytes]
    lags: dict[str, int] = field(default_factory=dict)
    cut: dict[int, Cut] = field(default_factory=dict)
    told: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    named: set[str] = field(default_factory=set)
    examples: set[Entry] = field(default_factory=set)
    labels: int = 0
    labels_due: int = 0

    @property
    def events(self) -> int:
        """Records of the clickstream."""
        return sum(map(len, self.log.values()))

    def bad(self) -> set[tuple[int, int]]:
        """(partition, offset) of the records that were made to be refused, and were read."""
        return {
            (n, offset)
            for n, rows in self.log.items()
            for offset, row in enumerate(rows)
            if is_bad(row.value) and not self._unread(n, offset)
        }

    def _unread(self, number: int, offset: int) -> bool:
        cut = self.cut.get(number)
        return cut is not None and cut.first <= offset < cut.end

    def good_records(self, topic: str, number: int) -> Records:
        """A partition's log without these, and without what was deleted unread."""
        rows = [
            (offset, row)
            for offset, row in enumerate(self.log[number])
            if not (is_bad(row.value) or self._unread(number, offset))
        ]
        keys, values = [row.key for _, row in rows], [row.value for _, row in rows]
        offsets = np.array([offset for offset, _ in rows], dtype=np.int64)
        stamps = np.array([row.timestamp for _, row in rows], dtype=np.int64)
        return Records(topic, number, 0, len(self.log[number]), keys, values, offsets, stamps)

    def as_recording(self) -> RecordingBatch:
        """The log for a replay in process, where each record that is bad or was not read is one that is refused."""
        rows = [(n, offset, row) for n in sorted(self.log) for offset, row in enumerate(self.log[n])]
        values = [
            b"refused" if row.value is None or is_bad(row.value) or self._unread(n, offset) else row.value
            for n, offset, row in rows
        ]
        return RecordingBatch([row.key for *_, row in rows], values, np.zeros(len(rows), dtype=np.int64), 0)


def collect(job: KafkaRun, lags: Mapping[str, int], cut: dict[int, Cut]) -> Outcome:
    """Read everything back; what was `cut` off the log is known from before."""
    settings = job.settings
    log: dict[int, list[Row]] = {}
    for number, messages in job.messages(settings.clickstream).items():
        before = cut[number].rows if number in cut else []
        if [message.offset() for message in messages] != list(range(len(before), len(before) + len(messages))):
            raise RuntimeError(f"{settings.clickstream}/{number} has holes")
        log[number] = before + [Row.of(message) for message in messages]
    letters = [_letter(message) for message in job.messages(settings.dead_letter, 1)[0]]
    examples = job.published(settings.examples, 1)[0]
    due = labels_due(examples, settings.horizon_s * 1000)
    intents, states = job.published(settings.intents), _states(settings)
    said = told(path.read_text(errors="replace") for path in job.folder.glob("process-*.log"))
    told_trainer, learned = entries_of(examples), labels_learned(settings)
    return Outcome(log, intents, letters, states, dict(lags), cut, said, _named(settings), told_trainer, learned, due)


def _letter(message: Message) -> Letter:
    head = {str(name): value.decode() for name, value in list(message.headers() or []) if isinstance(value, bytes)}
    return Letter(head["topic"], int(head["partition"]), int(head["offset"]), message.key(), message.value())


def _states(settings: Settings) -> dict[str, bytes]:
    """All states in Redis, also those of customers that nobody sent."""
    with redis.Redis.from_url(settings.redis_url) as client:
        keys = list(client.scan_iter(match="mi:*:v1:s:*", count=1_000))
        names = [key.decode().split(":v1:s:", 1)[1] for key in keys]
        return {name: value for name, value in zip(names, client.mget(keys), strict=True) if value is not None}


def _named(settings: Settings) -> set[str]:
    """Customers with a deadline in Redis, or in the records of a last commit."""
    with redis.Redis.from_url(settings.redis_url) as client:
        deadlines = [name for key in client.scan_iter(match="mi:*:deadlines") for name in client.zrange(key, 0, -1)]
        outboxes = client.mget(list(client.scan_iter(match="mi:*:outbox")) or ["none"])
        keys = [record.key for outbox in outboxes if outbox for record in unpack_outbox(outbox)]
    return {name.decode() for name in (*deadlines, *keys) if name is not None}
