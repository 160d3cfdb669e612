"""Erasing a customer: the event that asks for it, its effect, and proof that nothing is left in Redis.

The log stays as it is: what of a customer is in Kafka goes with the topics' retention (`remains`).
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import orjson
from kafka import KafkaProducer

from features.redis_search import Held
from features.redis_store import RedisStore
from features.state import decode
from features.store import Cursor, PartitionKey
from sinks.records import Record, UnreadableOutbox, unpack_outbox
from streams.broker import Broker, BrokerFailed
from streams.partitioner import PARTITIONERS
from streams.settings import Settings
from streams.topics import found_topics

SHORT: Final = 6
"""Ids of fewer bytes turn up in binary numbers by chance."""
POLL_S: Final = 0.2
_SEND_TIMEOUT_S: Final = 15.0
_STATE: Final = re.compile(rb"mi:\{[^}]*\}:v\d+:s:(.*)", re.DOTALL)
_NEVER_MS: Final = -1


class NotWorked(Exception):
    """A forget event that no worker has worked in time; says what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A forget event in Kafka: where it stands."""

    key: PartitionKey
    offset: int


@dataclass(frozen=True, slots=True)
class Remains:
    """What a topic may still hold of a customer, and for how long (ms from now; None: for ever)."""

    topic: str
    what: str
    for_ms: int | None


def ask(broker: Broker, settings: Settings, customer: str, time_ms: int, event_id: str) -> Asked:
    """Put a forget event into the clickstream, where the customer's events are; raises BrokerFailed."""
    with broker.errors():
        producer = KafkaProducer(**broker.client_options(), acks="all")
        try:
            partitions = producer.partitions_for(settings.clickstream)
            if not partitions:
                raise BrokerFailed(f"there is no topic {settings.clickstream!r}: micro-intents topics create")
            key = customer.encode()
            place = PARTITIONERS[settings.partitioner](key, len(partitions))
            event = {"event_id": event_id, "customer_id": customer, "kind": "forget", "time": time_ms}
            sent = producer.send(settings.clickstream, orjson.dumps(event), key, partition=place)
            offset = int(sent.get(_SEND_TIMEOUT_S).offset)
        finally:
            producer.close()
    return Asked(PartitionKey(settings.namespace, settings.clickstream, place), offset)


async def held(store: RedisStore, key: PartitionKey, customer: str) -> tuple[int, int, Cursor]:
    """Events and open intents that Redis holds of a customer, and where their partition stands."""
    (blob,) = await store.peek(key, [customer])
    states = decode([customer], [blob])
    return int(states.logs.entries["count"].sum()), int((states.slots["open"] == 1).sum()), await store.cursor(key)


async def wait_for(
    store: RedisStore,
    asked: Asked,
    told: Callable[[float, int], None],
    timeout_s: float,
    sleep: Callable[[float], "object"],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a worker has worked the event; `told` hears the share and the records left. Raises NotWorked."""
    began, first = clock(), max(0, (await store.cursor(asked.key)).position)
    while (at := (await store.cursor(asked.key)).position) <= asked.offset:
        left = asked.offset + 1 - max(at, 0)
        told((max(at, first) - first) / max(1, asked.offset + 1 - first), left)
        if clock() - began >= timeout_s:
            where = f"{asked.key.topic}/{asked.key.partition}"
            how = "no worker has ever worked this partition" if at < 0 else f"the workers are at {at}"
            raise NotWorked(
                f"the event is in Kafka ({where}, offset {asked.offset}), but after {timeout_s:g} s {how}. Is one "
                "running (micro-intents worker; micro-intents doctor)? Nothing is lost: it takes effect when a worker "
                "comes to it; then see with --verify"
            )
        await sleep(POLL_S)  # type: ignore[misc]  # asyncio.sleep, or a test's
    told(1.0, 0)


def traces(found: Iterable[Held], customer: str) -> Iterator[tuple[Held, str]]:
    """Keys that hold the id of a customer, and where in them."""
    for each in found:
        where = trace(each, customer)
        if where:
            yield each, where


def trace(found: Held, customer: str) -> str | None:
    """Where a key holds the id, as a word of its own, None if nowhere."""
    id_, word = customer.encode(), _word(customer)
    state = _STATE.fullmatch(found.key)
    if state:
        if state[1] == id_:
            return "the customer's state"
        return "a state's bytes" if len(id_) >= SHORT and _any(word, found.parts) else None
    if word.search(found.key):
        return "the key's name"
    if found.key.endswith(b":outbox"):
        return "records of the last commit" if _in_outbox(found.parts, id_, word) else None
    if id_ in found.parts:
        return "a member or a field"
    return "a value" if _any(word, found.parts) else None


def _word(customer: str) -> re.Pattern[bytes]:
    """The id where no letter, digit, `_`, `-` or `.` goes on before or behind it."""
    return re.compile(rb"(?<![\w.-])" + re.escape(customer.encode()) + rb"(?![\w.-])")


def _any(word: re.Pattern[bytes], parts: Iterable[bytes]) -> bool:
    return any(word.search(part) for part in parts)


def _in_outbox(parts: Iterable[bytes], id_: bytes, word: re.Pattern[bytes]) -> bool:
    """In an outbox's records: their keys, their JSON, or, of what cannot be read, their bytes."""
    for part in parts:
        try:
            records = unpack_outbox(part)
        except UnreadableOutbox:
            return bool(word.search(part))
        if any(_names(record, id_, word) for record in records):
            return True
    return False


def _names(record: Record, id_: bytes, word: re.Pattern[bytes]) -> bool:
    if record.key == id_:
        return True
    if record.key is None:  # examples: binary, and a keyed hash in place of the id
        return len(id_) >= SHORT and bool(word.search(record.value))
    return bool(word.search(record.value))


def remains(broker: Broker, settings: Settings) -> list[Remains]:
    """What each topic may hold of a customer and for how long, by its settings as they are now; raises BrokerFailed."""
    what = {
        settings.clickstream: "the events themselves, and the forget event",
        settings.intents: "intents that were published, their ends, too",
        settings.dead_letter: "refused records, as they came",
        settings.examples: "no id: a keyed hash (MICRO_INTENTS_HASH_KEY), subjects and numbers",
    }
    with broker.admin() as admin:
        topics = found_topics(admin, list(what))
    found = []
    for name, said in what.items():
        if name in topics:
            kept, segment = (int(topics[name].settings.get(key, -1)) for key in ("retention.ms", "segment.ms"))
            # a segment goes as a whole, when its newest record is old enough
            found.append(Remains(name, said, None if kept == _NEVER_MS else kept + max(segment, 0)))
    return found
