"""The doctor: finds what is wrong with a real Kafka, Redis, catalogue and model, and says what to do about each."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from kafka import KafkaConsumer

from features.core_bundle import CORE
from features.log import DAY_MS
from features.redis_store import RedisStore
from features.store import Commit, PartitionKey, Verdict
from intents.checkpoint import Checkpoint
from intents.model_store import ModelStore
from intents.progress import Progress
from intents.reading import Reading
from intents.snapshots import encode
from intents.training import Trainer
from streams.broker import find_broker
from streams.cli import cli
from streams.partitioner import crc32_partition_for, partition_for
from streams.settings import PUBLIC_HASH_KEY
from streams.topics import found_topics
from tests.services import Service
from tests.streams.installation import Installation

CUSTOMERS = [b"%d" % number for number in range(4_000, 4_100)]


@contextmanager
def _reading(installation: Installation, topic: str, group: str) -> Iterator[KafkaConsumer]:
    """A member of a group that has read what there is, and committed."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=installation.settings.broker,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        while not consumer.assignment():
            consumer.poll(timeout_ms=200)
        ends = consumer.end_offsets(list(consumer.assignment()))
        while any(consumer.position(place) < end for place, end in ends.items()):
            consumer.poll(timeout_ms=200)
        consumer.commit()
        yield consumer
    finally:
        consumer.close()


def _model(positives: int, *, losing: bool = False) -> bytes:
    empty = Trainer(CORE, 1).checkpoint()
    now = empty.model.now
    now.touched.positives, now.touched.negatives = positives, 5_000
    return encode(Checkpoint(empty.model, Reading(), empty.base, Reading(), progress=Progress(losing=losing)))


def test_all_is_well(ready: Installation, own_redis: Service) -> None:
    """With topics as created, records in their places, a worker and a trainer reading, Redis and a model: code 0."""
    settings = ready.settings
    well = Installation(replace(settings, redis_url=own_redis.url))
    ModelStore(settings.model_store).save(_model(60), 17)
    well.send(settings.clickstream, [(partition_for(key, 4), key, b"{}") for key in CUSTOMERS])
    with (
        _reading(well, settings.clickstream, settings.group),
        _reading(well, settings.examples, f"{settings.group}.train"),
    ):
        code, found = well.doctor()
        shown = well.run("doctor")
    assert {each["status"] for findings in found.values() for each in findings} == {"ok"}, found
    assert code == 0
    assert found["worker"][0]["found"] == f"1 running, 0 records of {settings.clickstream} to read"
    assert found["train"][0]["found"].startswith("1 running, 0 records")
    assert found["keys"][0]["found"] == "100 of 100 records lie where murmur2 puts their keys"
    assert "is ready: 60 positive and 5,000 negative labels" in found["model"][0]["found"]
    assert shown.exit_code == 0
    assert shown.stdout.count("ok  ") == sum(map(len, found.values())) and "problem" not in shown.stdout


def test_missing_topics(installation: Installation) -> None:
    """Each topic that is not there is a problem, with the command that makes it."""
    code, found = installation.doctor()
    assert code == 1
    for name in ("clickstream", "intents", "examples", "dead_letter"):
        (finding,) = found[f"topic {getattr(installation.settings, name)}"]
        assert (finding["status"], finding["found"]) == ("problem", "is missing")
        assert finding["advice"] == "micro-intents topics create"


def test_topics_that_would_lose_records(installation: Installation) -> None:
    """Producers' timestamps, compaction, short retention and another partition count are problems of their own."""
    settings = installation.settings
    installation.create_topic(settings.clickstream, 4, **{"message.timestamp.type": "CreateTime"})
    short = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact", "retention.ms": "3600000"}
    installation.create_topic(settings.intents, 3, **short)
    installation.create_topic(settings.examples, 2, **{"message.timestamp.type": "LogAppendTime"})
    code, found = installation.doctor()
    assert code == 1
    wrong = {check: [each["found"] for each in findings] for check, findings in found.items()}
    assert wrong[f"topic {settings.clickstream}"] == ["message.timestamp.type is CreateTime, not LogAppendTime"]
    assert wrong[f"topic {settings.intents}"] == [
        "3 partitions, not 4",
        "cleanup.policy is compact, not delete",
        "retention.ms is 3600000, less than 604800000: a lost Redis is to be rebuilt from 7 days "
        "(MICRO_INTENTS_REBUILD_DAYS)",
    ]
    assert wrong[f"topic {settings.examples}"] == [
        "2 partitions, not 1",
        "max.message.bytes is 1048588, less than 2000000",
    ]
    advice = found[f"topic {settings.clickstream}"][0]["advice"]
    assert advice.endswith(f"--entity-name {settings.clickstream} --add-config message.timestamp.type=LogAppendTime")


