"""A seeded, made-up recording of a shop's customers, with the truth about what they wanted beside it."""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Final

import orjson

from intents.truth import TrueSpan, to_line
from streams.shopper import Event, Shopper

START_MS: Final = 1_717_372_800_000
"""2024-06-03 00:00 UTC, a Monday: when every simulated recording begins."""
NOTE: Final = "Made up by `micro-intents simulate`: no real customer, shop or purchase is in it."

_HOUR_MS: Final = 60 * 60_000
_FIRST_CUSTOMER: Final = 4112
_BUSY: Final = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 11, 13, 12, 10, 10, 11, 13, 16, 20, 22, 18, 11, 5)
"""How busy each hour of the day is (UTC)."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written: events and customers, true spans, and the first and last event's time (UTC ms)."""

    events: int
    customers: int
    spans: int
    first_ms: int
    last_ms: int


def truth_path(recording: Path) -> Path:
    """Where the truth of a simulated recording lies: `demo.jsonl.gz` has `demo.truth.jsonl`."""
    return recording.with_name(recording.name.removesuffix(".gz").removesuffix(".jsonl") + ".truth.jsonl")


def simulate(
    out: Path | IO[bytes],
    *,
    customers: int = 600,
    events: int = 20_000,
    days: float = 2.5,
    seed: int = 7,
    truth: IO[bytes] | None = None,
) -> Simulated:
    """Write `events` events in order of time, the first line a header that says they are made up.

    To a path (gzip if it ends in .gz) with the truth at truth_path, or to open binary files. The same arguments write
    the same bytes. Raises ValueError for counts that are not positive.
    """
    if customers < 1 or events < 1 or days <= 0:
        raise ValueError("customers, events and days must be positive")
    rows, spans = _play(Random(seed), customers, events, days)
    about = {"made_up": True, "note": NOTE, "seed": seed, "customers": customers, "events": events, "days": days}
    lines = [orjson.dumps({"recording": about})]
    lines += [orjson.dumps({"event_id": f"sim{seed}-{n:06d}", **event}) for n, (_, event) in enumerate(rows, 1)]
    told = [to_line(span) for span in spans]
    if isinstance(out, Path):
        _write(out, lines)
        _write(truth_path(out), told)
    else:
        _put(out, lines)
        if truth is not None:
            _put(truth, told)
    buyers = {event["customer_id"] for _, event in rows}
    return Simulated(len(rows), len(buyers), len(spans), rows[0][0], rows[-1][0])


def _play(random: Random, customers: int, events: int, days: float) -> tuple[list[tuple[int, Event]], list[TrueSpan]]:
    """Let visits begin until there are enough events, then put all in order of time and cut."""
    shoppers = [Shopper(random, str(_FIRST_CUSTOMER + number)) for number in range(customers)]
    eagerness = [shopper.eagerness for shopper in shoppers]
    hours = range(max(1, round(days * 24)))
    busy = [_BUSY[hour % len(_BUSY)] for hour in hours]
    waiting = list(shoppers)
    written = 0
    while written < events:
        # Everybody comes once, then the eager ones again.
        shopper = waiting.pop() if waiting else random.choices(shoppers, eagerness)[0]
        before = len(shopper.events)
        shopper.visit(START_MS + int((random.choices(hours, busy)[0] + random.random()) * _HOUR_MS))
        written += len(shopper.events) - before
    rows = sorted((row for shopper in shoppers for row in shopper.events), key=lambda row: row[0])[:events]
    spans = [span for shopper in shoppers for span in shopper.spans if span.from_ms <= rows[-1][0]]
    return rows, sorted(spans, key=lambda span: span.from_ms)


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("wb") as raw:
        if not path.name.endswith(".gz"):
            _put(raw, lines)
            return
        # Neither name nor time in gzip's header: the same arguments write the same bytes.
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            _put(packed, lines)


def _put(out: IO[bytes] | gzip.GzipFile, lines: Iterable[bytes]) -> None:
    out.writelines(line + b"\n" for line in lines)
