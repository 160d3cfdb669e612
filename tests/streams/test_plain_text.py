"""Text that is safe to show: one line, bounded, without secrets."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from streams.checkup import examine
from streams.plain_text import LONGEST, LONGEST_TRACE, Hiding, PlainLines, one_line, secrets_in, without_credentials
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
SECRET = "ge/heim@%1 ü"


def test_nothing_leaves_its_line() -> None:
    """Line ends of every kind, terminal codes, text direction and halves of characters are written as escapes."""
    hostile = "a\nb\r\x1b[2J\x00\x85\u2028\u202e\ud800\x7fz ü"
    assert one_line(hostile) == "a\\nb\\r\\u001b[2J\\u0000\\u0085\\u2028\\u202e\\ud800\\u007fz ü"


def test_a_line_of_json_stays_one() -> None:
    """The escapes are JSON's, so that one_line does not spoil what is JSON already."""
    hostile = "\x7f\x85\x9b\u2028\U000e0001 ü"
    line = one_line(json.dumps({"message": hostile}, ensure_ascii=False))
    assert line.isprintable() and json.loads(line) == {"message": hostile}


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b" * 1_000_000, "\x1b" * 999])
def test_nothing_is_too_long(text: str) -> None:
    """Of long text beginning and end are left, also where escapes make it longer."""
    shown = one_line(text, 1_000)
    assert len(shown) <= 1_000 and " left out)…" in shown
    assert shown[0] in "x\\" and shown[-3:] in ("xxx", "01b")


@pytest.mark.parametrize(
    ("address", "shown", "secrets"),
    [
        ("localhost:9092", "localhost:9092", []),
        ("h1:1,h2:2", "h1:1,h2:2", []),
        ("sasl_ssl://u:geheim@h:1,i:2?ca=/a.pem", "sasl_ssl://…@h:1,i:2?ca=/a.pem", ["geheim"]),
        ("sasl_ssl://u:ge@he:im@h:1", "sasl_ssl://…@h:1", ["ge@he:im"]),
        ("u:geheim@h:1", "…@h:1", ["geheim"]),
        ("redis://:geheim@h:6379/1", "redis://…@h:6379/1", ["geheim"]),
        ("redis://h/0?password=geheim&db=1", "redis://h/0?password=…&db=1", ["geheim"]),
        ("unix://u:geheim@/run/redis.sock", "unix://…@/run/redis.sock", ["geheim"]),
        ("s3://key:geheim@bucket/models", "s3://…@bucket/models", ["geheim"]),
        ("/data/models@v2", "/data/models@v2", []),
    ],
)
def test_addresses_are_shown_without_credentials(address: str, shown: str, secrets: list[str]) -> None:
    """User, password and secret options are left out of every address that a setting may hold."""
    assert without_credentials(address) == shown
    assert secrets_in(address) == secrets


def test_a_secret_is_hidden_in_every_spelling() -> None:
    """As it is, percent-encoded in either way, and as repr writes it; a short one would be found everywhere."""
    hiding = Hiding([SECRET, "abc"])
    spelled = f"{SECRET} ge/heim%40%251%20%C3%BC ge%2Fheim%40%251%20%C3%BC ge%2Fheim%40%251+%C3%BC {SECRET!r} abc"
    assert hiding.hide(spelled) == "… … … … '…' abc"
    assert Hiding(["ge%2Fheim%40%251%20%C3%BC"]).hide(SECRET) == "…"
    assert Hiding([]).hide(SECRET) == SECRET


def test_a_record_of_the_log_is_one_line() -> None:
    """Message and traceback of a record are one bounded line without secrets."""
    lines = PlainLines("%(levelname)s %(message)s", [SECRET])
    try:
        raise ValueError(f"{SECRET}\n2026-01-01 forged \x1b[31m" + "x" * 100_000)
    except ValueError:
        traced = logging.LogRecord("a", logging.ERROR, __file__, 1, "bad %s", ("b\nc",), sys.exc_info())
    shown = lines.format(traced)
    assert shown.startswith("ERROR bad b\\nc\\nTraceback (most recent call last):\\n")
    assert shown.isprintable() and len(shown) <= LONGEST_TRACE and SECRET not in shown
    plain = lines.format(logging.LogRecord("a", logging.INFO, __file__, 1, "%s", ("y" * 100_000,), None))
    assert len(plain) <= LONGEST


def test_an_unexpected_end_shows_no_secret() -> None:
    """The traceback of a program that ends unexpectedly is printed without the secrets."""
    program = "import sys; from streams.plain_text import hide_in_tracebacks as h; h([sys.argv[1]]); int(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, "geheim-7"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "invalid literal for int() with base 10: '…'" in done.stderr and "geheim-7" not in done.stderr


def test_no_finding_of_the_doctor_shows_a_secret() -> None:
    """The model store's address is part of findings, its password is not."""
    settings = Settings(broker="127.0.0.1:1", redis_url="redis://127.0.0.1:1", model_store="nowhere://u:geheim@b/m")
    found = {finding.check: finding for finding in examine(settings)}
    assert found["model"].found.startswith("nowhere://…@b/m: ")
    assert "geheim" not in str(found)
