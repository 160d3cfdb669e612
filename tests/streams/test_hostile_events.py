"""What comes from outside cannot forge a line of the log, move a terminal's cursor, or fill a disk."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from intents.model_store import ModelStore
from sinks.records import Record
from streams.cli import cli
from streams.dead_letters import DeadLetters
from streams.plain_text import LONGEST, LONGEST_TRACE, PlainLines
from streams.train import Training, resume
from streams.wire import Records
from tests.intents.steered import T
from tests.intents.test_training import HORIZON
from tests.streams.test_train import EXAMPLES, NEVER
from tests.streams.working import DEAD, StandIn, TroubledStore, run

FORGED = "x\n2026-11-24 00:00:00 ERROR root: forged\r\x1b[2J\x1b]0;title\x07\x9b31m\u2028\u202eend"
LONG = FORGED + "z" * (250 - len(FORGED))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the log of a worker would print, from debug on."""
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    handler.setFormatter(PlainLines("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before, root.level = root.level, logging.DEBUG
    root.addHandler(handler)
    yield printed
    root.removeHandler(handler)
    root.level = before


def lines_of(log: io.StringIO) -> list[str]:
    """The lines, each of them checked: ours, printable, bounded."""
    lines = log.getvalue().removesuffix("\n").split("\n")
    for line in lines:
        assert line.startswith(("DEBUG ", "INFO ", "WARNING ", "ERROR ", "CRITICAL ")), line[:200]
        assert line.isprintable()
        assert len(line) <= (LONGEST_TRACE if "Traceback" in line else LONGEST) + 100
    return lines


def hostile_records() -> list[tuple[bytes | None, bytes | None]]:
    """Events whose every text is hostile, and records that are none."""
    usual = {"event_id": LONG, "customer_id": LONG, "kind": "view", "time": T, "category": LONG, "product_id": LONG}
    key = LONG.encode()
    events = [usual, usual | {"kind": LONG}, usual | {"time": LONG}, usual | {LONG: LONG}, usual | {"event_id": ""}]
    events += [usual | {"event_id": f"e{LONG}"[:256], "kind": "cart_add", "time": T + 1}]
    records: list[tuple[bytes | None, bytes | None]] = [(key, orjson.dumps(event)) for event in events]
    records.append((FORGED.encode() * 1_000, orjson.dumps(usual | {"event_id": "other"})))
    records += [(key, FORGED.encode() * 100), (key, FORGED.encode() * 30_000), (key, None), (b"\xff\n", b"\xff\n")]
    return records


def test_a_workers_log(log: io.StringIO) -> None:
    """Hostile events, and one that makes detect raise with the customer's name: every line stays one, and bounded."""
    store = TroubledStore()
    store.poison = LONG
    app = StandIn(hostile_records())
    run(app, store)
    lines = lines_of(log)
    assert any("ZeroDivisionError" in line and "forged" in line for line in lines)
    assert not any(line.startswith("2026") for line in lines)
    assert len(app.dead()) == 11


def test_reasons_of_dead_letters() -> None:
    """The reason that a dead letter's header gives, which consumers will log, is one bounded line."""
    app = StandIn(hostile_records())
    run(app, TroubledStore())
    reasons = [reason for _, reason in app.dead()]
    assert len(reasons) == 8
    for reason in reasons:
        assert reason.isprintable() and len(reason) <= 1_050
    names = {name for record in app.of(DEAD) for name, _ in record.headers}
    assert names == {"topic", "partition", "offset", "reason", "length", "sha256", "key_length", "key_sha256"}


def test_any_reason_is_made_one_line() -> None:
    """Also a reason that quotes a record as it is, which no decoder of ours does, stays one line in the header."""
    records = Records("clickstream", 0, 0, 1, [b"k"], [b"v"], np.arange(1), np.full(1, -1))
    (letter,) = DeadLetters(DEAD, 10).of(records, [(0, FORGED * 100)])
    reason = dict(letter.headers)["reason"].decode()
    assert reason.isprintable() and len(reason) <= 1_050


def test_a_trainers_log(log: io.StringIO, tmp_path: Path) -> None:
    """Records on examples that are none are passed over in one bounded line each."""
    store = ModelStore(str(tmp_path / "models"))
    hostile = [FORGED.encode(), FORGED.encode() * 100_000, b"\x93" + FORGED.encode()]
    app = StandIn([(None, value) for value in hostile], EXAMPLES)
    made = Training(app.app, resume(store, HORIZON), store, NEVER)
    asyncio.run(app.deliver(made.work))
    assert sum("are passed over" in line for line in lines_of(log)) == 3


def test_what_kafka_refuses(log: io.StringIO) -> None:
    """An error that quotes a record is logged as one bounded line too."""

    class Quoting(Exception):
        pass

    app = StandIn([(b"c1", orjson.dumps({"event_id": "e", "customer_id": "c1", "kind": "view", "time": T}))])

    def refuse(record: Record) -> Exception | None:
        return Quoting(FORGED * 10_000) if record.topic == "examples" else None

    app.refuse = refuse
    with pytest.raises(Exception, match="cannot be published") as stopped:
        run(app, TroubledStore())
    logging.getLogger("streams.running").critical("worker crashed", exc_info=stopped.value)
    assert lines_of(log)[-1].startswith("CRITICAL streams.running: worker crashed\\nTraceback")


@pytest.mark.parametrize(
    "line", ["[intent.\x1b[31mtea]", '[intent.tea]\ncategory = ["\x1b[31m"', '[journey.a]\nstages = ["\x9b31m"]']
)
def test_a_hostile_catalogue(tmp_path: Path, line: str) -> None:
    """What a command says about a catalogue does not hold its terminal codes."""
    path = tmp_path / "catalogue.toml"
    path.write_text(line)
    done = CliRunner().invoke(cli, ["tail", "--broker", "127.0.0.1:1", "--catalog", str(path)])
    assert done.exit_code == 1 and "catalogue.toml" in done.output
    assert all(each.isprintable() for each in done.output.splitlines())
