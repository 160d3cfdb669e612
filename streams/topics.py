"""The topics as they must be: created where they are missing, and compared with what is there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from features.log import DAY_MS
from streams.broker_address import BrokerRefused
from streams.settings import Settings

NOT_AUTHORIZED: Final = 29
"""Kafka's code for a topic that this user may not even know of."""
EXAMPLES_BYTES: Final = 2_000_000
"""Largest record of examples."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it must be; `partitions` 0: any number. Settings in `least` may be larger than said."""

    name: str
    role: str
    partitions: int
    settings: Mapping[str, str]
    least: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is: partitions, copies of each, and all its settings."""

    partitions: int
    copies: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs, and how to change it."""

    found: str
    advice: str


def wanted_topics(settings: Settings, partitions: int) -> list[Wanted]:
    """All four topics; `partitions` are those of clickstream and intents (0: any, but as many)."""
    plain = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    kept = {"retention.ms": settings.rebuild_ms}
    return [
        Wanted(settings.clickstream, "the shop's events", partitions, plain, kept),
        Wanted(settings.intents, "intents", partitions, plain, kept),
        Wanted(settings.examples, "examples to learn from", 1, plain, kept | {"max.message.bytes": EXAMPLES_BYTES}),
        Wanted(settings.dead_letter, "refused records", 0, plain, {}),
    ]


def found_topics(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, Found]:
    """Those of `names` that exist; raises BrokerRefused if one may not be looked at."""
    answers = admin.describe_topics(list(names))
    for topic in answers:
        if topic["error_code"] == NOT_AUTHORIZED:
            raise BrokerRefused(
                f"Kafka does not allow this user to look at the topic {topic['name']}: docs/security.md has the rights "
                "that an operator needs"
            )
    described = [topic for topic in answers if topic["error_code"] == 0]
    there = [str(topic["name"]) for topic in described]
    told: dict[str, dict[str, dict[str, object]]] = {}
    if there:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in there]
        told = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        str(topic["name"]): Found(
            len(topic["partitions"]),
            min(len(partition["replica_nodes"]) for partition in topic["partitions"]),
            {name: str(entry["value"]) for name, entry in told.get(str(topic["name"]), {}).items()},
        )
        for topic in described
    }


def create(admin: KafkaAdminClient, wanted: Wanted, partitions: int, copies: int, keep_days: int) -> None:
    """Create a topic and wait until it is led; `copies` -1 is the broker's default. Raises KafkaError."""
    configs = dict(wanted.settings) | {name: str(value) for name, value in wanted.least.items()}
    configs["retention.ms"] = str(keep_days * DAY_MS)
    told = {"num_partitions": wanted.partitions or partitions, "replication_factor": copies, "configs": configs}
    admin.create_topics({wanted.name: told}, wait_for_metadata=True)


def differences(wanted: Wanted, found: Found, bootstrap: str) -> Iterator[Difference]:
    """What of `found` is not as wanted."""
    if wanted.partitions and found.partitions != wanted.partitions:
        said = f"{found.partitions} partitions, not {wanted.partitions}"
        yield Difference(
            said, f"delete {wanted.name} (with what is in it) and create it again: micro-intents topics create"
        )
    for name, value in wanted.settings.items():
        if found.settings.get(name) != value:
            yield Difference(
                f"{name} is {found.settings.get(name)}, not {value}", _alter(wanted, name, value, bootstrap)
            )
    for name, least in wanted.least.items():
        kept = int(found.settings.get(name, -1))
        if 0 <= kept < least or (kept < 0 and name != "retention.ms"):
            said = f"{name} is {kept}, less than {least}"
            if name == "retention.ms":
                could = f", which {wanted.name} lets be {kept // DAY_MS}" if kept >= DAY_MS else ""
                said += (
                    f": a lost Redis is to be rebuilt from {least // DAY_MS} days (MICRO_INTENTS_REBUILD_DAYS{could})"
                )
            yield Difference(said, _alter(wanted, name, str(least), bootstrap))


def _alter(wanted: Wanted, name: str, value: str, bootstrap: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {wanted.name} "
        f"--add-config {name}={value}"
    )
