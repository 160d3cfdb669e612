"""Commands against a real Kafka: topics, replay and tail, each in an installation of its own."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from intents.intent import Intent
from sinks.events import intent_json
from streams.broker import find_broker
from streams.cli import cli
from streams.partitioner import crc32_partition_for, partition_for
from streams.simulate import simulate
from streams.topics import found_topics
from tests.streams.installation import Installation
from tests.streams.test_cli import ROOT
from tests.streams.test_words import intent

ALTER = "kafka-configs.sh --bootstrap-server"


def test_topics_are_created_as_they_must_be(installation: Installation) -> None:
    """Four topics: broker's time, never compacted, intents like clickstream, one partition of large examples."""
    done = installation.run("topics", "create", "--partitions", "5", "--keep-days", "9")
    assert done.exit_code == 0 and done.stdout.count("│ created") == 4
    settings = installation.settings
    names = [settings.clickstream, settings.intents, settings.examples, settings.dead_letter]
    with find_broker(settings.broker).admin() as admin:
        found = found_topics(admin, names)
    assert [found[name].partitions for name in names] == [5, 5, 1, 5]
    for topic in found.values():
        assert topic.settings["message.timestamp.type"] == "LogAppendTime"
        assert topic.settings["cleanup.policy"] == "delete"
        assert topic.settings["retention.ms"] == str(9 * 86_400_000)
    assert int(found[settings.examples].settings["max.message.bytes"]) == 2_000_000


def test_creating_again_changes_nothing(ready: Installation) -> None:
    """A second time all is as it should be; another number of partitions is a difference, not a change."""
    again = ready.run("topics", "create")
    assert again.exit_code == 0 and again.stdout.count("as it should be") == 4
    other = ready.run("topics", "create", "--partitions", "6")
    assert other.exit_code == 1
    assert other.stdout.count("4 partitions, not 6") == 2
    assert f"delete {ready.settings.intents} (with what is in it)" in other.stderr


def test_a_missing_topic_follows_the_ones_there(installation: Installation) -> None:
    """Where clickstream is there already, intents get as many partitions, without being told."""
    settings = installation.settings
    installation.create_topic(settings.clickstream, 3, **{"message.timestamp.type": "LogAppendTime"})
    done = installation.run("topics", "create")
    assert done.exit_code == 0
    assert re.search(rf"{settings.intents} +│ +3 │", done.stdout)


def test_topics_that_differ_are_told_with_the_command(installation: Installation) -> None:
    """Existing topics are left alone, and each difference comes with the command that mends it; exit code 1."""
    settings = installation.settings
    wrong = {"message.timestamp.type": "CreateTime", "cleanup.policy": "compact", "retention.ms": "86400000"}
    installation.create_topic(settings.clickstream, 2, **wrong)
    done = installation.run("topics", "create")
    assert done.exit_code == 1
    for change in ("message.timestamp.type=LogAppendTime", "cleanup.policy=delete", "retention.ms=604800000"):
        assert re.search(
            rf"{ALTER} \S+ --alter .*--entity-name {settings.clickstream} --add-config {change}\n", done.stderr
        )


def test_replication_that_is_impossible_is_said(installation: Installation) -> None:
    """What the broker refuses is said in its own words, without the request."""
    done = installation.run("topics", "create", "--replication-factor", "3")
    assert done.exit_code == 1
    assert "replication factor of 3 cannot be reached because only 1 broker" in done.stderr
    assert "CreateTopicsRequest" not in done.stderr


def test_the_embedded_broker_creates_none(embedded_broker: str) -> None:
    """The mock cluster cannot create topics: said, not tried."""
    done = CliRunner().invoke(cli, ["topics", "create", "--broker", embedded_broker])
    assert done.exit_code == 1 and "the embedded broker makes them on first use" in done.stderr


