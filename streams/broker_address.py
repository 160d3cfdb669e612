"""Kafka's address as one setting, with all that a secured Kafka needs.

    host:port, host:port                                                     nothing is encrypted, nobody signs in
    sasl_ssl://user:password@host:port,host:port?mechanism=SCRAM-SHA-256&ca=/path/ca.pem
    sasl_ssl://user@host:port?password_file=/run/secrets/kafka               the password is not in the environment
    ssl://host:port?ca=/path/ca.pem&cert=/path/cert.pem&key=/path/key.pem    a client certificate instead of a user
    sasl_plaintext://user:password@host:port                                 for networks that are trusted

User, password and paths are percent-encoded: `@` is %40, `:` %3A, `&` %26, `%` %25. Without `mechanism` it is
SCRAM-SHA-512, without `ca` the system's authorities are trusted. Certificate and host name are always verified.
"""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

SCHEMES: Final = {"plaintext": "PLAINTEXT", "ssl": "SSL", "sasl_plaintext": "SASL_PLAINTEXT", "sasl_ssl": "SASL_SSL"}
MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
OPTIONS: Final = ("mechanism", "password_file", "ca", "cert", "key")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CORRECT: Final = "correct --broker or MICRO_INTENTS_BROKER"


class BrokerFailed(Exception):
    """The broker cannot be reached, or refused; says what to do."""


class BrokerRefused(BrokerFailed):
    """Waiting does not help: an address, a certificate, a password or a right must be put right first."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the brokers are, and how to speak to them; made by `parse`. Its text holds no secret."""

    hosts: tuple[tuple[str, int], ...]
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""

    @staticmethod
    def parse(text: str) -> "BrokerAddress":
        """The address that `text` names, with the password of its file; raises BrokerRefused, never with a secret."""
        scheme, found, rest = text.partition("://")
        if not found:
            return BrokerAddress(_hosts(text, secret="@" in text))
        if scheme not in SCHEMES:
            raise BrokerRefused(f"the broker's address must begin with one of {', '.join(SCHEMES)}, or be host:port")
        signature, _, rest = rest.rpartition("@")  # the last one, whatever a password may hold
        places, _, query = rest.partition("?")
        options = _options(query)
        user, colon, password = (_decoded(part) for part in signature.partition(":"))
        if options.get("password_file"):
            if colon:
                raise BrokerRefused(f"the broker's address has a password and a password_file: {_CORRECT}")
            password = _content(options["password_file"])
        address = BrokerAddress(
            _hosts(places.removesuffix("/"), secret=not signature),
            SCHEMES[scheme],
            options.get("mechanism", MECHANISMS[0]) if scheme.startswith("sasl") else "",
            user,
            password,
            *(options.get(name, "") for name in ("ca", "cert", "key")),
        )
        address._check(options)
        return address

    def _check(self, options: dict[str, str]) -> None:
        problem = ""
        if self.signs_in:
            if not self.user or not self.password:
                problem = "needs user:password@, or user@ and ?password_file="
            elif self.mechanism not in MECHANISMS:
                problem = f"has no usable mechanism; known are {', '.join(MECHANISMS)}"
            elif self.mechanism == "PLAIN" and not self.encrypted:
                problem = "would send the password readable: use sasl_ssl://, or a SCRAM mechanism"
            elif self.mechanism != "PLAIN" and set(self.user) & set(",="):
                problem = "has a user with , or =, which SCRAM clients cannot send"
        elif self.user or self.password or "mechanism" in options:
            problem = "takes no user, password or mechanism (and an @ in a path is %40): use sasl_ssl://"
        if not problem and not self.encrypted and (self.ca or self.cert or self.key):
            problem = "takes no certificates: use ssl:// or sasl_ssl://"
        if not problem and bool(self.cert) != bool(self.key):
            problem = "needs both cert and key, or neither"
        if problem:
            raise BrokerRefused(f"the broker's address at {self.bootstrap} ({self.protocol}) {problem}: {_CORRECT}")

    @property
    def signs_in(self) -> bool:
        """Whether a user signs in (SASL)."""
        return self.protocol.startswith("SASL")

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted (TLS)."""
        return self.protocol.endswith("SSL")

    @property
    def bootstrap(self) -> str:
        """Hosts and ports by commas, without anything secret."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)

    def tls(self) -> ssl.SSLContext | None:
        """What verifies the brokers and identifies this client, None without encryption; raises BrokerRefused."""
        if not self.encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise BrokerRefused(f"the broker's ca={self.ca} cannot be used: {_said(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key, password=_no_password)
            except OSError as error:
                paths = f"cert={self.cert}, key={self.key}"
                raise BrokerRefused(f"the broker's {paths} cannot be used: {_said(error)}") from error
        return context

    def client_options(self) -> dict[str, Any]:
        """Options of aiokafka's and of kafka-python's clients, which have the same names; raises BrokerRefused."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(",")}
        if self.protocol != "PLAINTEXT":
            options |= {"security_protocol": self.protocol, "ssl_context": self.tls()}
        if self.signs_in:
            options |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.user}
            options["sasl_plain_password"] = self.password
        return options


def _hosts(text: str, *, secret: bool) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in text.split(","):
        host, colon, port = place.strip().rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            shown = "" if secret else f" {place!r}"
            raise BrokerRefused(f"the broker's address{shown} is not host:port: {_CORRECT}")
        hosts.append((host.strip("[]"), int(port)))
    return tuple(hosts)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in OPTIONS or name in options or not value:
            raise BrokerRefused(f"the broker's address takes ?name=value once each of {', '.join(OPTIONS)}: {_CORRECT}")
        options[name] = _decoded(value)
    return options


def _decoded(text: str) -> str:
    if _BARE_PERCENT.search(text):
        raise BrokerRefused(f"a % in the broker's address must be written %25: {_CORRECT}")
    return unquote(text)


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise BrokerRefused(f"the broker's password_file={path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BrokerRefused(f"the broker's password_file={path} is not UTF-8") from None


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted; give one that is not")


def _said(error: OSError) -> str:
    return error.strerror or str(error)
