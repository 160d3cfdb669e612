"""Kafka with TLS, users and rights, Redis with users: everybody works with what docs/security.md gives, and no more.

Real services; the rights are read from the document, the processes are those of the console command.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import redis
from kafka import KafkaConsumer

from features.core_bundle import CORE
from intents.model_store import ModelStore
from intents.snapshots import decode
from streams.broker import BrokerAddress, BrokerFailed, BrokerRefused, find_broker
from streams.children import wait_for
from streams.feed import open_feed
from streams.recordings import RecordingBatch
from streams.rights import Right, admit, trainer_rights, worker_rights
from streams.settings import Settings
from streams.transport_read import read_back
from tests.certificates import Authority
from tests.job import PARTITIONS, InProcessRun, cut, first_records, learned
from tests.secure_kafka import USERS, SecureKafka
from tests.services import Service, start_redis

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
REDIS_DOCUMENT = (ROOT / "docs" / "security-redis.md").read_text()
CLI = [sys.executable, "-c", "from streams.cli import main; main()"]
REDIS_PASSWORD = "redis:geheim@6/?%"
HASH_KEY = "hash-geheim-7"
WRONG = "falsch-geheim-8"
SECRETS = [*USERS.values(), REDIS_PASSWORD, HASH_KEY, WRONG]
LEARNED, RUN = 4_000, 1_500


def between(mark: str, document: str = DOCUMENT) -> list[str]:
    """Lines of a document between two marks."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", document, re.DOTALL)
    assert found, mark
    return found[1].splitlines()


def documented_rights() -> dict[str, list[tuple[str, str, str]]]:
    """Rights by user, as the document has them."""
    rights: dict[str, list[tuple[str, str, str]]] = {}
    for row in between("kafka")[2:]:
        user, operation, kind, name, _ = (cell.strip() for cell in row.strip("|").split("|"))
        operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
        rights.setdefault(user, []).append((operation, kind, name))
    return rights


RIGHTS = documented_rights()


@pytest.fixture(scope="module")
def guarded(secure_kafka: SecureKafka) -> SecureKafka:
    """The broker with the document's rights."""
    for user, rights in RIGHTS.items():
        secure_kafka.allow(user, rights)
    return secure_kafka


@pytest.fixture(scope="module")
def guarded_redis() -> Iterator[Service]:
    """A Redis with the document's users."""
    with start_redis(own=True) as service:
        with redis.Redis.from_url(service.url) as client:
            for line in between("acl", REDIS_DOCUMENT):
                if line.startswith("user "):
                    client.execute_command("ACL", "SETUSER", *line.replace("PASSWORD", REDIS_PASSWORD).split()[1:])
        yield service