@pytest.mark.parametrize(("partitioner", "place"), [("murmur2", partition_for), ("crc32", crc32_partition_for)])
def test_replay_places_keys(
    ready: Installation, tmp_path: Path, partitioner: str, place: Callable[[bytes, int], int]
) -> None:
    """Every event is sent once, in file order by partition, to where the configured partitioner puts its customer."""
    recording = tmp_path / "s.jsonl"
    simulate(recording, customers=40, events=700)
    done = replace(ready, settings=replace(ready.settings, partitioner=partitioner)).run("replay", recording)
    assert done.exit_code == 0 and re.search(r"records sent and acknowledged +│ +700 │", done.stdout)
    values = recording.read_bytes().splitlines()[1:]
    wanted: dict[int, list[bytes]] = {number: [] for number in range(4)}
    for value in values:
        wanted[place(json.loads(value)["customer_id"].encode(), 4)].append(value)
    assert ready.read(ready.settings.clickstream) == wanted


def test_replay_at_a_speed(ready: Installation, tmp_path: Path) -> None:
    """At a speed the same records arrive; events of 2024 do not take until today."""
    recording = tmp_path / "s.jsonl"
    simulate(recording, customers=40, events=100, days=0.01)
    done = ready.run("replay", recording, "--speed", "3600", "--limit", "60")
    assert done.exit_code == 0
    assert sum(map(len, ready.read(ready.settings.clickstream).values())) == 60


def test_replay_without_topics(installation: Installation, tmp_path: Path) -> None:
    """A topic that is not there is not made by accident: what to do is said."""
    simulate(tmp_path / "s.jsonl", customers=5, events=10)
    done = installation.run("replay", tmp_path / "s.jsonl")
    assert done.exit_code == 1
    assert f"there is no topic '{installation.settings.clickstream}'" in done.stderr
    assert "micro-intents topics create" in done.stderr


def _life() -> list[Intent]:
    """Three changes of one intent of 4711, and one of 4712."""
    first = intent()
    stronger = msgspec.structs.replace(first, sequence=1, status="strengthened", confidence=0.8)
    done = msgspec.structs.replace(first, sequence=2, status="expired", evidence=[])
    other = msgspec.structs.replace(first, intent_id="8a9f3b52-0000-5000-8000-000000000002", customer_id="4712")
    return [first, stronger, first, stronger, done, other]


@pytest.fixture
def published(ready: Installation) -> Installation:
    """An installation whose intents topic has a life, published twice in part, and something that is no intent."""
    records = [(2, each.customer_id.encode(), intent_json(each)) for each in _life()]
    ready.send(ready.settings.intents, [records[0], (2, b"x", b"no intent"), *records[1:]])
    return ready


def test_tail_in_words(published: Installation) -> None:
    """Each change once, in a sentence, with the time of the event."""
    done = published.run("tail", "--from-beginning", "--no-follow")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split("  ")[1].split(" Party")[0] for line in lines] == [
        "customer 4711 is planning a birthday:",
        "customer 4711 wants",
        "customer 4711 let it be:",
        "customer 4712 is planning a birthday:",
    ]
    assert lines[0].startswith(
        "2024-06-03 07:45:20  customer 4711 is planning a birthday: Party supplies → next: ice cream, 64 %"
    )
    assert "\x1b" not in done.stdout


def test_tail_of_one_customer_as_json(published: Installation) -> None:
    """--customer leaves others out, --json gives the values as they are, --limit stops."""
    done = published.run("tail", "--from-beginning", "--no-follow", "--customer", "4712", "--json")
    assert [json.loads(line)["customer_id"] for line in done.stdout.splitlines()] == ["4712"]
    done = published.run("tail", "--from-beginning", "--limit", "2", "--json")
    assert done.stdout.encode().splitlines() == [intent_json(each) for each in _life()[:2]]


def test_tail_shows_what_is_new_until_ctrl_c(published: Installation) -> None:
    """Without --from-beginning only what comes now is shown; Ctrl-C is its ordinary end, code 0."""
    environment = published.environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    start = [sys.executable, "-c", "from streams.cli import main; main()", "tail"]
    process = subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    new = msgspec.structs.replace(intent(), intent_id="8a9f3b52-0000-5000-8000-000000000003", customer_id="4713")
    assert process.stdout is not None
    with process:
        with _sending(published, new):
            line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=30)
    assert "customer 4713 is planning a birthday" in line
    assert (process.returncode, rest, said) == (0, "", "")


@contextmanager
def _sending(installation: Installation, new: Intent) -> Iterator[None]:
    """Send an intent, the same again and again: nobody can know when tail has found the end."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.2):
            installation.send(installation.settings.intents, [(2, new.customer_id.encode(), intent_json(new))])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
