"""The broker that commands talk to: whether one answers, what it can do, and kafka-python clients that suit it.

It is asked directly first (ApiVersions version 0, which every broker answers): a wrong address or a broker that is down
is told within milliseconds, and librdkafka's mock cluster, at which kafka-python fails, gets a client that works.
"""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, KafkaTimeoutError

PROBE_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_MS: Final = 15_000

_API_VERSIONS: Final = 18
_CREATE_TOPICS: Final = 19
_FLEXIBLE: Final = 3
"""The version of ApiVersions from which kafka-python asks; a broker without it is told apart by this."""
_OLD: Final = (2, 3)
_MOST_BYTES: Final = 1 << 20
_MESSAGE: Final = re.compile(r"""error_message=(['"])(.+?)\1[,)]""")


class BrokerFailed(Exception):
    """The broker cannot be reached, or refused; says what to do."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered at `bootstrap`; `apis` are the requests that it knows, each with its highest version."""

    bootstrap: str
    apis: dict[int, int]

    @property
    def creates_topics(self) -> bool:
        """Whether topics are created by request; else they appear on first use (the embedded broker)."""
        return _CREATE_TOPICS in self.apis

    def client_options(self) -> dict[str, Any]:
        """Options that every kafka-python client of this broker needs."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(",")}
        if self.apis.get(_API_VERSIONS, 0) < _FLEXIBLE:
            options["api_version"] = _OLD
        return options

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """An admin client, closed at the end; what Kafka refuses in between is raised as BrokerFailed."""
        with self.errors():
            client = KafkaAdminClient(
                **self.client_options(),
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                bootstrap_timeout_ms=int(PROBE_TIMEOUT_S * 1000),
            )
            try:
                yield client
            finally:
                client.close()

    @contextmanager
    def consumer(self, **options: Any) -> Iterator[KafkaConsumer]:
        """A consumer without a group, closed at the end; what Kafka refuses in between is raised as BrokerFailed."""
        with self.errors():
            client = KafkaConsumer(
                **self.client_options(),
                enable_auto_commit=False,
                isolation_level="read_committed",
                bootstrap_timeout_ms=int(PROBE_TIMEOUT_S * 1000),
                **options,
            )
            try:
                yield client
            finally:
                client.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn kafka-python's errors into BrokerFailed."""
        try:
            yield
        except KafkaTimeoutError as error:
            raise BrokerFailed(
                f"the broker at {self.bootstrap} accepts connections but does not answer in time. If it runs in a "
                f"container, check that clients can reach its advertised.listeners ({error})"
            ) from error
        except KafkaError as error:
            raise BrokerFailed(f"the broker at {self.bootstrap} refused: {said(error)}") from error


def find_broker(bootstrap: str, timeout_s: float = PROBE_TIMEOUT_S) -> Broker:
    """The first broker of `bootstrap` (host:port, several by commas) that answers; raises BrokerFailed."""
    reasons = []
    for address in bootstrap.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not colon or not host or not port.isdigit():
            raise BrokerFailed(
                f"the broker's address {address!r} is not host:port: correct --broker or MICRO_INTENTS_BROKER"
            )
        try:
            return Broker(bootstrap, _ask_for_apis(host.strip("[]"), int(port), timeout_s))
        except (OSError, struct.error, OverflowError) as error:
            reasons.append(f"{address.strip()}: {_reason(error)}")
    raise BrokerFailed(
        f"no broker answers at {'; '.join(reasons)}. Start Kafka (docker compose up kafka), or name yours with "
        "--broker or MICRO_INTENTS_BROKER"
    )


def said(error: Exception) -> str:
    """What a broker said, without the request that it said it to."""
    found = _MESSAGE.search(str(error))
    return found[2] if found else str(error)[:300] or type(error).__name__


def _ask_for_apis(host: str, port: int, timeout_s: float) -> dict[int, int]:
    client = b"micro-intents"
    body = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client)) + client
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        if not 10 <= size <= _MOST_BYTES:
            raise struct.error("no answer of Kafka's protocol")
        answer = _exactly(connection, size)
    _, error, count = struct.unpack_from(">ihi", answer)
    if error:
        raise struct.error(f"error {error} instead of the list of its requests")
    entries = (struct.unpack_from(">hhh", answer, 10 + 6 * place) for place in range(count))
    return {key: highest for key, _, highest in entries}


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise struct.error("the connection was closed")
        found += part
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, struct.error):
        return f"what answers is no Kafka broker without encryption ({error})"
    return str(error) or type(error).__name__
