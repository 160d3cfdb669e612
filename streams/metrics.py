"""Every metric, once: its name, its kind and what it means. `docs/operations.md` shows this table to people."""

from typing import Final, Literal, get_args

from intents.intent import Status
from streams.meter import Counter, CounterBy, Gauge, GaugeByPartition, Histogram, Table

Refused = Literal[
    "not_json", "invalid", "too_long", "wrong_key", "time", "reserved_kind", "unverifiable_late", "bug", "other"
]
"""Why records are refused, as a label: few values, whatever the reason says in words."""

Service = Literal["redis", "kafka"]
Lost = Literal["fenced", "gap", "read"]
"""How a partition was found to be another's, or elsewhere: at a commit (two kinds), or when states were read."""

_WORDS: Final[tuple[tuple[str, Refused], ...]] = (
    ("not JSON: the record has no value", "invalid"),
    ("not JSON", "not_json"),
    ("invalid: the record has", "too_long"),
    ("invalid", "invalid"),
    ("key ", "wrong_key"),
    ("time ", "time"),
    ("kind merge", "reserved_kind"),
    ("unverifiable_late", "unverifiable_late"),
    ("bug: ", "bug"),
)
"""How the reasons of dead letters begin, in words; the first that fits counts."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

BOTH: Final = Table()
"""Of the worker and of the trainer."""
WORKER: Final = Table()
"""Of the worker alone."""
TRAINER: Final = Table()
"""Of the trainer alone."""

LAG: Final = BOTH.has(
    GaugeByPartition("micro_intents_lag_records", "Records of an assigned partition that are not finished yet.")
)
QUIET: Final = BOTH.has(
    Gauge(
        "micro_intents_stalled_seconds", "How long the partition that is worst off had records and nothing came of it."
    )
)
READY: Final = BOTH.has(Gauge("micro_intents_ready", "What /readyz says: 1 ready, 0 not."))
CHUNK: Final = BOTH.has(
    Histogram(
        "micro_intents_chunk_records",
        "Records taken at once, of all partitions.",
        (1, 3, 10, 30, 100, 300, 1_000, 2_000, 5_000),
    )
)
GONE: Final = BOTH.has(
    Counter("micro_intents_records_gone_total", "Records that retention deleted before they were read: lost input.")
)
WAITS: Final[CounterBy[Service]] = BOTH.has_by(
    "micro_intents_waits_total", "Calls that failed for now and are made again.", "service", get_args(Service)
)
MODEL_OFFSET: Final = BOTH.has(
    Gauge("micro_intents_snapshot_offset", "Offset of examples up to which the newest snapshot here has learned.")
)
MODEL_AGE: Final = BOTH.has(
    Gauge("micro_intents_snapshot_age_seconds", "Since a worker took its model up; since a trainer saved one.")
)
REFUSED_SNAPSHOTS: Final = BOTH.has(
    Gauge("micro_intents_refused_snapshots", "Snapshots newer than the one in use that could not be used.")
)
DISPUTED_SNAPSHOTS: Final = BOTH.has(
    Gauge("micro_intents_disputed_snapshots", "Snapshots beyond the first that claim one offset: trainers disagree.")
)
MODEL_LOSING: Final = BOTH.has(
    Gauge("micro_intents_model_losing", "1 while the model loses to its fallback, which is served, else 0.")
)

EVENTS: Final = WORKER.has(
    Counter("micro_intents_events_total", "Events committed; a basket's lines count each, duplicates too.")
)
REFUSALS: Final[CounterBy[Refused]] = WORKER.has_by(
    "micro_intents_refusals_total", "Records refused, before they are published.", "reason", get_args(Refused)
)
DEAD_LETTERS: Final = WORKER.has(
    Counter("micro_intents_dead_letters_total", "Refused records that are in the dead letter topic.")
)
DEAD_LETTER_LIMIT: Final = WORKER.has(
    Gauge("micro_intents_dead_letter_limit", "Dead letters within a minute beyond which the worker stops.")
)
INTENTS: Final[CounterBy[Status]] = WORKER.has_by(
    "micro_intents_intents_total", "Changes of intents published.", "status", get_args(Status)
)
LATENCY: Final = WORKER.has(
    Histogram(
        "micro_intents_event_to_intent_seconds",
        "From the broker's timestamp of a record to its intents being acknowledged; deadlines do not count.",
        _SECONDS,
    )
)
UNSLOTTED: Final = WORKER.has(
    Counter("micro_intents_unslotted_total", "Detections that found no free slot of their customers.")
)
CLAIMS: Final = WORKER.has(Counter("micro_intents_claims_total", "Partitions claimed."))
LOST: Final[CounterBy[Lost]] = WORKER.has_by(
    "micro_intents_lost_partitions_total",
    "Commits and reads refused because the partition is another claim's, or elsewhere.",
    "found",
    get_args(Lost),
)
COMMIT: Final = WORKER.has(Histogram("micro_intents_commit_seconds", "One commit to Redis that was taken.", _SECONDS))
STATE_BYTES: Final = WORKER.has(Counter("micro_intents_state_bytes_total", "Bytes of customers' states written."))
THRESHOLD: Final = WORKER.has(
    Gauge("micro_intents_threshold", "Probability from which an intent is detected, as set or by a target.")
)
MODEL_READY: Final = WORKER.has(
    Gauge("micro_intents_model_ready", "1 if the model has learned enough to detect intents, else 0.")
)

EXAMPLES: Final = TRAINER.has(Counter("micro_intents_examples_total", "Records of examples read."))
UNREADABLE: Final = TRAINER.has(Counter("micro_intents_unreadable_examples_total", "Records of examples passed over."))
POSITIVES: Final = TRAINER.has(
    Gauge("micro_intents_positive_labels", "Pairs learned that ended in a cart or purchase.")
)
NEGATIVES: Final = TRAINER.has(Gauge("micro_intents_negative_labels", "Pairs learned that did not."))
LOSS: Final = TRAINER.has(Gauge("micro_intents_log_loss", "Fading mean log loss of what workers' models said."))
FALLBACK_LOSS: Final = TRAINER.has(
    Gauge("micro_intents_fallback_log_loss", "The same of the fallback, on the same pairs.")
)
AREA: Final = TRAINER.has(Gauge("micro_intents_auc", "Fading area under the curve of what workers' models said."))
PRECISION: Final = TRAINER.has(
    Gauge("micro_intents_average_precision", "Fading average precision of what workers' models said.")
)
SAID: Final = TRAINER.has(Gauge("micro_intents_mean_probability", "Fading mean of what workers' models said."))
RATE: Final = TRAINER.has(
    Gauge("micro_intents_outcome_rate", "Fading share of the same pairs that ended in a cart or purchase.")
)
JUDGED: Final = TRAINER.has(
    Gauge("micro_intents_judged_pairs", "Pairs that the fading numbers are of; a day later each counts half.")
)
UNSAVED: Final = TRAINER.has(Counter("micro_intents_unsaved_snapshots_total", "Snapshots that could not be saved."))


def refused(reason: str) -> Refused:
    """The label of a reason in words."""
    return next((label for words, label in _WORDS if reason.startswith(words)), "other")
