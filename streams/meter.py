"""Kinds of metrics, and the meter that counts them for Prometheus.

A metric is defined once (`metrics.py`) as a value of one of these kinds, and counted by naming that value: a misspelt
metric or label is an error of types, not a new time series. Labels take only the values of their definition, which are
there from the start at 0, and partitions only while they are assigned: so the number of series is bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import prometheus_client as prometheus

Label = TypeVar("Label", bound=str)

PARTITION: Final = "partition"


@dataclass(frozen=True, slots=True)
class Counter:
    """Only goes up."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class CounterBy(Generic[Label]):
    """Counters that only go up, one for each of the `values` of a label."""

    name: str
    meaning: str
    label: str
    values: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Gauge:
    """Goes up and down; not shown before it is first set."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class GaugeByPartition:
    """Goes up and down, for each partition that is assigned."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How values spread over buckets with these upper bounds."""

    name: str
    meaning: str
    bounds: tuple[float, ...]


Definition = Counter | CounterBy[Any] | Gauge | GaugeByPartition | Histogram
Kind = TypeVar("Kind", Counter, Gauge, GaugeByPartition, Histogram)


@dataclass(frozen=True, slots=True)
class Table:
    """The definitions of one kind of process, in order."""

    definitions: list[Definition] = field(default_factory=list)

    def has(self, definition: Kind) -> Kind:
        """Add a definition, and give it back."""
        self.definitions.append(definition)
        return definition

    def has_by(self, name: str, meaning: str, label: str, values: tuple[Label, ...]) -> CounterBy[Label]:
        """Add the definition of a counter with a label, and give it back."""
        definition = CounterBy(name, meaning, label, values)
        self.definitions.append(definition)
        return definition


class Meter:
    """Counts what is defined in `tables`; a registry of its own. What is not defined in them is a KeyError."""

    def __init__(self, *tables: Table) -> None:
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the series
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        self._counters: dict[str, prometheus.Counter] = {}
        self._labelled: dict[tuple[str, str], prometheus.Counter] = {}
        self._gauges: dict[str, prometheus.Gauge] = {}
        self._histograms: dict[str, prometheus.Histogram] = {}
        self._shown: set[str] = set()
        self._partitions: dict[str, set[int]] = {}
        for table in tables:
            for definition in table.definitions:
                self._make(definition)

    def _make(self, it: Definition) -> None:
        match it:
            case Counter():
                self._counters[it.name] = prometheus.Counter(it.name, it.meaning, registry=self.registry)
            case CounterBy():
                counter = prometheus.Counter(it.name, it.meaning, [it.label], registry=self.registry)
                for value in it.values:
                    self._labelled[it.name, value] = counter.labels(value)
            case Gauge():  # registered when it is first set: a 0 that nobody measured would lie
                self._gauges[it.name] = prometheus.Gauge(it.name, it.meaning, registry=None)
            case GaugeByPartition():
                self._gauges[it.name] = prometheus.Gauge(it.name, it.meaning, [PARTITION], registry=self.registry)
            case Histogram():
                self._histograms[it.name] = prometheus.Histogram(
                    it.name, it.meaning, buckets=it.bounds, registry=self.registry
                )

    def add(self, counter: Counter, amount: float = 1.0) -> None:
        """Count `amount` more."""
        self._counters[counter.name].inc(amount)

    def add_by(self, counter: CounterBy[Label], value: Label, amount: float = 1.0) -> None:
        """Count `amount` more of one value of the label."""
        self._labelled[counter.name, value].inc(amount)

    def set(self, gauge: Gauge, value: float) -> None:
        """Set what a gauge shows."""
        found = self._gauges[gauge.name]
        if gauge.name not in self._shown:
            self._shown.add(gauge.name)
            self.registry.register(found)
        found.set(value)

    def set_by_partition(self, gauge: GaugeByPartition, values: Mapping[int, float]) -> None:
        """Set what a gauge shows for these partitions, and forget the others."""
        found, before = self._gauges[gauge.name], self._partitions.get(gauge.name, set())
        for partition in before - values.keys():
            found.remove(str(partition))
        for partition, value in values.items():
            found.labels(str(partition)).set(value)
        self._partitions[gauge.name] = set(values)

    def observe(self, histogram: Histogram, values: Iterable[float]) -> None:
        """Count each of `values` into its bucket."""
        found = self._histograms[histogram.name]
        for value in values:
            found.observe(value)

    def value(self, definition: Definition, label: str = "") -> float:
        """What a metric shows now (of a histogram, how many values it has seen); 0 where there is nothing yet."""
        labels = {}
        if isinstance(definition, CounterBy):
            labels = {definition.label: label}
        elif isinstance(definition, GaugeByPartition):
            labels = {PARTITION: label}
        name = definition.name + ("_count" if isinstance(definition, Histogram) else "")
        return self.registry.get_sample_value(name, labels) or 0.0
