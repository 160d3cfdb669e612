"""What is written for operators is true: every metric is explained, and every alert can fire."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams import retry, stall
from streams.endpoints import Endpoints
from streams.meter import Counter, CounterBy, Definition, Gauge, GaugeByPartition, Histogram
from streams.metrics import BOTH, TRAINER, WORKER
from streams.monitor import HEALTHY_S

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "operations.md").read_text(encoding="utf-8")
GROUPS: list[dict[str, Any]] = yaml.safe_load((DOCS / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
OF = {it.name: it for table in (BOTH, WORKER, TRAINER) for it in table.definitions}


def kind(it: Definition) -> str:
    """A metric's kind, with its label."""
    match it:
        case Counter():
            return "counter"
        case CounterBy():
            return f"counter by `{it.label}`: {', '.join(it.values)}"
        case Gauge():
            return "gauge"
        case GaugeByPartition():
            return "gauge by `partition`"
        case Histogram():
            return "histogram"


def table() -> str:
    """The table of metrics, as it must stand in the text."""
    lines = ["| metric | kind | of | meaning |", "|---|---|---|---|"]
    for who, definitions in (
        ("both", BOTH.definitions),
        ("worker", WORKER.definitions),
        ("trainer", TRAINER.definitions),
    ):
        lines += [f"| `{it.name}` | {kind(it)} | {who} | {it.meaning} |" for it in definitions]
    return "\n".join(lines) + "\n"


def test_every_metric_is_explained() -> None:
    """The table between the markers is the definitions'; after a change, put in what `table()` gives."""
    (found,) = re.findall(r"<!-- metrics -->\n(.*?)<!-- /metrics -->", TEXT, re.DOTALL)
    assert found == table()


def series(name: str) -> str | None:
    """The metric that a time series belongs to, None if there is none."""
    if name in OF:
        return None if isinstance(OF[name], Histogram) else name
    base = re.sub(r"_(bucket|count|sum)$", "", name)
    return base if isinstance(OF.get(base), Histogram) else None


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_alerts_name_what_there_is(rule: dict[str, Any]) -> None:
    """Every series and every label value in an expression exists; parentheses close; there are words what to do."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    expression = rule["expr"]
    named = re.findall(r"micro_intents_\w+", expression)
    assert named or expression.startswith("up{")
    assert [name for name in named if series(name) is None] == []
    for name, label, value in re.findall(r'(micro_intents_\w+)\{(\w+)="([^"]*)"', expression):
        definition = OF[str(series(name))]
        assert label == "job" or (
            isinstance(definition, CounterBy) and label == definition.label and value in definition.values
        )
    for inside in re.findall(r"(?:rate|increase)\((micro_intents_\w+)", expression):
        assert inside.endswith(("_total", "_bucket", "_count", "_sum")), "only counters have a rate"
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert len(rule["annotations"]["summary"]) > 20 and len(rule["annotations"]["do"]) > 20


def test_alerts_are_of_all_that_goes_wrong() -> None:
    """No alert comes twice, and nothing that is counted because it is wrong is left without one."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    named = {series(name) for rule in RULES for name in re.findall(r"micro_intents_\w+", rule["expr"])}
    only_shown = {
        "micro_intents_chunk_records",
        "micro_intents_snapshot_offset",
        "micro_intents_state_bytes_total",
        "micro_intents_model_ready",
        "micro_intents_threshold",
        "micro_intents_examples_total",
        "micro_intents_positive_labels",
        "micro_intents_negative_labels",
        "micro_intents_log_loss",
        "micro_intents_fallback_log_loss",
        "micro_intents_auc",
        "micro_intents_average_precision",
    }
    assert OF.keys() - named == only_shown


def test_numbers_in_the_text() -> None:
    """Bounds that it states are the program's."""
    assert f"| {retry.RETRY_FOR_S:.0f} s | Redis" in TEXT
    assert f"| {stall.STALL_S:.0f} s | a partition" in TEXT and f"| {stall.STALL_S:.0f} s | the event loop" in TEXT
    assert f"nothing was committed of it for {stall.READY_S:.0f} s" in TEXT
    assert f"silent for {HEALTHY_S:.0f} s" in TEXT
    paths = re.findall(r"^\| `(/\w+)` \|", TEXT, re.MULTILINE)
    assert paths == ["/healthz", "/readyz", "/metrics"] and Endpoints.__module__ == "streams.endpoints"
