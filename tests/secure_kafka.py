"""A real Apache Kafka as production has it: TLS, users, and an authorizer that allows nothing unless told.

One broker from the jars, with the listeners of `PORTS`; who comes through the plain one is its operator.
"""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from streams.children import ServiceFailed, free_port
from tests.certificates import Authority, Identity
from tests.services import Service, java, kafka_from_jars

PORTS = ("SASL_SSL", "SASL_PLAINTEXT", "SSL")
"""Listeners beside the plain one; SSL demands a client certificate, whose CN is the user."""

USERS = {
    "worker": "w0rker:geheim@1/?%&=#+!",
    "trainer": "tr4iner:geheim 2",
    "shop": "sh0p-geheim-3",
    "recommender": "rec0mmender-geheim-4",
    "operator": "0perator-geheim-5",
}
"""Users, each with its password, for every mechanism."""


@dataclass
class SecureKafka:
    """The broker, its certificates, and its addresses."""

    service: Service
    authority: Authority
    ports: dict[str, int]
    clients: dict[str, Identity]
    _admin: KafkaAdminClient | None = field(default=None, repr=False)

    def places(self, listener: str) -> str:
        """host:port of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def sasl_ssl(self, user: str, mechanism: str = "SCRAM-SHA-512", password: str = "", *, ca: str = "") -> str:
        """The address for a user, as the setting has it."""
        signature = f"{quote(user, safe='')}:{quote(password or USERS[user], safe='')}"
        return f"sasl_ssl://{signature}@{self.places('SASL_SSL')}?mechanism={mechanism}&ca={ca or self.authority.ca}"

    def ssl(self, user: str = "worker") -> str:
        """The address for a user with a certificate."""
        mine = self.clients[user]
        return f"ssl://{self.places('SSL')}?ca={self.authority.ca}&cert={mine.cert}&key={mine.key}"

    @property
    def admin(self) -> KafkaAdminClient:
        """The operator's client."""
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.service.bootstrap)
        return self._admin

    def create_topics(self, **partitions: int) -> None:
        """Create topics with so many partitions."""
        wanted = {name: {"num_partitions": count, "replication_factor": 1} for name, count in partitions.items()}
        self.admin.create_topics(wanted, wait_for_metadata=True)

    def allow(self, user: str, rights: Iterable[tuple[str, str, str]]) -> None:
        """Give a user rights: (operation, topic, group or cluster, its name; a name that ends with * is a prefix)."""
        self.admin.create_acls([_acl(user, *right) for right in rights])

    def forbid(self, user: str, rights: Sequence[tuple[str, str, str]] = ()) -> None:
        """Take rights of a user back, all of them if none are named."""
        filters = [_filter(user, *right) for right in rights] or [_any(user)]
        self.admin.delete_acls(filters)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._admin is not None:
            self._admin.close()
        self.service.stop()
        shutil.rmtree(self.authority.directory, ignore_errors=True)


def _pattern(kind: str, name: str) -> ResourcePattern:
    form = ACLResourcePatternType.PREFIXED if name.endswith("*") else ACLResourcePatternType.LITERAL
    return ResourcePattern(ResourceType[kind.upper()], name.rstrip("*"), form)


def _acl(user: str, operation: str, kind: str, name: str) -> ACL:
    return ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, _pattern(kind, name))


def _filter(user: str, operation: str, kind: str, name: str) -> ACLFilter:
    return ACLFilter(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, _pattern(kind, name))


def _any(user: str) -> ACLFilter:
    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    return ACLFilter(f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, everything)


def start_secure_kafka() -> SecureKafka:
    """Start it; raises ServiceFailed where there is no Java 17 or no openssl."""
    runtime = java()
    if runtime is None:
        raise ServiceFailed("a Kafka with TLS and users needs Java 17")
    directory = Path(tempfile.mkdtemp(prefix="micro-intents-tls-"))
    try:
        return _start(runtime, directory)
    except BaseException:  # Ctrl-C too: no directory may be left behind
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _start(runtime: str, directory: Path) -> SecureKafka:
    authority = Authority(directory)
    server = authority.issue("server")
    both = directory / "server-both.pem"
    both.write_text(server.key.read_text() + server.cert.read_text())
    ports = {name: free_port() for name in PORTS}
    places = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    settings = {
        "listeners": places,
        "advertised.listeners": places,
        "listener.security.protocol.map": ",".join(f"{name}:{name}" for name in ("PLAINTEXT", *PORTS))
        + ",CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # who comes through the plain listeners: the broker itself, and the tests
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "listener.name.ssl.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*?)(,.*)?$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
    }
    module = "org.apache.kafka.common.security"
    known = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    for listener in ("sasl_ssl", "sasl_plaintext"):
        for mechanism in ("scram-sha-512", "scram-sha-256"):
            settings[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = (
                f"{module}.scram.ScramLoginModule required;"
            )
        settings[f"listener.name.{listener}.plain.sasl.jaas.config"] = (
            f"{module}.plain.PlainLoginModule required {known};"
        )
    scram = []
    for name, password in USERS.items():
        for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
            scram += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
    service = kafka_from_jars(runtime, settings, *scram)
    try:
        clients = {name: authority.issue(name, "DNS:client") for name in ("worker", "nobody")}
        service.start()
    except BaseException:
        service.stop()
        raise
    return SecureKafka(service, authority, ports, clients)
