"""What is counted is what is shown, and the number of time series is bounded by the definitions."""

from typing import Literal, get_args

import pytest
from prometheus_client import generate_latest

from streams.meter import Counter, CounterBy, Gauge, GaugeByPartition, Histogram, Meter, Table

Colour = Literal["red", "green"]

TABLE = Table()
SEEN = TABLE.has(Counter("seen_total", "Seen."))
BY: CounterBy[Colour] = TABLE.has_by("by_total", "By colour.", "colour", get_args(Colour))
HOT = TABLE.has(Gauge("hot", "How hot."))
LAG = TABLE.has(GaugeByPartition("lag", "How late."))
SPREAD = TABLE.has(Histogram("spread", "How spread.", (1, 10)))


@pytest.fixture
def meter() -> Meter:
    """A meter of its own."""
    return Meter(TABLE)


def shown(meter: Meter) -> dict[str, float]:
    """What Prometheus would read, without what is known of the process by itself."""
    lines = generate_latest(meter.registry).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith(("#", "process_"))]
    return {name: float(value) for name, value in pairs}


def test_from_the_start(meter: Meter) -> None:
    """Counters are there at 0, each value of a label too, so that a first increase is one; unset gauges are not."""
    assert shown(meter) == {
        "seen_total": 0,
        'by_total{colour="red"}': 0,
        'by_total{colour="green"}': 0,
        'spread_bucket{le="1.0"}': 0,
        'spread_bucket{le="10.0"}': 0,
        'spread_bucket{le="+Inf"}': 0,
        "spread_count": 0,
        "spread_sum": 0,
    }


def test_counted(meter: Meter) -> None:
    """Each kind shows what it was told."""
    meter.add(SEEN, 3)
    meter.add(SEEN)
    meter.add_by(BY, "green", 2)
    meter.set(HOT, 5)
    meter.set(HOT, 4)
    meter.observe(SPREAD, [1, 2, 50])
    found = shown(meter)
    assert (found["seen_total"], found['by_total{colour="green"}'], found['by_total{colour="red"}']) == (4, 2, 0)
    assert (found["hot"], found['spread_bucket{le="1.0"}'], found['spread_bucket{le="10.0"}']) == (4, 1, 2)
    assert (found["spread_count"], found["spread_sum"]) == (3, 53)
    assert (meter.value(SEEN), meter.value(BY, "green"), meter.value(SPREAD), meter.value(HOT)) == (4, 2, 3, 4)


def test_partitions_that_went_are_gone(meter: Meter) -> None:
    """Only partitions that are assigned now have a series, however many there have been."""
    for first in range(1000):
        meter.set_by_partition(LAG, {first: 7, first + 1: 0})
    assert {name for name in shown(meter) if name.startswith("lag")} == {
        'lag{partition="999"}',
        'lag{partition="1000"}',
    }
    meter.set_by_partition(LAG, {})
    assert not [name for name in shown(meter) if name.startswith("lag")]


def test_other_labels_make_no_series(meter: Meter) -> None:
    """A value that the definition does not have, or a metric of another table, is an error and no new series."""
    before = shown(meter)
    with pytest.raises(KeyError):
        meter.add_by(BY, "blue")  # type: ignore[misc]  # what mypy refuses, too
    with pytest.raises(KeyError):
        meter.add(Counter("other_total", "Of another process."))
    assert shown(meter) == before


def test_meters_share_nothing() -> None:
    """Two processes' meters in one test do not count for each other."""
    one, other = Meter(TABLE), Meter(TABLE)
    one.add(SEEN)
    assert (one.value(SEEN), other.value(SEEN)) == (1, 0)
