"""Every metric is named once and well, its labels have few values, and a misspelt one is an error of types."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import orjson
from mypy import api as mypy

from intents.catalog import Catalogue
from streams import metrics
from streams.meter import Counter, CounterBy, Gauge, GaugeByPartition, Histogram, Meter
from streams.metrics import BOTH, TRAINER, WORKER, Refused, refused
from streams.wire import MAX_RECORD_BYTES, Decoder, Records

ROOT = Path(__file__).parents[2]
ALL = [*BOTH.definitions, *WORKER.definitions, *TRAINER.definitions]


def test_names() -> None:
    """Unique, in our own namespace, as Prometheus wants them: counters end in _total, and a unit comes last."""
    names = [it.name for it in ALL]
    assert len(set(names)) == len(names) > 25
    assert all(re.fullmatch(r"micro_intents_[a-z_]+", name) for name in names)
    for it in ALL:
        assert it.name.endswith("_total") == isinstance(it, (Counter, CounterBy)), it.name
        assert it.meaning.endswith(".") and len(it.meaning) < 120


def test_all_are_of_one_module() -> None:
    """Every definition is a name of the module, so that it can be counted by that name."""
    named = [
        it for it in vars(metrics).values() if isinstance(it, (Counter, CounterBy, Gauge, GaugeByPartition, Histogram))
    ]
    assert sorted(it.name for it in named) == sorted(it.name for it in ALL)


def test_few_series() -> None:
    """A worker with 100 partitions shows some hundreds of time series, and no more ever."""
    meter = Meter(BOTH, WORKER)
    meter.set_by_partition(metrics.LAG, dict.fromkeys(range(100), 1.0))
    for it in ALL:
        if isinstance(it, Gauge) and it not in TRAINER.definitions:
            meter.set(it, 1)
    samples = [sample for family in meter.registry.collect() for sample in family.samples]
    assert 100 < len(samples) < 220
    assert {label for sample in samples for label in sample.labels} == {
        "le",
        "partition",
        "reason",
        "service",
        "status",
        "found",
    }


def reasons() -> set[str]:
    """Every reason for which the decoder refuses, in its own words."""
    good = {"event_id": "e", "customer_id": "c", "kind": "view", "time": 5}
    changes: list[dict[str, object]] = [
        {"kind": "dance"}, {"kind": "merge"}, {"customer_id": "d"}, {"time": 10**12}, {"time": -1},
        {"time": "yesterday"}, {"time": "1960-01-01T00:00:00Z"}, {"event_id": ""}, {"query": "q" * 2_000},
        {"price": "1"}, {"items": [{}] * 101},
    ]  # fmt: skip
    values: list[bytes | None] = [
        b"{",
        b"",
        None,
        b"\xff",
        b"[" * 5_000,
        b"{}",
        b"[]",
        b"x" * (MAX_RECORD_BYTES + 1),
        *(orjson.dumps(good | change) for change in changes),
    ]
    count = len(values)
    records = Records("clickstream", 0, 0, count, [b"c"] * count, values, np.arange(count), np.full(count, 1_000))
    chunk, found = Decoder(Catalogue()).decode(records)
    assert len(chunk) == 0 and len(found) == count
    return {refusal.reason for refusal in found}


def test_every_refusal_has_a_label() -> None:
    """Whatever the reason says in words, its label is one of a few; only what nobody knows yet is `other`."""
    labels = {refused(reason) for reason in (*reasons(), "unverifiable_late", "bug: ValueError")}
    assert labels == set(get_args(Refused)) - {"other"}
    assert refused("a customer's name, or whatever else comes") == "other"


def test_a_typo_is_an_error_of_types(tmp_path: Path) -> None:
    """A misspelt metric, a misspelt label, a gauge that is counted: mypy refuses each, and only those."""
    lines = [
        "from streams import metrics",
        "from streams.meter import Meter",
        "meter = Meter(metrics.BOTH)",
        'meter.add_by(metrics.REFUSALS, "not_json")',
        "meter.add(metrics.EVENT)",
        'meter.add_by(metrics.REFUSALS, "not_jason")',
        "meter.add(metrics.LAG)",
    ]
    (tmp_path / "typo.py").write_text("\n".join(lines))
    options = ["--strict", "--no-error-summary", "--follow-imports=silent", "--cache-dir", str(ROOT / ".mypy_cache")]
    out, _, _ = mypy.run([*options, str(tmp_path / "typo.py")])
    assert [int(number) for number in re.findall(r"typo\.py:(\d+): error", out)] == [5, 6, 7], out