def test_the_rebuild_window_is_kept(installation: Installation) -> None:
    """Topics must keep what a lost Redis is to be rebuilt from: new ones do, others are told, with both ways out."""
    longer = Installation(replace(installation.settings, rebuild_days=20))
    settings = longer.settings
    kept = {"message.timestamp.type": "LogAppendTime", "retention.ms": str(9 * DAY_MS + 1)}
    longer.create_topic(settings.clickstream, 2, **kept)
    created = longer.run("topics", "create")
    assert created.exit_code == 1
    assert f"--add-config retention.ms={20 * DAY_MS}\n" in created.stderr
    with find_broker(settings.broker).admin() as admin:
        found = found_topics(admin, [settings.intents])
    assert found[settings.intents].settings["retention.ms"] == str(20 * DAY_MS)
    (finding,) = longer.doctor()[1][f"topic {settings.clickstream}"]
    assert finding["status"] == "problem"
    lets = f"rebuilt from 20 days (MICRO_INTENTS_REBUILD_DAYS, which {settings.clickstream} lets be 9)"
    assert finding["found"].endswith(lets)
    assert finding["advice"].endswith(f"--add-config retention.ms={20 * DAY_MS}")
    nine = Installation(replace(settings, rebuild_days=9))
    assert {it["status"] for it in nine.doctor()[1][f"topic {settings.clickstream}"]} == {"ok"}


@pytest.mark.parametrize(
    ("place", "said", "advice"),
    [
        (crc32_partition_for, "but where crc32 does", "set MICRO_INTENTS_PARTITIONER=crc32"),
        (
            lambda key, count: int(key) % count,
            "of 100 records do not lie where murmur2 puts their keys",
            "customer_id as key",
        ),
    ],
    ids=["crc32", "nobody's"],
)
def test_keys_in_other_places(ready: Installation, place: Callable[[bytes, int], int], said: str, advice: str) -> None:
    """Records that lie elsewhere are a problem: if another partitioner fits, it is named."""
    ready.send(ready.settings.clickstream, [(place(key, 4), key, b"{}") for key in CUSTOMERS])
    code, found = ready.doctor()
    (finding,) = found["keys"]
    assert (code, finding["status"]) == (1, "problem")
    assert said in finding["found"] and advice in finding["advice"]
    if place is crc32_partition_for:
        assert ready.doctor("--partitioner", "crc32")[1]["keys"][0]["status"] == "ok"


def test_nobody_reads(ready: Installation) -> None:
    """Records that wait without a worker are a problem; without records, or once all is read, it is a note."""
    settings = ready.settings
    assert ready.doctor()[1]["worker"][0]["status"] == "note"
    ready.send(settings.clickstream, [(partition_for(key, 4), key, b"{}") for key in CUSTOMERS])
    (finding,) = ready.doctor()[1]["worker"]
    assert (finding["status"], finding["advice"]) == ("problem", "micro-intents worker")
    assert finding["found"] == f"none is running as group {settings.group}, 100 records of {settings.clickstream} wait"
    with _reading(ready, settings.clickstream, settings.group):
        pass
    (finding,) = ready.doctor()[1]["worker"]
    assert finding["status"] == "note" and finding["found"].endswith("it has read everything")


def test_redis_that_forgets(ready: Installation, redis_url: str) -> None:
    """A Redis without an append-only file, no Redis at all, and an address that is none: each with what to do."""
    (finding,) = Installation(replace(ready.settings, redis_url=redis_url)).doctor()[1]["Redis"]
    assert (finding["status"], finding["advice"]) == ("problem", "set appendonly yes")
    (finding,) = ready.doctor()[1]["Redis"]
    assert finding["status"] == "problem" and "cannot be reached" in finding["found"] and finding["advice"]
    (finding,) = Installation(replace(ready.settings, redis_url="localhost:6379")).doctor()[1]["Redis"]
    assert finding["status"] == "problem" and "redis://" in finding["found"]


async def _rebuilt(redis_url: str, since: Iterable[int]) -> None:
    """Let the states of partitions be whole only since these times."""
    store = RedisStore.from_url(redis_url)
    for number, time in enumerate(since):
        key = PartitionKey("shop", "clicks", number)
        await store.claim(key, "mine")
        answer = await store.commit(key, Commit("mine", 0, 0, 5, 9, complete_since=time))
        assert answer.verdict is Verdict.OK
    await store.close()


