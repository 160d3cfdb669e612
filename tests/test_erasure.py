"""A customer forgotten by the whole job: real Kafka, real Redis, a real worker, and the command."""

import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import redis
from click.testing import CliRunner, Result

from streams.children import wait_for
from streams.cli import cli
from streams.recordings import RecordingBatch
from streams.settings import PREFIX, Settings
from tests.conftest import TopicFactory
from tests.intents.replaying import batches, made_up
from tests.job import KafkaRun, learned
from tests.services import Service

ANNA = "anna-4711"
T = 1_700_000_000_000


@pytest.fixture(scope="module")
def snapshot() -> bytes:
    """A model that was learned from a made-up shop, whose customers have ids that would be seen."""
    records = []
    for key, value in made_up(customers=80, events=2_500, days=0.4):
        event = orjson.loads(value) | {"customer_id": f"shopper-{key.decode()}"}
        records.append((event["customer_id"].encode(), orjson.dumps(event)))
    (batch,) = batches(records)
    return learned(batch)


@pytest.fixture
def job(kafka: Service, redis_url: str, topic_factory: TopicFactory, tmp_path: Path, snapshot: bytes) -> KafkaRun:
    """An empty job with a model that was learned from a made-up shop."""
    settings = Settings(
        broker=kafka.bootstrap,
        redis_url=redis_url,
        group=topic_factory("group", 1),
        clickstream=topic_factory("clickstream"),
        intents=topic_factory("intents"),
        examples=topic_factory("examples", 1, {"max.message.bytes": "2000000"}),
        dead_letter=topic_factory("dead-letter", 1),
        model=str(tmp_path / "frozen.snapshot"),
        model_store=str(tmp_path / "models"),
        hash_key="a key of our own",
        threshold=0.01,
        idle_s=0,
    )
    (tmp_path / "frozen.snapshot").write_bytes(snapshot)
    return KafkaRun(settings, tmp_path)


def views(customer: str, *minutes: int, kind: str = "view") -> RecordingBatch:
    """Views of balloons, at so many minutes."""
    events = [
        {"event_id": f"{customer}-{kind}-{m}", "customer_id": customer, "kind": kind, "time": T + 60_000 * m}
        | ({} if kind == "forget" else {"category": "party_supplies"})
        for m in minutes
    ]
    values = [orjson.dumps(event) for event in events]
    return RecordingBatch([customer.encode()] * len(values), values, np.zeros(len(values), np.int64), 0)


def everything(url: str) -> bytes:
    """All keys of Redis, and all bytes of their values, as it would dump them and as they are."""
    with redis.Redis.from_url(url) as raw:
        found = [b""]
        for key in raw.scan_iter(count=1000):
            kind = raw.type(key)
            found += [key, raw.dump(key) or b""]
            if kind == b"string":
                found.append(raw.get(key) or b"")
            elif kind == b"hash":
                found += [part for pair in raw.hgetall(key).items() for part in pair]
            elif kind == b"zset":
                found += raw.zrange(key, 0, -1)
        return b"\n".join(found)


def gone(job: KafkaRun) -> bool:
    """Whether no byte in Redis tells of the customer."""
    return ANNA.encode() not in everything(job.settings.redis_url)


def forget(job: KafkaRun, *arguments: str) -> Result:
    """The command."""
    variables = {PREFIX + name.upper(): str(value) for name, value in asdict(job.settings).items()}
    return CliRunner().invoke(cli, ["forget", *arguments], env=variables)


def statuses(job: KafkaRun, customer: str) -> list[str]:
    """Statuses of a customer's intents as published, repeats dropped."""
    told = {}
    for messages in job.messages(job.settings.intents).values():
        for message in messages:
            if message.key() == customer.encode():
                headers = dict(message.headers() or [])
                told[headers["ce_id"]] = orjson.loads(message.value() or b"")["status"]
    return list(told.values())


