"""The demo: the whole way on one machine, with an embedded broker and Redis, on made-up customers.

Real parts: a Faust worker and a trainer in processes of their own, real Kafka clients, a real Redis. Only the broker
is a mock (librdkafka's), and only the customers are made up, with a truth that the summary is computed against.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from features.redis_store import RedisStore
from features.store import PartitionKey
from intents.catalog import Catalogue
from intents.intent import Intent
from intents.truth import Comparison, from_line, judge
from streams.children import Program, ServiceFailed
from streams.embedded import EmbeddedBroker, EmbeddedRedis
from streams.occurrences import occurrences
from streams.partitioner import partitions_for
from streams.recordings import RecordingBatch, open_recording
from streams.settings import Settings
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate, truth_path
from streams.words import Words

PARTITIONS: Final = 4
"""Partitions that a topic of the mock broker has."""
MOCK_VERSION: Final = (2, 3)
REPLAY_S: Final = 30.0
SETTLE_S: Final = 20.0
"""How long the worker may take, after the last event was sent, to have worked it."""
_TICK_S: Final = 0.05
_SHOWN_EVERY_S: Final = 0.6


@dataclass(slots=True)
class Seen:
    """What came out of the intents topic: values as read, and how many there were of each status."""

    values: list[dict[str, Any]] = field(default_factory=list)
    ids: set[tuple[str, int]] = field(default_factory=set)

    def add(self, value: dict[str, Any]) -> bool:
        """Note one value; False if it was there before."""
        key = (value["intent_id"], value["sequence"])
        if key in self.ids:
            return False
        self.ids.add(key)
        self.values.append(value)
        return True


class _Stopped(Exception):
    """Somebody pressed Ctrl-C, or asked the process to end."""


@contextmanager
def _stopping() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(*, seed: int = 7, events: int = 20_000, customers: int = 600, replay_s: float = REPLAY_S) -> int:
    """Run the demo and print what happens; returns the exit code (0; 1 if something did not start; 130 for Ctrl-C)."""
    console = Console(stderr=False, highlight=False)
    try:
        with _stopping(), tempfile.TemporaryDirectory(prefix="mi-") as folder:
            _demo(console, Path(folder), seed, events, customers, replay_s)
    except _Stopped:
        console.print("\nStopped. Nothing is left running.")
        return 130
    except ServiceFailed as failed:
        console.print(f"The demo could not start: {failed}", style="red")
        return 1
    return 0


def _demo(console: Console, folder: Path, seed: int, events: int, customers: int, replay_s: float) -> None:
    recording = folder / "demo.jsonl"
    made = simulate(recording, seed=seed, events=events, customers=customers)
    hours = (made.last_ms - made.first_ms) / 3_600_000
    console.print(
        f"[bold]Made-up shop, seed {seed}:[/] {made.events:,} events of {made.customers} customers "
        f"in {hours:.0f} hours, replayed in about {replay_s:.0f} s.\n"
        "Embedded broker and Redis, a worker and a trainer; the model starts knowing nothing."
    )
    with EmbeddedBroker() as broker, EmbeddedRedis() as redis:
        settings = _settings(folder, broker.bootstrap, redis.url)
        parts = [_process(kind, folder, settings) for kind in ("worker", "train")]
        try:
            for part in parts:
                part.start()
            began = time.monotonic()
            seen = _replay(console, recording, settings, parts, made.events, replay_s)
            took = time.monotonic() - began
        finally:
            for part in reversed(parts):
                part.stop(keep=True)
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    spans = [from_line(line) for line in truth_path(recording).read_bytes().splitlines()]
    judged = judge(seen.values, spans, occurrences(open_recording(recording), catalogue))
    _summary(console, seen, judged, made.events, took)


def _settings(folder: Path, bootstrap: str, redis_url: str) -> Settings:
    catalogue = folder / "catalogue.toml"
    catalogue.write_text(DEMO_CATALOGUE, encoding="utf-8")
    return Settings(
        broker=bootstrap,
        redis_url=redis_url,
        namespace="demo",
        model_store=str(folder / "models"),
        catalogue=str(catalogue),
        snapshot_s=0.3,
        idle_s=0,
    )


def _process(kind: str, folder: Path, settings: Settings) -> Program:
    path = folder / "settings.json"
    path.write_bytes(orjson.dumps(asdict(settings)))
    place = folder / kind
    place.mkdir()
    command = [sys.executable, "-m", "streams.demo_process", kind, str(path)]
    return Program(command, place, lambda: True)


def _replay(
    console: Console, recording: Path, settings: Settings, parts: list[Program], events: int, replay_s: float
) -> Seen:
    """Send the recording paced by its own time, and show intents as they come; returns them all."""
    producer = KafkaProducer(bootstrap_servers=settings.broker, api_version=MOCK_VERSION, linger_ms=20, acks=1)
    consumer = KafkaConsumer(bootstrap_servers=settings.broker, api_version=MOCK_VERSION, auto_offset_reset="earliest")
    consumer.assign([KafkaPartition(settings.intents, number) for number in range(PARTITIONS)])
    (batch,) = open_recording(recording).batches(size=events + 1)
    places = partitions_for(batch.keys, PARTITIONS, settings.partitioner)
    start, last = int(batch.times_ms[0]), int(batch.times_ms[-1])
    due = (batch.times_ms - start) / max(last - start, 1) * replay_s
    show = _Shower(console, Words(Catalogue.parse(DEMO_CATALOGUE).labels))
    seen, sent = Seen(), 0
    with Progress(
        TextColumn("{task.completed:>6,.0f} events"),
        BarColumn(),
        TextColumn("{task.fields[found]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=events, found="waiting for the worker")
        began = time.monotonic()
        while sent < events:
            now = time.monotonic() - began
            sent = _send(producer, settings.clickstream, batch, places, due, sent, now)
            _collect(consumer, seen, show)
            bar.update(task, completed=sent, found=f"{len(seen.values):,} intent events")
        producer.flush()
        deadline = time.monotonic() + SETTLE_S
        while not _worked(settings, events) and time.monotonic() < deadline:
            _alive(parts)
            _collect(consumer, seen, show)
        for _ in range(4):
            _collect(consumer, seen, show)
    producer.close()
    consumer.close()
    return seen


def _send(producer: Any, topic: str, batch: RecordingBatch, places: Any, due: Any, sent: int, now: float) -> int:
    while sent < len(due) and due[sent] <= now:
        producer.send(topic, key=batch.keys[sent], value=batch.values[sent], partition=int(places[sent]))
        sent += 1
    return sent


def _collect(consumer: Any, seen: Seen, show: "_Shower") -> None:
    for records in consumer.poll(timeout_ms=round(_TICK_S * 1000)).values():
        for record in records:
            value = orjson.loads(record.value)
            if seen.add(value):
                show(value)


def _alive(parts: list[Program]) -> None:
    for part in parts:
        if not part.running:
            raise ServiceFailed(f"a process of the demo ended: {(part.directory / 'output.log').read_text()[-1500:]}")


def _worked(settings: Settings, events: int) -> bool:
    """Whether the worker has committed everything that was sent."""

    async def position() -> int:
        store = RedisStore.from_url(settings.redis_url)
        try:
            keys = [PartitionKey(settings.namespace, settings.clickstream, number) for number in range(PARTITIONS)]
            return sum([max((await store.cursor(key)).position, 0) for key in keys])
        finally:
            await store.close()

    return asyncio.run(position()) >= events


class _Shower:
    """Shows some of the intents as they come: not more than one in a while, the tellable ones first."""

    def __init__(self, console: Console, words: Words) -> None:
        self._console, self._words, self._last = console, words, -_SHOWN_EVERY_S

    def __call__(self, value: dict[str, Any]) -> None:
        """Show an intent, if it is time for one."""
        now = time.monotonic()
        if value["status"] in ("detected", "fulfilled") and now - self._last >= _SHOWN_EVERY_S:
            self._last = now
            self._console.print("  " + self._words.say(msgspec.convert(value, Intent)), soft_wrap=True)


def _summary(console: Console, seen: Seen, judged: Comparison, events: int, took: float) -> None:
    statuses = Counter(value["status"] for value in seen.values)
    console.print("\n[bold]What came out of the intents topic[/]")
    counts = Table()
    counts.add_column("status")
    counts.add_column("intent events", justify="right")
    for status, count in statuses.most_common():
        counts.add_row(status, f"{count:,}")
    console.print(counts)
    console.print("[bold]Beside the recording's truth[/]")
    told = Table()
    for column in ("", "this model", "rule: most recently touched"):
        told.add_column(column, justify="right" if column else "left")
    told.add_row("alarms", f"{judged.model.alarms:,}", f"{judged.rule.alarms:,}")
    told.add_row("precision", f"{judged.model.precision:.0%}", f"{judged.rule.precision:.0%}")
    told.add_row("recall (the rule's is set to it)", f"{judged.model.recall:.0%}", f"{judged.rule.recall:.0%}")
    told.add_row("foreseen before the first look", f"{judged.model.foreseen:.0%}", f"{judged.rule.foreseen:.0%}")
    told.add_row("median lead", f"{judged.model.median_lead_s:.0f} s", f"{judged.rule.median_lead_s:.0f} s")
    console.print(told)
    console.print(
        f"{events:,} events in {took:.0f} s ({events / took:,.0f}/s, as paced). The model learned all it knows "
        "meanwhile; its first alarms had to wait for its first labels.\n\n"
        "Try next:\n"
        "  micro-intents simulate shop.jsonl            a made-up shop of your own\n"
        "  micro-intents trace shop.jsonl               one event on its way, step by step\n"
        "  micro-intents replay shop.jsonl --in-process --learn --intents found.jsonl",
        soft_wrap=True,
    )