def test_states_that_are_not_whole(own_redis: Service) -> None:
    """Partitions rebuilt from a log without its beginning are noted, with since when they are whole: no problem."""
    environment = {"REDIS_URL": own_redis.url, "NAMESPACE": "shop", "CLICKSTREAM": "clicks"}
    assert "states of" not in _without_broker(**environment)
    asyncio.run(_rebuilt(own_redis.url, (1_511_575_323_000, -1, 0)))
    shown = _without_broker(**environment)
    for number, said in ((0, "2017-11-25 02:02:03 UTC"), (2, "1970-01-01 00:00:00 UTC")):
        found = "were rebuilt from a log that had lost its beginning: whole only since"
        assert f"note     states of clicks/{number}: {found} {said} (event time)\n" in shown
    assert shown.count("states of") == 2
    assert shown.endswith("\n1 problem\n")  # no broker


def _without_broker(*arguments: str, **environment: str) -> str:
    names = {f"MICRO_INTENTS_{name}": value for name, value in environment.items()}
    fast = {"MICRO_INTENTS_BROKER": "127.0.0.1:1", "MICRO_INTENTS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = CliRunner().invoke(cli, ["doctor", *arguments], env=fast | names)
    assert done.exit_code == 1
    return done.stdout


def test_no_broker() -> None:
    """Where no broker answers the rest is looked at all the same."""
    shown = _without_broker()
    assert (
        "problem  broker: does not answer\n         → no broker answers at 127.0.0.1:1: nothing listens there." in shown
    )
    assert "ok       catalogue" in shown and "Redis" in shown and shown.endswith("\n2 problems\n")


def test_the_embedded_broker(embedded_broker: str) -> None:
    """The mock cluster is called what it is, and not asked what it cannot tell."""
    assert "it is the embedded one, whose topics and groups cannot be looked at" in _without_broker(
        "--broker", embedded_broker
    )


def test_catalogue(tmp_path: Path) -> None:
    """A catalogue is counted; a mistake in it has its line; one that is gone is named."""
    path = tmp_path / "shop.toml"
    path.write_text('[intent.a]\ncategory = "a"\n[intent.b]\ncategory = "b"\n[journey.j]\nstages = ["a", "b"]\n')
    assert "ok       catalogue: 2 intents and 1 journeys" in _without_broker("--catalog", str(path))
    path.write_text("[intent.a]\n")
    assert f"problem  catalogue: {path}:1: " in _without_broker(CATALOGUE=str(path))
    assert f"problem  catalogue: {path}.gone cannot be read" in _without_broker(CATALOGUE=f"{path}.gone")


def test_model(tmp_path: Path) -> None:
    """Ready, not ready, losing, none yet, damaged, two of one offset, a frozen file, and a place nobody knows."""
    url = str(tmp_path / "models")
    assert f"note     model: no snapshot in {url} yet\n         → micro-intents train" in _without_broker(
        MODEL_STORE=url
    )
    store = ModelStore(url)
    store.save(_model(49), 1)
    assert "is not ready: 49 positive and 5,000 negative labels\n         → wait" in _without_broker(MODEL_STORE=url)
    store.save(_model(50), 2)
    told = "is ready: 50 positive and 5,000 negative labels; threshold 0.15, "
    assert told + "as set\n" in _without_broker(MODEL_STORE=url)
    wanted = _without_broker(MODEL_STORE=url, THRESHOLD="alarms=2")
    assert told + "until more alarms have been judged, for alarms=2\n" in wanted
    store.save(_model(51), 2)
    assert "problem  model: two snapshots claim the offset of" in _without_broker(MODEL_STORE=url)
    store.save(_model(50)[:-5], 3)
    assert "problem  model: a snapshot is cut short\n         → delete that snapshot" in _without_broker(
        MODEL_STORE=url
    )
    frozen = tmp_path / "frozen.snapshot"
    frozen.write_bytes(_model(60))
    assert f"ok       model: {frozen} (frozen) is ready" in _without_broker("--model", str(frozen))
    frozen.write_bytes(_model(60, losing=True))
    found = f"problem  model: {frozen} (frozen) loses to its fallback, which is served: 60 positive"
    assert found in _without_broker("--model", str(frozen))
    assert "problem  model: nowhere://models: " in _without_broker("--model-store", "nowhere://models")


def test_settings() -> None:
    """The public hash key is worth a note; a namespace that Redis' keys cannot carry is a problem."""
    assert "note     settings: the hash key is the public one" in _without_broker(HASH_KEY=PUBLIC_HASH_KEY)
    assert "ok       settings: namespace shop, a hash key of your own" in _without_broker(
        NAMESPACE="shop", HASH_KEY="mine"
    )
    assert "problem  settings: 'a:b'" in _without_broker("--namespace", "a:b")
