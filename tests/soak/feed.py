"""What is sent: a recording in a loop, disturbed, with refused and poisonous records in between; and the sending.

Some customers ask to be forgotten (`forgetting.py`). Each loop is other customers at later times. A bad record has
`bad-` or `poison` in its value, or none.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import orjson
from confluent_kafka import KafkaError, Message, Producer

from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch
from streams.simulate import simulate
from tests.job import PARTITIONS, cut, disturbed, first_records
from tests.soak.forgetting import Forgetting

TAOBAO: Final = Path(__file__).parents[3] / "shared" / "data" / "taobao_user_behavior.csv.gz"
LEARNED: Final = 15_000
"""Records that the frozen model is learned from; the ones behind them are sent."""
BAD_EVERY: Final = 120
POISON_EVERY: Final = 5_000
REPEATED: Final = 200
"""Records that a restarted producer sends again."""
_BIG_SHARE: Final = 0.3
_TOO_LONG: Final = 1_000_100
_FAR_AHEAD_MS: Final = 7_900_000_000_000  # in the year 2220
_HOUR_MS: Final = 3_600_000


class Sent(NamedTuple):
    """One record to send."""

    key: bytes
    value: bytes | None


def is_bad(value: bytes | None) -> bool:
    """Whether a record must be dead-lettered."""
    return value is None or b"bad-" in value or b'"poison' in value


def recorded(limit: int = 10**9) -> RecordingBatch:
    """The Taobao recording where it lies beside the project, else a made-up shop."""
    if TAOBAO.exists():
        return first_records(TAOBAO, limit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.jsonl"
        simulate(path, events=60_000, customers=1_500, days=9)
        return first_records(path, limit)


def stream(batch: RecordingBatch, seed: int) -> Iterator[Sent]:
    """Records without end."""
    dice = Random(f"feed {seed}")
    forgetting = Forgetting(Random(f"forgetting {seed}"))
    span_ms = int(batch.times_ms.max() - batch.times_ms.min()) + _HOUR_MS
    number = 0
    loop = 0
    while True:
        mixed = disturbed(batch, seed + loop)
        for key, value in zip(mixed.keys, mixed.values, strict=True):
            sent = Sent(key, value) if loop == 0 else _renamed(value, loop, span_ms)
            if forgetting.has_left(sent.value or b""):
                continue
            number += 1
            if number % BAD_EVERY == 0:
                yield _refused(dice, sent, number)
            if number % POISON_EVERY == POISON_EVERY // 2:
                yield Sent(sent.key, _with(sent, event_id=f"poison-{number}"))
            yield sent
            for other in forgetting.beside(number, sent.value or b""):
                yield Sent(_customer(other), other)
        loop += 1


def _renamed(value: bytes, loop: int, span_ms: int) -> Sent:
    event = orjson.loads(value)
    event["event_id"] = f"{event['event_id']}~{loop}"
    event["customer_id"] = f"{event['customer_id']}~{loop}"
    event["time"] += loop * span_ms
    value = orjson.dumps(event)
    return Sent(_customer(value), value)


def _customer(value: bytes) -> bytes:
    return str(orjson.loads(value)["customer_id"]).encode()


def _with(sent: Sent, **changes: object) -> bytes:
    assert sent.value is not None
    return orjson.dumps(orjson.loads(sent.value) | changes)


def _refused(dice: Random, sent: Sent, number: int) -> Sent:
    """A record of the same customer that is refused, of any kind."""
    mark = f"bad-{number}"
    without = {name: value for name, value in orjson.loads(sent.value or b"").items() if name != "event_id"}
    values: list[bytes | None] = [
        b"{not json " + mark.encode(),
        None,
        orjson.dumps(without | {"query": mark}),
        _with(sent, event_id="", query=mark),
        _with(sent, event_id=mark, kind="dance"),
        _with(sent, event_id=mark, kind="merge"),
        _with(sent, event_id=mark, customer_id="somebody-else"),
        _with(sent, event_id=mark, time=_FAR_AHEAD_MS),
        _with(sent, event_id=mark, time=2**60),
        _with(sent, event_id=mark, time="yesterday"),
        _with(sent, event_id=mark, category="c" * 257),
        _with(sent, event_id=mark, price="cheap"),
        _with(sent, event_id=mark, price=0)[:-2] + b"1e999}",
        _with(sent, event_id=mark, items=[{}] * 101),
    ]
    if dice.random() < _BIG_SHARE / len(values):
        return Sent(sent.key, _with(sent, event_id=mark, name="n" * _TOO_LONG))
    return Sent(sent.key, dice.choice(values))


class Feed:
    """Sends a stream at a pace, each record to its key's partition, until it is told to end."""

    def __init__(self, broker: str, topic: str, records: Iterator[Sent], per_s: float) -> None:
        self.broker, self.topic, self.records, self.per_s = broker, topic, records, per_s
        self.ends = dict.fromkeys(range(PARTITIONS), 0)
        self.sent = 0
        self.refused: list[str] = []
        self.newest_ms = 0
        self._recent: deque[Sent] = deque(maxlen=REPEATED)
        self._producer = self._new_producer()
        self._ending = asyncio.Event()

    def _new_producer(self) -> Producer:
        options = {"enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        limits = {"message.max.bytes": 1_040_000, "message.timeout.ms": 600_000, "reconnect.backoff.max.ms": 1_000}
        return Producer({"bootstrap.servers": self.broker, **options, **limits})

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        place, offset = message.partition(), message.offset()
        if error is not None or place is None or offset is None:
            self.refused.append(str(error))
            return
        self.ends[place] = max(self.ends[place], offset + 1)

    def _send(self, records: list[Sent]) -> None:
        places = partitions_for([record.key for record in records], PARTITIONS).tolist()
        for (key, value), place in zip(records, places, strict=True):
            self._producer.produce(self.topic, value, key, partition=place, on_delivery=self._delivered)
            if not is_bad(value):
                self.newest_ms = max(self.newest_ms, int(orjson.loads(value or b"")["time"]))
        self._recent.extend(records)
        self.sent += len(records)

    async def run(self) -> None:
        """Send until `end`; while the broker is away what is sent waits in the producer, up to a limit."""
        clock = asyncio.get_running_loop().time
        began, before = clock(), 0
        while not self._ending.is_set():
            due = int((clock() - began) * self.per_s)
            if len(self._producer) < 50_000 and due > before:
                self._send([next(self.records) for _ in range(min(due - before, 2_000))])
            before = due  # what a slow machine has missed is not made up for
            self._producer.poll(0)
            await asyncio.sleep(0.05)

    async def start_again(self) -> None:
        """Be a producer that starts again and does not know which of its last records have arrived."""
        recent = list(self._recent)
        old, self._producer = self._producer, self._new_producer()
        await asyncio.to_thread(old.flush, 60)
        self._send(recent)

    async def end(self, *, quiet_ms: int) -> None:
        """Stop, after one last event in each partition that is `quiet_ms` later than all others."""
        self._ending.set()
        time = self.newest_ms + quiet_ms
        self._send([Sent(key, _closing(key, time)) for key in _one_in_each()])
        left = await asyncio.to_thread(self._producer.flush, 120)
        if left:
            raise RuntimeError(f"{left} records were not taken by Kafka")


def _closing(key: bytes, time: int) -> bytes:
    name = key.decode()
    return orjson.dumps(
        {"event_id": f"of-{name}", "customer_id": name, "kind": "view", "time": time, "category": "closing"}
    )


def _one_in_each() -> list[bytes]:
    """A customer of each partition."""
    names = [f"closing-{number}".encode() for number in range(40 * PARTITIONS)]
    places = partitions_for(names, PARTITIONS).tolist()
    return [names[places.index(number)] for number in range(PARTITIONS)]


def learnable(batch: RecordingBatch) -> RecordingBatch:
    """The records to learn a frozen model from."""
    return cut(batch, 0, LEARNED)


def sendable(batch: RecordingBatch) -> RecordingBatch:
    """The records to send."""
    return cut(batch, LEARNED, len(batch.keys))
