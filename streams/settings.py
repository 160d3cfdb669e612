"""Settings: `MICRO_INTENTS_*` in the environment over a TOML file over defaults; nothing else reads the environment."""

import math
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from features.log import DAY_MS
from features.tombstones import REBUILD_MS
from intents.alarms import DEFAULT
from intents.catalog import Catalogue
from intents.life import Rules
from intents.targets import KNOWN, Target
from streams.broker_address import BrokerAddress, BrokerRefused
from streams.engine import Topics
from streams.partitioner import PARTITIONERS
from streams.plain_text import secrets_in, without_credentials

PREFIX: Final = "MICRO_INTENTS_"
FILE_VARIABLE: Final = "MICRO_INTENTS_FILE"
PUBLIC_HASH_KEY: Final = "micro-intents-demo"
"""The hash key of the demo and of replays in process: it hides nobody, and is said to be so."""
MOST_REBUILD_DAYS: Final = 365
ADDRESSES: Final = ("broker", "redis_url", "model_store", "model")
"""Settings that may hold a password."""


class SettingsError(Exception):
    """A setting that is unknown or has no usable value; says which, where it came from, and what is allowed."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """Everything that may differ between installations; its text shows no secret."""

    broker: str = field(
        default="localhost:9092",
        metadata={"help": "Kafka: host:port, several by commas; with TLS and users a URL, see docs/security.md"},
    )
    redis_url: str = field(
        default="redis://localhost:6379/0",
        metadata={"help": "redis://, rediss:// or unix:// URL; ?socket_timeout=5 is the longest wait for a call"},
    )
    namespace: str = field(default="default", metadata={"help": "keeps installations apart that share a Redis"})
    group: str = field(default="micro-intents", metadata={"help": "consumer group of the workers; trainers add .train"})
    clickstream: str = field(default="clickstream", metadata={"help": "topic of the shop's events"})
    intents: str = field(
        default="intents", metadata={"help": "topic of intents, with as many partitions as clickstream"}
    )
    examples: str = field(default="examples", metadata={"help": "topic between workers and trainer, one partition"})
    dead_letter: str = field(default="clickstream.dead-letter", metadata={"help": "topic of refused records"})
    model_store: str = field(default="models", metadata={"help": "folder or fsspec URL of the model snapshots"})
    model: str = field(default="", metadata={"help": "one snapshot file to use, frozen, instead of the store's latest"})
    catalogue: str = field(default="", metadata={"help": "TOML catalogue of intents; without one, categories"})
    hash_key: str = field(
        default=PUBLIC_HASH_KEY,
        metadata={"help": "key that hides customers in examples, the same for all", "secret": True},
    )
    partitioner: str = field(default="murmur2", metadata={"help": "how producers place keys: murmur2 or crc32"})
    threshold: float | Target = field(
        default=DEFAULT,
        metadata={"help": f"probability from which an intent is detected, or what alarms shall be: {KNOWN}"},
    )
    horizon_s: int = field(default=1800, metadata={"help": "how long an intent lives, and a label waits"})
    lateness_s: int = field(default=120, metadata={"help": "allowed lateness of events"})
    idle_s: int = field(default=30, metadata={"help": "a quiet partition's watermark moves on after this; 0: never"})
    rebuild_days: int = field(
        default=REBUILD_MS // DAY_MS,
        metadata={"help": "days that a lost Redis is rebuilt from, and a tombstone kept; topics must keep as many"},
    )
    dead_letters_per_minute: int = field(default=1000, metadata={"help": "more of them stop the worker"})
    snapshot_s: float = field(
        default=30.0, metadata={"help": "seconds between model snapshots, and between looks for one"}
    )
    http: str = field(
        default="", metadata={"help": "host:port of /healthz, /readyz and /metrics, e.g. 127.0.0.1:9464; empty: none"}
    )

    @staticmethod
    def load(environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings from the environment and the file it names; raises SettingsError."""
        variables = os.environ if environment is None else environment
        known = {item.name: item for item in fields(Settings)}
        found: dict[str, Any] = {}
        if path := variables.get(FILE_VARIABLE):
            for name, value in _read(Path(path)).items():
                if name not in known:
                    raise SettingsError(f"{path}: no setting {name!r}; known are {', '.join(known)}")
                found[name] = _convert(name, value, f"{path}: {name}")
        for name in known:
            variable = PREFIX + name.upper()
            if variable in variables:
                found[name] = _convert(name, variables[variable], variable)
        settings = Settings(**found)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.partitioner not in PARTITIONERS:
            raise SettingsError(f"partitioner is {self.partitioner!r}; known are {', '.join(PARTITIONERS)}")
        if not isinstance(self.threshold, Target) and not 0 < self.threshold < 1:
            raise SettingsError(f"threshold is {self.threshold}; it must lie between 0 and 1")
        for name in ("horizon_s", "snapshot_s", "dead_letters_per_minute"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be more than 0")
        for name in ("lateness_s", "idle_s"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 1 <= self.rebuild_days <= MOST_REBUILD_DAYS:
            raise SettingsError(f"rebuild_days is {self.rebuild_days}; it must be 1 to {MOST_REBUILD_DAYS}")
        _check_url("redis_url", self.redis_url)
        if not 1 <= len(self.hash_key.encode()) <= 64:
            raise SettingsError("hash_key must have 1 to 64 bytes")
        try:
            if not 0 < self.redis_timeout_s < math.inf:
                raise ValueError
        except ValueError as error:
            raise SettingsError("redis_url: its socket_timeout must be a number of seconds, more than 0") from error
        if self.http and self.http_address is None:
            raise SettingsError(f"http is {self.http!r}; it must be host:port, or empty")

    @property
    def topics(self) -> Topics:
        """Names of the topics that are written."""
        return Topics(self.intents, self.examples, self.dead_letter)

    @property
    def rules(self) -> Rules:
        """When an intent begins, changes and ends."""
        return Rules(self.threshold, horizon_ms=self.horizon_s * 1000, cooldown_ms=self.horizon_s * 1000)

    @property
    def fixed_threshold(self) -> float:
        """The probability that is set, the default in place of a target."""
        return DEFAULT if isinstance(self.threshold, Target) else self.threshold

    @property
    def rebuild_ms(self) -> int:
        """The rebuild window (ms)."""
        return self.rebuild_days * DAY_MS

    @property
    def redis_timeout_s(self) -> float:
        """Longest wait (s) for one Redis call: the URL's `socket_timeout`, else 5."""
        return float(parse_qs(urlsplit(self.redis_url).query).get("socket_timeout", ["5"])[-1])

    @property
    def http_address(self) -> tuple[str, int] | None:
        """Where the endpoints listen, None if nowhere."""
        host, _, port = self.http.rpartition(":")
        usable = host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536
        return (host.removeprefix("[").removesuffix("]"), int(port)) if usable else None

    def load_catalogue(self) -> Catalogue:
        """The catalogue, an empty one where none is set."""
        return Catalogue.load(Path(self.catalogue)) if self.catalogue else Catalogue()

    def shown(self) -> dict[str, str]:
        """Settings as text for people, secrets hidden."""
        return {
            item.name: "(set)" if item.metadata.get("secret") else without_credentials(str(getattr(self, item.name)))
            for item in fields(self)
        }

    @property
    def secrets(self) -> list[str]:
        """What must not be printed: passwords in addresses and their files, and the hash key."""
        found = [secret for name in ADDRESSES for secret in secrets_in(getattr(self, name))]
        with suppress(BrokerRefused):  # whoever uses it will say so
            found.append(BrokerAddress.parse(self.broker).password)
        return [*found, *([self.hash_key] if self.hash_key != PUBLIC_HASH_KEY else [])]

    def __repr__(self) -> str:
        return f"Settings({self.shown()})"


def _check_url(name: str, url: str) -> None:
    """Refuse a URL that libraries would read otherwise than it was meant, and complain of with a part of a password."""
    with suppress(ValueError):
        if ("@" in url) == ("@" in urlsplit(url).netloc):
            return
    raise SettingsError(f"{name} is no URL that can be read: percent-encode its user and password (@ is %40, / is %2F)")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); it is named by {FILE_VARIABLE}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error


def _convert(name: str, value: Any, where: str) -> Any:
    if name == "threshold":
        return _threshold(value, where)
    wanted = type(getattr(Settings(), name))
    try:
        return wanted(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where} is {value!r}; it must be a {wanted.__name__}") from error


def _threshold(value: Any, where: str) -> float | Target:
    with suppress(TypeError, ValueError):
        return float(value)
    with suppress(ValueError):
        target = Target.parse(str(value))
        if target.kind != "f1":  # which only a recording can tell
            return target
    raise SettingsError(f"{where} is {value!r}; it must be a probability (0.15), or {KNOWN}")
