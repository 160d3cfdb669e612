"""What a worker and a trainer may do in Kafka, asked before they start: later a missing right looks like silence.

The rights are listed in docs/security.md. A Kafka without an authorizer allows everything.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kafka import KafkaAdminClient
from kafka.errors import GroupAuthorizationFailedError, KafkaError

from streams.broker import Broker, BrokerFailed, BrokerRefused, find_broker
from streams.settings import Settings
from streams.topics import NOT_AUTHORIZED

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one thing, as Kafka's ACLs name them."""

    operation: Literal["READ", "WRITE"]
    kind: Literal["topic", "group"]
    name: str


def worker_rights(settings: Settings) -> list[Right]:
    """What a worker must be allowed."""
    written = (settings.intents, settings.examples, settings.dead_letter)
    read = [Right("READ", "topic", settings.clickstream), Right("READ", "group", settings.group)]
    read.append(Right("READ", "topic", settings.intents))
    return read + [Right("WRITE", "topic", topic) for topic in written]


def trainer_rights(settings: Settings) -> list[Right]:
    """What a trainer must be allowed."""
    return [Right("READ", "topic", settings.examples), Right("READ", "group", f"{settings.group}.train")]


def admit(settings: Settings, rights: Sequence[Right]) -> None:
    """See that Kafka lets us in and allows `rights`; raises BrokerRefused with all that is missing, and how to give it.

    A broker that is away or silent is no reason not to start: whoever starts waits for it, and says so.
    """
    try:
        broker = find_broker(settings.broker)
        if not broker.creates_topics:
            return  # the embedded broker knows no rights
        missing = list(missing_rights(broker, rights))
    except BrokerRefused:
        raise
    except BrokerFailed as error:
        _log.warning("%s", error)
        return
    if missing:
        raise BrokerRefused("; ".join(_advice(broker, right) for right in missing))


def missing_rights(broker: Broker, rights: Sequence[Right]) -> Iterator[Right]:
    """Those of `rights` that the authorizer does not give us; raises BrokerFailed."""
    topics = {right.name for right in rights if right.kind == "topic"}
    with broker.admin() as admin:
        allowed = _allowed_topics(admin, topics)
        for right in rights:
            given = allowed[right.name] if right.kind == "topic" else _allowed_group(admin, right.name)
            if given is not None and right.operation not in given:
                yield right


def _allowed_topics(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, list[str] | None]:
    """What is allowed on each topic, None where the broker does not say."""
    return {
        topic["name"]: [] if topic["error_code"] == NOT_AUTHORIZED else topic["authorized_operations"]
        for topic in admin.describe_topics(sorted(names))
    }


def _allowed_group(admin: KafkaAdminClient, name: str) -> list[str] | None:
    try:
        described = admin.describe_groups([name])[name]
    except GroupAuthorizationFailedError:
        return []
    except KafkaError:  # its coordinator is not there yet, as in a new cluster
        return None
    allowed: list[str] | None = described["authorized_operations"]
    return allowed


def _advice(broker: Broker, right: Right) -> str:
    address = broker.address
    user = address.user or "(the subject of the certificate)"
    return (
        f"Kafka does not allow {user} to {right.operation} {right.kind} {right.name}: kafka-acls.sh --bootstrap-server "
        f"{broker.bootstrap} --command-config admin.properties --add --allow-principal 'User:{user}' --operation "
        f"{right.operation.title()} --{right.kind} {right.name}"
    )
