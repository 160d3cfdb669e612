"""The endpoints answer supervisors and Prometheus at once, whoever else hangs on them, and tell nothing else."""

import json
import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner

from streams import metrics
from streams.children import free_port
from streams.cli import cli
from streams.endpoints import MAX_REASON, MOST_REQUESTS, CannotListen, Endpoints, Trouble
from streams.meter import Meter


class Served:
    """Endpoints of a process whose troubles the test sets."""

    def __init__(self) -> None:
        self.port = free_port()
        self.meter = Meter(metrics.BOTH)
        self.sick: list[Trouble] = []
        self.busy: list[Trouble] = []
        self.endpoints = Endpoints(
            ("127.0.0.1", self.port), self.meter.registry, lambda: self.sick, lambda: self.sick + self.busy
        )
        self.endpoints.start()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body."""
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", method=method), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def served() -> Iterator[Served]:
    """Endpoints that end with the test."""
    made = Served()
    yield made
    made.endpoints.stop()


def test_well(served: Served) -> None:
    """A process that is well says so in a word."""
    for path in ("/healthz", "/readyz", "/readyz?verbose"):
        assert served.get(path) == (200, '{"ok":true,"reasons":[]}')


def test_not_ready(served: Served) -> None:
    """What it waits for is told with its name, bounded; it is still alive."""
    served.busy = [Trouble("redis", "it cannot be reached " + "x" * 10_000), Trouble("kafka", "away")]
    status, body = served.get("/readyz")
    told = json.loads(body)
    assert (status, told["ok"], [each["check"] for each in told["reasons"]]) == (503, False, ["redis", "kafka"])
    assert len(told["reasons"][0]["found"]) == MAX_REASON
    assert served.get("/healthz")[0] == 200


def test_not_alive(served: Served) -> None:
    """A loop that stands still makes it neither alive nor ready."""
    served.sick = [Trouble("loop", "silent for 12 s")]
    assert (served.get("/healthz")[0], served.get("/readyz")[0]) == (503, 503)


def test_metrics(served: Served) -> None:
    """Prometheus' own format, with what every process has to say about itself."""
    served.meter.add(metrics.GONE, 3)
    status, body = served.get("/metrics")
    assert status == 200
    assert "# HELP micro_intents_records_gone_total Records that retention" in body
    assert "\nmicro_intents_records_gone_total 3.0\n" in body and "\nprocess_resident_memory_bytes " in body
    assert "_created" not in body


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/healthz/", "/readyz/../metrics"])
def test_nothing_else(served: Served, path: str) -> None:
    """Other paths are not there."""
    assert served.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_read_only(served: Served, method: str) -> None:
    """There is nothing to change."""
    assert [served.get(path, method)[0] for path in ("/healthz", "/readyz", "/metrics")] == [405] * 3


def test_slow_clients(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that connect and say nothing take their places only for a while, and more than that are turned away."""
    monkeypatch.setattr("streams.endpoints._Handler.timeout", 3.0)
    silent = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(MOST_REQUESTS)]
    turned_away = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    turned_away.settimeout(1.5)  # long before the others have been dropped
    assert turned_away.recv(1) == b""
    assert [each.recv(1) for each in silent] == [b""] * MOST_REQUESTS
    assert served.get("/healthz")[0] == 200
    for each in (*silent, turned_away):
        each.close()


def test_an_address_that_is_taken(served: Served) -> None:
    """Said at once, with what to do: two workers of one machine need two addresses."""
    with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{served.port} cannot be .*MICRO_INTENTS_HTTP"):
        Endpoints(("127.0.0.1", served.port), served.meter.registry, list, list)
    with pytest.raises(CannotListen):
        Endpoints(("no.such.host.invalid", 80), served.meter.registry, list, list)


@pytest.mark.parametrize("command", ["worker", "train"])
def test_a_command_whose_address_is_taken(served: Served, command: str) -> None:
    """The commands end with one line and code 1, before they join anything."""
    done = CliRunner().invoke(
        cli, [command, "--broker", "127.0.0.1:1"], env={"MICRO_INTENTS_HTTP": f"127.0.0.1:{served.port}"}
    )
    assert done.exit_code == 1 and f"127.0.0.1:{served.port} cannot be listened on" in done.stderr


def test_ipv6() -> None:
    """An address in brackets is one of IPv6."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    port = free_port()
    try:
        made = Endpoints(("::1", port), Meter(metrics.BOTH).registry, list, list)
    except CannotListen as error:
        pytest.skip(str(error))
    made.start()
    with urlopen(f"http://[::1]:{port}/healthz", timeout=10) as answer:
        assert answer.status == 200
    made.stop()