@dataclass(frozen=True)
class Site:
    """Where commands run: broker, Redis, and a folder for models and outputs."""

    kafka: SecureKafka
    redis: Service
    folder: Path

    def redis_url(self, user: str, password: str = REDIS_PASSWORD) -> str:
        """Redis' address for a user."""
        encoded = "".join(f"%{ord(c):02X}" for c in password)
        return self.redis.url.replace("redis://", f"redis://{user}:{encoded}@")

    def environment(self, broker: str, redis_user: str = "worker", **more: str) -> dict[str, str]:
        """The settings of a command as variables."""
        mine = {
            "BROKER": broker,
            "REDIS_URL": self.redis_url(redis_user),
            "MODEL_STORE": str(self.folder / "models"),
            "HASH_KEY": HASH_KEY,
            "IDLE_S": "0",
            "SNAPSHOT_S": "0.5",
        }
        return dict(os.environ) | {f"MICRO_INTENTS_{name}": value for name, value in (mine | more).items()}

    def run(self, broker: str, *arguments: str, redis_user: str = "worker", **more: str) -> tuple[int, str]:
        """Run a command to its end; its code, and all that it printed, without a secret."""
        environment = self.environment(broker, redis_user, **more)
        done = subprocess.run(
            [*CLI, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        no_secret_in(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def process(self, broker: str, *arguments: str, **more: str) -> Iterator["Running"]:
        """A worker or trainer at work; at its end, nothing that it printed holds a secret."""
        log = self.folder / f"{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*CLI, *arguments], env=self.environment(broker, **more), cwd=ROOT, stdout=output, stderr=output
            )
        try:
            yield Running(process, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()
        no_secret_in(log.read_text())
        assert process.returncode == 0, log.read_text()[-3000:]


@dataclass(frozen=True)
class Running:
    """A process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def lives(self) -> bool:
        """Whether it has not ended; fails with its log if it has."""
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return True


def no_secret_in(text: str) -> None:
    """Fail if a secret is in `text`, however it is spelled."""
    assert "geheim" not in text, re.findall(r".{0,200}geheim.{0,50}", text)[:3]


@pytest.fixture
def site(guarded: SecureKafka, guarded_redis: Service, tmp_path: Path) -> Site:
    """The guarded services."""
    return Site(guarded, guarded_redis, tmp_path)


def sasl_plaintext(kafka: SecureKafka, user: str = "worker") -> str:
    """The address of the listener for users without TLS."""
    head, _, _ = kafka.sasl_ssl(user).partition("?")
    return head.replace("sasl_ssl", "sasl_plaintext").replace(kafka.places("SASL_SSL"), kafka.places("SASL_PLAINTEXT"))


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "SSL", "SASL_PLAINTEXT"])
def test_every_client_comes_in(guarded: SecureKafka, way: str) -> None:
    """By each mechanism, by certificate and without TLS: the probe, kafka-python's clients and aiokafka's producer."""
    ways = {"SSL": guarded.ssl(), "SASL_PLAINTEXT": sasl_plaintext(guarded)}
    address = ways.get(way) or guarded.sasl_ssl("worker", way)
    broker = find_broker(address)
    with broker.admin() as admin, broker.consumer() as consumer:
        assert admin.describe_cluster()["brokers"]
        assert consumer.topics() is not None

    async def feed() -> None:
        async with open_feed(address, f"never-{way.lower()}", "murmur2"):
            pass

    with pytest.raises(BrokerFailed, match="there is no topic 'never-"):
        asyncio.run(feed())


def test_who_is_not_let_in(guarded: SecureKafka, tmp_path: Path) -> None:
    """A wrong password, certificate, authority, name, mechanism or port: each is told apart, with what to do."""
    other = Authority(tmp_path, "other")
    stranger = other.issue("worker")
    tls, plain = guarded.places("SASL_SSL"), guarded.service.bootstrap
    worker, ca = guarded.sasl_ssl("worker"), f"ca={guarded.authority.ca}"
    unsaid = worker.partition("&ca=")[0]
    cases = {
        guarded.sasl_ssl("worker", password=WRONG): "does not let the user 'worker' in: correct user or password",
        guarded.sasl_ssl("worker", "PLAIN", WRONG): "does not let the user 'worker' in: correct user or password",
        guarded.sasl_ssl("worker", ca=str(other.ca)): r"not trusted here .* \?ca=/path/ca.pem",
        unsaid: r"not trusted here .* \?ca=/path/ca.pem",
        worker.replace("127.0.0.1", "localhost"): "its certificate is not for localhost",
        f"ssl://{guarded.places('SSL')}?{ca}": "wants a client certificate",
        f"ssl://{guarded.places('SSL')}?{ca}&cert={stranger.cert}&key={stranger.key}": "does not accept this client's",
        tls: "speaks TLS only: use ssl://host:port, or sasl_ssl://",
        f"ssl://{tls}?{ca}": "wants a user and a password .*SCRAM-SHA-512.*: sasl_ssl://",
        guarded.places("SASL_PLAINTEXT"): "wants a user and a password .*: sasl_plaintext://",
        sasl_plaintext(guarded).replace(guarded.places("SASL_PLAINTEXT"), plain): "nobody signs in at that port",
    }
    for address, said in cases.items():
        with pytest.raises(BrokerRefused, match=said) as refused:
            find_broker(address)
        no_secret_in(str(refused.value))
    for address, said in {
        worker.replace(tls, plain): "does not speak TLS: correct the port, or use sasl_plaintext://",
        f"ssl://{plain}?{ca}": "does not speak TLS: correct the port, or use host:port",
    }.items():
        with pytest.raises(BrokerFailed, match=said):
            find_broker(address)


@pytest.fixture(scope="module")
def shop(recordings: Path) -> tuple[bytes, RecordingBatch]:
    """A snapshot that is ready, and the events that come next."""
    batch = first_records(recordings / "taobao_user_behavior.csv.gz", LEARNED + RUN)
    snapshot = learned(cut(batch, 0, LEARNED))
    assert decode(snapshot, CORE).model.ready
    return snapshot, cut(batch, LEARNED, LEARNED + RUN)


def test_the_whole_job_with_the_rights_of_the_document(site: Site, shop: tuple[bytes, RecordingBatch]) -> None:
    """Operator, shop, worker, trainer and recommender each with their user: the intents are those of a run alone."""
    snapshot, batch = shop
    frozen = site.folder / "frozen.snapshot"
    frozen.write_bytes(snapshot)
    operator = site.kafka.sasl_ssl("operator")
    code, said = site.run(operator, "topics", "create", "--partitions", str(PARTITIONS))
    assert code == 0 and said.count("created") == 4, said

    async def send() -> None:
        async with open_feed(site.kafka.sasl_ssl("shop"), "clickstream", "murmur2") as feed:
            await feed.send(batch.keys, batch.values)
            await feed.send([b"nobody"], [b"no event"])
            await feed.flush()

    asyncio.run(send())
    alone = InProcessRun(batch, snapshot, Settings(idle_s=0))
    wanted = {number: values for number, values in alone.intents.items() if values}
    assert sum(map(len, wanted.values())) > 20
    worker = site.kafka.sasl_ssl("worker", "PLAIN")  # the mechanism whose exchange holds the password
    models = ModelStore(str(site.folder / "models"))
    with (
        site.process(worker, "worker", "--log-level", "debug", MODEL=str(frozen)) as working,
        site.process(site.kafka.sasl_ssl("trainer"), "train", "--log-level", "debug") as training,
    ):
        found = recommended(site.kafka.sasl_ssl("recommender"), sum(map(len, wanted.values())), working)
        wait_for(lambda: training.lives() and models.latest() is not None, "a snapshot")
        no_secret_in(Path(f"/proc/{working.process.pid}/cmdline").read_text())
        code, told = site.run(operator, "doctor", "--json", redis_user="reader", MODEL=str(frozen))
    assert found == wanted
    assert asyncio.run(read_again(site.kafka.sasl_ssl("worker"))) == wanted
    findings = {each["check"]: each for each in orjson.loads(told)["findings"]}
    assert findings["broker"]["found"] == f"{site.kafka.places('SASL_SSL')} answers"
    checks = ["broker", "topic clickstream", "topic intents", "topic examples", "topic clickstream.dead-letter"]
    checks += ["keys", "worker", "train", "model"]
    assert {check: findings[check]["status"] for check in checks} == dict.fromkeys(checks, "ok"), told


async def read_again(address: str) -> dict[int, list[bytes]]:
    """All intents by partition, as a worker reads them that rebuilds what Redis has lost."""
    found: dict[int, list[bytes]] = {}
    for number in range(PARTITIONS):
        async for records in read_back(BrokerAddress.parse(address), "intents", number):
            found.setdefault(number, []).extend(value for value, _ in records)
    return {number: values for number, values in found.items() if values}


def recommended(address: str, count: int, working: Running) -> dict[int, list[bytes]]:
    """Values of `count` intents by partition, as a recommender's consumer group reads them."""
    options = BrokerAddress.parse(address).client_options()
    consumer = KafkaConsumer("intents", group_id="recommender", auto_offset_reset="earliest", **options)
    found: dict[int, list[bytes]] = {}

    def read() -> bool:
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                found.setdefault(record.partition, []).append(record.value)
        return working.lives() and sum(map(len, found.values())) >= count

    with closing(consumer):
        wait_for(read, f"{count} intents")
    return found


def test_each_right_is_asked_for(guarded: SecureKafka) -> None:
    """Without any one of its rights, worker or trainer is refused with the right's name and how to give it."""
    wanted = {"worker": worker_rights, "trainer": trainer_rights}
    for user, rights in wanted.items():
        settings = Settings(broker=guarded.sasl_ssl(user))
        named = [Right(operation, kind, name) for operation, kind, name in RIGHTS[user]]  # type: ignore[arg-type]
        assert rights(settings) == named
        admit(settings, named)
        for right in RIGHTS[user]:
            operation, kind, name = right
            guarded.forbid(user, [right])
            said = f"does not allow {user} to {operation} {kind} {name}: kafka-acls.sh .* --{kind} {name}$"
            with pytest.raises(BrokerRefused, match=said):
                admit(settings, named)
            guarded.allow(user, [right])


@pytest.mark.parametrize("command", ["worker", "train"])
def test_a_worker_that_is_refused_says_why(site: Site, command: str) -> None:
    """A wrong password and a missing right end worker and trainer at once with one line; a broker away does not."""
    user = "trainer" if command == "train" else "worker"
    code, said = site.run(site.kafka.sasl_ssl(user, password=WRONG), command)
    assert code == 1 and said.startswith("Error: the broker does not let us in") and "correct user or password" in said
    right = RIGHTS[user][0]
    site.kafka.forbid(user, [right])
    code, said = site.run(site.kafka.sasl_ssl(user), command)
    site.kafka.allow(user, [right])
    assert code == 1 and f"Error: Kafka does not allow {user} to READ topic" in said


def test_a_wrong_redis_password_is_said_without_it(site: Site) -> None:
    """The doctor says that Redis refuses the user; neither password nor hash key is in what it prints."""
    operator = site.kafka.sasl_ssl("operator")
    code, said = site.run(operator, "doctor", REDIS_URL=site.redis_url("reader", WRONG))
    assert code == 1 and "it refuses this user: correct the user, the password or the user's rights" in said
    code, said = site.run(site.kafka.sasl_ssl("operator", password=WRONG), "doctor", "--json", redis_user="reader")
    assert code == 1 and "does not let the user 'operator' in" in said


def test_the_doctor_with_too_few_rights(site: Site) -> None:
    """A topic that may not be looked at is not said to be missing."""
    code, said = site.run(site.kafka.sasl_ssl("trainer"), "doctor", redis_user="reader")
    assert code == 1 and "does not allow this user to look at the topic clickstream" in said
    assert "is missing" not in said


def test_a_password_as_an_argument_is_refused(site: Site) -> None:
    """Everybody on the machine could read it; the message does not repeat it."""
    worker, url = site.kafka.sasl_ssl("worker"), site.redis_url("worker")
    for arguments in (("--broker", worker), ("--redis", url)):
        code, said = site.run(worker, "worker", *arguments)
        assert code == 2 and "a password on the command line is seen by everybody" in said
