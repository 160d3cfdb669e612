"""The broker that commands talk to: whether one answers, what it can do, and kafka-python clients that suit it.

It is asked directly first (`broker_probe.py`): a wrong address or password, or a broker that is down, is told within
milliseconds, and librdkafka's mock cluster, at which kafka-python fails, gets a client that works.
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

from streams.broker_address import BrokerAddress, BrokerFailed, BrokerRefused
from streams.broker_probe import NotKafka, ask_for_apis

__all__ = ["Broker", "BrokerAddress", "BrokerFailed", "BrokerRefused", "find_broker", "said"]

PROBE_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_MS: Final = 15_000

_API_VERSIONS: Final = 18
_CREATE_TOPICS: Final = 19
_FLEXIBLE: Final = 3
"""The version of ApiVersions from which kafka-python asks; a broker without it is told apart by this."""
_OLD: Final = (2, 3)
_MESSAGE: Final = re.compile(r"""error_message=(['"])(.+?)\1[,)]""")


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered at `address`; `apis` are the requests that it knows, each with its highest version."""

    address: BrokerAddress
    apis: dict[int, int]

    @property
    def bootstrap(self) -> str:
        """Hosts and ports by commas."""
        return self.address.bootstrap

    @property
    def creates_topics(self) -> bool:
        """Whether topics are created by request; else they appear on first use (the embedded broker)."""
        return _CREATE_TOPICS in self.apis

    def client_options(self) -> dict[str, Any]:
        """Options that every kafka-python client of this broker needs."""
        options = self.address.client_options()
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


def find_broker(text: str, timeout_s: float = PROBE_TIMEOUT_S) -> Broker:
    """The first broker of an address that answers and lets us in; raises BrokerFailed.

    It is BrokerRefused if one answered that does not let us in, so that waiting does not help.
    """
    address = BrokerAddress.parse(text)
    reasons, refused = [], False
    for host, port in address.hosts:
        try:
            return Broker(address, ask_for_apis(host, port, address, timeout_s))
        except (OSError, struct.error, NotKafka, BrokerRefused) as error:
            refused = refused or isinstance(error, BrokerRefused)
            reasons.append(f"{host}:{port}: {_reason(error)}")
    if refused:
        raise BrokerRefused(f"the broker does not let us in at {'; '.join(reasons)}")
    raise BrokerFailed(
        f"no broker answers at {'; '.join(reasons)}. Start Kafka (docker compose up kafka), or name yours with "
        "--broker or MICRO_INTENTS_BROKER"
    )


def said(error: Exception) -> str:
    """What a broker said, without the request that it said it to."""
    found = _MESSAGE.search(str(error))
    return found[2] if found else str(error)[:300] or type(error).__name__


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, struct.error):
        return f"what answers is no Kafka broker ({error})"
    return str(error) or type(error).__name__
