"""A real Redis Cluster of three masters for tests, whose slots can be moved and whose nodes can be killed."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, cast

import redis

from streams.children import Program, free_port, wait_for
from streams.embedded import redis_server
from tests.certificates import Authority
from tests.conftest import missing

SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 1_000
"""After this a node that does not answer counts as failed."""


def _nothing() -> None:
    pass


class Node:
    """One redis-server of the cluster, with an append-only file, and a plain client of it; with TLS only, if wanted."""

    def __init__(self, tls: Authority | None = None) -> None:
        self.port = port = free_port()
        self.bus = free_port()
        options = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--repl-diskless-sync-delay", "0"]
        options += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "yes"]
        options += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        if tls is None:
            options += ["--port", str(port)]
            self.raw = redis.Redis(host="127.0.0.1", port=port)
        else:
            who = tls.issue(f"node-{port}")
            options += ["--port", "0", "--tls-port", str(port), "--tls-cluster", "yes", "--tls-auth-clients", "no"]
            options += [
                "--tls-cert-file",
                str(who.cert),
                "--tls-key-file",
                str(who.key),
                "--tls-ca-cert-file",
                str(tls.ca),
            ]
            self.raw = redis.Redis(host="127.0.0.1", port=port, ssl=True, ssl_ca_certs=str(tls.ca))
        command = [redis_server(), "--bind", "127.0.0.1", *options]
        directory = Path(tempfile.mkdtemp(prefix="micro-intents-redis-"))
        self.program = Program(command, directory, self._answers)
        self.program.start()

    def _answers(self) -> bool:
        try:
            return bool(self.raw.ping())
        except (redis.RedisError, OSError):
            return False

    @property
    def name(self) -> str:
        """Its id in the cluster."""
        return str(self.cluster("MYID"))

    def cluster(self, *arguments: str | int) -> object:
        """A CLUSTER command's answer, as text where it is text."""
        answer = self.raw.execute_command("CLUSTER", *arguments)  # type: ignore[no-untyped-call]  # redis-py
        return answer.decode() if isinstance(answer, bytes) else answer

    def keys(self, slot: int, most: int) -> list[bytes]:
        """Some keys of a slot."""
        return cast(list[bytes], self.cluster("GETKEYSINSLOT", slot, most))

    def stop(self) -> None:
        """End it for good."""
        self.raw.close()
        self.program.kill()  # it would take its time to tell a replica
        self.program.stop()


class Cluster:
    """Three masters that share the slots evenly; a replica of the first one, and with TLS only, if wanted."""

    def __init__(self, *, replica: bool = False, tls: Authority | None = None) -> None:
        said = subprocess.run([redis_server(), "--version"], capture_output=True, text=True, check=True).stdout
        if "v=6." in said:
            missing("a cluster for tests needs Redis 7 or later")
        self.nodes: list[Node] = []
        self.tls = tls
        try:
            self._start(replica)
        except BaseException:  # Ctrl-C too: nothing may be left running
            self.stop()
            raise

    def _start(self, replica: bool) -> None:
        for _ in range(4 if replica else 3):
            self.nodes.append(Node(self.tls))
        third = SLOTS // 3 + 1
        for number, node in enumerate(self.nodes[:3]):
            node.cluster("ADDSLOTSRANGE", number * third, min((number + 1) * third, SLOTS) - 1)
            for other in self.nodes[:number] + self.nodes[3:]:
                other.cluster("MEET", "127.0.0.1", node.port, node.bus)
        if replica:
            first = self.nodes[0].name
            wait_for(lambda: first in str(self.nodes[3].cluster("NODES")), "the nodes to know each other")
            self.nodes[3].cluster("REPLICATE", first)
            wait_for(lambda: self.nodes[3].raw.info("replication")["master_link_status"] == "up", "the replica")
        self.wait_until_well()

    def wait_until_well(self) -> None:
        """Wait until every node has heard of every other, and that each slot is served."""

        def well() -> bool:
            for node in self.nodes:
                told = str(node.cluster("INFO"))
                if "cluster_state:ok" not in told or f"cluster_known_nodes:{len(self.nodes)}" not in told:
                    return False
            return True

        wait_for(well, "the cluster")

    @property
    def url(self) -> str:
        """An address that names every node."""
        return self._url(*self.nodes)

    def url_of(self, number: int) -> str:
        """The address of one node."""
        return self._url(self.nodes[number])

    def _url(self, *nodes: Node) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return f"redis://{hosts}/0" if self.tls is None else f"rediss://{hosts}/0?ssl_ca_certs={self.tls.ca}"

    def owner(self, slot: int) -> Node:
        """The node that says it owns a slot."""
        for node in self.nodes[:3]:
            for first, last, (_, port, *_rest), *_replicas in node.cluster("SLOTS"):  # type: ignore[attr-defined]
                if first <= slot <= last and port == node.port:
                    return node
        raise LookupError(f"nobody owns slot {slot}")

    def move(self, slot: int, to: Node, *, meanwhile: Callable[[], None] = _nothing, page: int = 3) -> None:
        """Move a slot as redis-cli does; `meanwhile` is called when it begins, and when half of its keys are gone."""
        source = self.owner(slot)
        to.cluster("SETSLOT", slot, "IMPORTING", source.name)
        source.cluster("SETSLOT", slot, "MIGRATING", to.name)
        meanwhile()
        total = len(source.keys(slot, SLOTS))
        moved, told = 0, False
        while keys := source.keys(slot, page):
            source.raw.execute_command(  # type: ignore[no-untyped-call]  # redis-py
                "MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", *keys
            )
            moved += len(keys)
            if not told and 2 * moved >= total:
                told = True
                meanwhile()
        for node in (to, source, *self.nodes[:3]):
            node.cluster("SETSLOT", slot, "NODE", to.name)

    def freeze(self, node: Node) -> None:
        """Stop a node's process where it is (SIGSTOP)."""
        os.kill(node.program.pid, signal.SIGSTOP)

    def thaw(self, node: Node) -> None:
        """Let a frozen node go on."""
        os.kill(node.program.pid, signal.SIGCONT)

    def empty(self) -> None:
        """Delete every key."""
        for node in self.nodes[:3]:
            node.raw.flushall()

    def dump(self) -> dict[object, object]:
        """Every key of every node with its time to live (-1: for ever) and what it holds."""
        raws = [node.raw for node in self.nodes[:3]]
        return {key: (raw.pttl(key), raw.dump(key)) for raw in raws for key in raw.scan_iter(count=1000)}

    def stop(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