def test_forgotten_by_the_command(job: KafkaRun) -> None:
    """Erased with open intents, nowhere in Redis; late events and duplicates do not bring the customer back."""
    job.settings = replace(job.settings, rebuild_days=1)
    job.send(views(ANNA, 0, 1, 2))
    job.send(views("ben", 0, 1, 2))
    with job.process() as worker:
        job.finish(worker)
        wait_for(lambda: "detected" in statuses(job, ANNA), "an intent")
        detected = statuses(job, ANNA).count("detected")
        assert ANNA.encode() in everything(job.settings.redis_url)
        verified = forget(job, "--verify", ANNA)
        assert verified.exit_code == 1 and "the customer's state" in verified.stdout

        refused = forget(job, ANNA)
        assert refused.exit_code == 1 and f"--time {T + 120_000}" in refused.stderr  # a recording's time is not ours
        done = forget(job, ANNA, "--time", str(T + 180_000))
        assert done.exit_code == 0, done.output
        assert f"3 events and {detected} open intents of {ANNA} were erased" in done.stdout
        assert "late events are dropped for 1 day\n" in done.stdout
        wait_for(lambda: gone(job), "the id to be gone")
        said = statuses(job, ANNA)
        assert said.count("forgotten") == detected == said.count("detected")

        job.send(views(ANNA, 0, 1, 2))  # duplicates
        job.send(views(ANNA, 3))  # late: at the very moment
        job.send(views("ben", 4))
        job.wait_until(int(job._sent.sum()) + 1, worker)  # and the forget event
        wait_for(lambda: gone(job), "the id to be gone")
        assert b"ben" in everything(job.settings.redis_url)
    assert statuses(job, ANNA) == said
    verified = forget(job, "--verify", ANNA)
    assert verified.exit_code == 0, verified.output
    assert "nothing holds" in verified.stdout
    for topic in (job.settings.clickstream, job.settings.intents, job.settings.dead_letter):
        assert f"Kafka: {topic}: " in verified.stdout
    assert verified.stdout.count(" at the latest") == 3  # retention of clickstream, intents, dead letters
    assert not any(ANNA.encode() in value for value in job.published(job.settings.examples, 1)[0])


def test_killed_between_commit_and_publish_of_a_forget(job: KafkaRun) -> None:
    """The next worker publishes `forgotten`, and nothing of the id stays; nor after Redis is emptied and rebuilt."""
    job.send(views(ANNA, 0))
    with job.process() as worker:
        job.finish(worker)
    job.send(views(ANNA, 3, kind="forget"))
    with job.process(die_at="before_publish:1") as doomed:
        doomed.wait(60)
        assert doomed.returncode == -signal.SIGKILL
    assert ANNA.encode() in everything(job.settings.redis_url)  # the outbox
    job.send(views("ben", 4))
    with job.process() as worker:
        job.finish(worker)
        wait_for(lambda: gone(job), "the id to be gone")
    said = statuses(job, ANNA)
    assert said.count("forgotten") == said.count("detected") > 0
    with redis.Redis.from_url(job.settings.redis_url) as raw:
        raw.flushall()
    job.send(views(ANNA, 0, 2))
    job.send(views("ben", 5))
    with job.process() as worker:
        job.finish(worker)
        wait_for(lambda: gone(job), "the id to be gone")
    assert statuses(job, ANNA) == said
    with redis.Redis.from_url(job.settings.redis_url) as raw:
        assert sum(raw.hlen(key) for key in raw.scan_iter(match="*:forgotten")) == 1


def test_without_a_worker(job: KafkaRun) -> None:
    """The command says that no worker came to the event, and that nothing is lost."""
    done = forget(job, ANNA, "--timeout", "0.5")
    assert done.exit_code == 1
    assert "no worker has ever worked this partition" in done.stderr and "Nothing is lost" in done.stderr


def test_no_id_in_snapshots(snapshot: bytes) -> None:
    """A model snapshot holds subjects' names and numbers, and no customer that it learned from."""
    assert b"party_supplies" in snapshot or b"balloons" in snapshot
    assert b"shopper-" not in snapshot
