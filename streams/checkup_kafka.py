"""The doctor's look at Kafka: topics and their settings, where real keys lie, and how far the workers are."""

from collections.abc import Iterator, Mapping
from typing import Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, GroupIdNotFoundError

from streams.broker import Broker
from streams.findings import Finding, note, problem, well
from streams.partitioner import PARTITIONERS
from streams.settings import Settings
from streams.topics import Found, differences, found_topics, wanted_topics

SAMPLE: Final = 50
"""Records looked at of each partition, the last ones."""
_POLL_MS: Final = 500
_POLLS: Final = 20
_CREATE: Final = "micro-intents topics create"


def check_kafka(broker: Broker, settings: Settings) -> Iterator[Finding]:
    """Every check that needs only Kafka; raises BrokerFailed if it stops answering."""
    if not broker.creates_topics:
        what = f"{broker.bootstrap} answers; it is the embedded one, whose topics and groups cannot be looked at"
        yield note("broker", what, "use Apache Kafka for more than a first look")
        return
    yield well("broker", f"{broker.bootstrap} answers")
    with broker.admin() as admin:
        names = [topic.name for topic in wanted_topics(settings, 0)]
        found = found_topics(admin, names)
        yield from _topics(found, settings, broker.bootstrap)
        if settings.clickstream in found:
            yield _keys(broker, settings, found[settings.clickstream].partitions)
            yield from _lag(admin, settings.group, settings.clickstream, found, "worker")
        if settings.examples in found:
            yield from _lag(admin, f"{settings.group}.train", settings.examples, found, "train")


def _topics(found: Mapping[str, Found], settings: Settings, bootstrap: str) -> Iterator[Finding]:
    source = found.get(settings.clickstream)
    for wanted in wanted_topics(settings, source.partitions if source else 0):
        check = f"topic {wanted.name}"
        topic = found.get(wanted.name)
        if topic is None:
            yield problem(check, "is missing", _CREATE)
            continue
        wrong = list(differences(wanted, topic, bootstrap))
        yield from (problem(check, each.found, each.advice) for each in wrong)
        if not wrong:
            yield well(check, f"{wanted.role}, {topic.partitions} partitions, {topic.copies} copies")


def _keys(broker: Broker, settings: Settings, partitions: int) -> Finding:
    """Whether the producers place keys as the configured partitioner does: readers of state rely on it."""
    keys = _sample(broker, settings.clickstream, partitions)
    if not keys:
        return well("keys", "no records to look at yet")
    wrong = {
        name: sum(place(key, partitions) != partition for partition, key in keys)
        for name, place in PARTITIONERS.items()
    }
    misplaced = wrong[settings.partitioner]
    if not misplaced:
        return well("keys", f"{len(keys)} of {len(keys)} records lie where {settings.partitioner} puts their keys")
    found = f"{misplaced} of {len(keys)} records do not lie where {settings.partitioner} puts their keys"
    for name, count in wrong.items():
        if count == 0:
            return problem("keys", f"{found}, but where {name} does", f"set MICRO_INTENTS_PARTITIONER={name}")
    return problem(
        "keys",
        found,
        "let every producer use one partitioner (librdkafka: partitioner=murmur2_random) and the customer_id as key",
    )


def _sample(broker: Broker, topic: str, partitions: int) -> list[tuple[int, bytes]]:
    """(partition, key) of the last records of every partition."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    keys: list[tuple[int, bytes]] = []
    with broker.consumer(max_poll_records=SAMPLE * partitions) as consumer:
        consumer.assign(places)
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, max(begins[place], ends[place] - SAMPLE))
        for _ in range(_POLLS):
            if all(consumer.position(place) >= ends[place] for place in places):
                break
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                keys += [(record.partition, record.key or b"") for record in records]
    return keys


def _lag(
    admin: KafkaAdminClient, group: str, topic: str, found: Mapping[str, Found], command: str
) -> Iterator[Finding]:
    """How many records a group has still to read, and whether anybody is reading."""
    places = [TopicPartition(topic, number) for number in range(found[topic].partitions)]
    members, committed = _group(admin, group)
    ends = {
        place: end.offset
        for place, end in admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST)).items()
    }
    begins = {
        place: begin.offset
        for place, begin in admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST)).items()
    }
    lag = sum(max(0, ends[place] - committed.get(place, begins[place])) for place in places)
    said = f"{members} running, {lag:,} records of {topic} to read"
    if members:
        yield well(command, said)
    elif lag or not committed:
        make = problem if lag else note
        yield make(
            command, f"none is running as group {group}, {lag:,} records of {topic} wait", f"micro-intents {command}"
        )
    else:
        yield note(command, f"none is running as group {group}; it has read everything", f"micro-intents {command}")


def _group(admin: KafkaAdminClient, group: str) -> tuple[int, dict[TopicPartition, int]]:
    """Members of a group and what it has committed; nothing of one that never was."""
    try:
        described = admin.describe_groups([group])
        offsets = admin.list_group_offsets({group: None}).get(group, {})
    except (GroupIdNotFoundError, CoordinatorNotAvailableError):
        return 0, {}
    members = sum(len(each.get("members", ())) for each in described.values())
    return members, {place: entry.offset for place, entry in offsets.items() if entry.offset >= 0}
