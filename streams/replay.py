"""Replaying a whole recording in process, into files: intents, scores, refused records, the last model."""

import os
import re
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from errno import ENOENT
from pathlib import Path
from typing import IO, Final

import msgspec
import orjson

from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.checkpoint import Checkpoint
from intents.detect import Setup
from intents.lessons import Watcher
from intents.model import Model
from intents.progress import Progress
from intents.snapshots import encode
from intents.training import Trainer
from sinks.records import Record
from streams.inprocess import InProcess, Output
from streams.recordings import RecordingBatch
from streams.settings import Settings

_PARTICULARS: Final = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|-?\d+")


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, None for those that nobody asked for."""

    intents: Path | None = None
    scores: Path | None = None
    dead: Path | None = None
    model: Path | None = None


@dataclass(slots=True)
class Summary:
    """What a replay came to: records and events, refused by reason, intents by status, the last model, seconds.

    `progress` is how well the model did before it learned each answer, None without learning.
    """

    records: int = 0
    events: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    intents: Counter[str] = field(default_factory=Counter)
    model: Model | None = None
    progress: Progress | None = None
    seconds: float = 0.0

    def add(self, output: Output) -> None:
        """Count one output."""
        self.records += output.records
        self.events += output.events
        self.refused.update(reason_of(letter) for letter in output.dead)
        self.intents.update(intent.status for intent, _ in output.intents)


async def replay_in_process(
    batches: Iterable[RecordingBatch],
    settings: Settings,
    catalogue: Catalogue,
    outputs: Outputs,
    *,
    learn: bool,
    partitions: int,
    told: Callable[[RecordingBatch, Summary], None],
    start: Checkpoint | None = None,
    clock: Callable[[], float] = time.monotonic,
    watcher: Watcher | None = None,
) -> Summary:
    """Work a recording's batches; `start` has the first model, and without `learn` the only one.

    `told` hears often how far it is, `watcher` what is learned. Raises OSError.
    """
    model = start.model if start else Model.untrained(CORE)
    if outputs.model is not None and not outputs.model.parent.is_dir():  # said now, not after hours
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(outputs.model))
    horizon_ms = settings.horizon_s * 1000
    trainer = Trainer(CORE, horizon_ms, start, durable=False) if learn else None
    if trainer is not None and watcher is not None:
        trainer.watch(watcher)
    setup = Setup(
        CORE,
        catalogue,
        catalogue.names,
        rules=settings.rules,
        namespace=settings.namespace,
        rank_outcomes=outputs.scores is not None,
    )
    engine = InProcess(
        setup,
        model,
        topic=settings.clickstream,
        partitions=partitions,
        partitioner=settings.partitioner,
        lateness_ms=settings.lateness_s * 1000,
        rebuild_ms=settings.rebuild_ms,
        trainer=trainer,
        topics=settings.topics,
    )
    summary, began = Summary(model=model), clock()
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in (outputs.intents, outputs.scores, outputs.dead)]
        for batch in batches:
            async for output in engine.run(batch):
                _write(output, files)
                summary.add(output)
                told(batch, summary)
    summary.model = engine.engine.model
    summary.seconds = clock() - began
    if trainer is not None:
        summary.progress = trainer.progress
        if outputs.model is not None:
            trainer.resolve()
            summary.model = trainer.model()
            _replace(outputs.model, encode(Checkpoint.beginning(summary.model)))
    return summary


@contextmanager
def _open(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
        return
    with path.open("wb") as file:
        yield file


def _write(output: Output, files: Iterable[IO[bytes] | None]) -> None:
    lines = ([value + b"\n" for _, value in output.intents], output.scores, map(_dead_line, output.dead))
    for file, found in zip(files, lines, strict=True):
        if file is not None:
            file.writelines(found)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def reason_of(letter: Record) -> str:
    """Why a record was refused, without the particulars of the one record."""
    reason = dict(letter.headers)["reason"].decode()
    return _PARTICULARS.sub("…", reason)


def _dead_line(letter: Record) -> bytes:
    line: dict[str, object] = {name: value.decode(errors="replace") for name, value in letter.headers}
    line |= {name: int(str(line[name])) for name in ("partition", "offset")}
    line |= {"key": _text(letter.key), **_value(letter.value)}
    return orjson.dumps(line) + b"\n"


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")


def _value(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": b64encode(value).decode()}


class _Item(msgspec.Struct):
    category: str | None = None
    name: str | None = None


class _Words(msgspec.Struct):
    category: str | None = None
    query: str | None = None
    name: str | None = None
    items: list[_Item] = []


class Seen:
    """Categories, searches and product names of a recording, to find rules of a catalogue that catch none of them."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Words)
        self.categories: set[str] = set()
        self.queries: set[str] = set()
        self.names: set[str] = set()

    def watching(self, batches: Iterable[RecordingBatch]) -> Iterator[RecordingBatch]:
        """The same batches, their categories, searches and names noted."""
        for batch in batches:
            self._note(batch)
            yield batch

    def _note(self, batch: RecordingBatch) -> None:
        for value in batch.values:
            try:
                words = self._decoder.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            self.categories |= {found for found in (words.category, *(item.category for item in words.items)) if found}
            if words.query:
                self.queries.add(words.query)
            self.names |= {found for found in (words.name, *(item.name for item in words.items)) if found}

    def idle_rules(self, path: Path, catalogue: Catalogue) -> list[str]:
        """Where and which rules of the catalogue at `path` caught nothing: likely mistakes."""
        lines = path.read_text(encoding="utf-8").splitlines()
        found = []
        for name in catalogue.idle_rules(self.categories, self.queries, self.names):
            header = re.compile(rf"""\s*\[\s*intent\s*\.\s*["']?{re.escape(name)}["']?\s*\]""")
            number = next((n for n, line in enumerate(lines, 1) if header.match(line)), 1)
            found.append(f"{path}:{number}: [intent.{name}] caught nothing in this recording")
        return found
