"""A line of the log is one JSON object: whole, bounded, with its place in the topic, and without secrets."""

import asyncio
import json
import logging
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from streams.commands import logs
from streams.log_lines import MAX_ERROR, MAX_MESSAGE, JsonLines, stand_at, stand_nowhere
from streams.plain_text import Hiding, PlainLines


class Kept(logging.Handler):
    """Keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.text.append(self.format(record))

    def lines(self) -> list[dict[str, Any]]:
        """As objects."""
        return [json.loads(text) for text in self.text]


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Kept:
    """What is logged to `log`, nowhere else."""
    handler = Kept()
    log.handlers, log.propagate = [handler], False
    log.setLevel("INFO")
    return handler


log = logging.getLogger("tests.log_lines")


def test_one_object_a_line(kept: Kept) -> None:
    """Time with zone, level, logger and message; what a customer wrote cannot begin a second line."""
    log.warning("refused %s", 'a "name"\nERROR forged\r\u2028')
    (line,) = kept.lines()
    assert (line["level"], line["logger"], line["message"]) == (
        "warning",
        "tests.log_lines",
        'refused a "name"\nERROR forged\r\u2028',
    )
    assert line["time"].endswith("+00:00") and len(line["time"]) == len("2026-01-01T00:00:00.000+00:00")
    assert "\n" not in kept.text[0] and "\r" not in kept.text[0]
    assert line.keys() == {"time", "level", "logger", "message"}


def test_a_traceback_is_a_field(kept: Kept) -> None:
    """An exception is on the same line, its middle left out when it is long."""
    try:
        raise ValueError("x" * 50_000)
    except ValueError:
        log.exception("it broke")
    (line,) = kept.lines()
    assert line["error"].startswith("Traceback") and line["error"].endswith("xxx")
    assert len(line["error"]) <= MAX_ERROR


def test_bounded(kept: Kept) -> None:
    """A message is cut, whatever is put into it."""
    log.warning("%s", "x" * 10**6)
    assert len(kept.lines()[0]["message"]) <= MAX_MESSAGE


def test_the_place_that_is_worked(kept: Kept) -> None:
    """Topic, partition and offset of the chunk that the task works are in each of its lines; what a call says wins."""
    stand_at("clickstream", 3, 40)
    log.info("within")
    log.info("other", extra={"partition": 5, "offset": 7, "lag": 2})
    stand_at("clickstream", 4)
    log.info("next")
    stand_nowhere()
    log.info("outside")
    places = [{key: line[key] for key in line.keys() - {"time", "level", "logger", "message"}} for line in kept.lines()]
    assert places == [
        {"topic": "clickstream", "partition": 3, "offset": 40},
        {"topic": "clickstream", "partition": 5, "offset": 7, "lag": 2},
        {"topic": "clickstream", "partition": 4},
        {},
    ]


def test_a_place_is_not_left_behind(kept: Kept) -> None:
    """A task that was begun at a place and outlives it does not go on to name it."""

    async def lasting(go: asyncio.Event) -> None:
        log.info("at once")
        await go.wait()
        log.info("later")

    async def work() -> None:
        go = asyncio.Event()
        stand_at("clickstream", 3, 40)
        task = asyncio.create_task(lasting(go))
        await asyncio.sleep(0)
        stand_nowhere()
        go.set()
        await task

    asyncio.run(work())
    first, second = kept.lines()
    assert first["partition"] == 3 and "partition" not in second


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:geheim@redis:6379/0 is away",
        "rediss://:geheim@redis",
        "s3://key:geheim@bucket/models",
        "Connection(host=r, password=geheim, db=0)",
        "{'sasl_plain_password': 'geheim', 'x': 1}",
        "https://host/?token=geheim&x=1",
        "unix:///run/redis.sock?password=geheim",
    ],
)
def test_no_secrets(text: str, kept: Kept) -> None:
    """Passwords in URLs and in printed options do not reach the log, nor by a traceback."""
    assert "geheim" not in Hiding([]).hide(text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("cannot connect to %s", text)
    assert "geheim" not in kept.text[0]
    for_people = PlainLines("%(message)s").format(logging.LogRecord("x", logging.INFO, "", 1, text, (), None))
    assert "geheim" not in for_people
    assert Hiding([]).hide("redis://redis:6379/0 at 3@4") == "redis://redis:6379/0 at 3@4"


@pytest.mark.parametrize(("terminal", "form", "is_json"), [
    (True, "auto", False), (False, "auto", True), (True, "json", True), (False, "text", False),
])  # fmt: skip
def test_for_whom(
    terminal: bool,
    form: logs.Format,
    is_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """People read text at a terminal; what is collected is JSON, unless told otherwise."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    root.handlers = []
    try:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        logs.log_to_stderr("info", form)
        logging.getLogger("x").info("hello")
        logging.getLogger("x").debug("not this")
    finally:
        root.handlers = before
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("{") == is_json
    assert "hello" in line


@pytest.mark.parametrize("command", ["worker", "train"])
def test_the_option(command: str) -> None:
    """Both commands take it."""
    from streams.cli import cli

    assert "--log-format [auto|text|json]" in CliRunner().invoke(cli, [command, "--help"]).stdout
