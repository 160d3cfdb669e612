"""The detect step again, slow and obvious: one event at a time, lists and loops. It judges intents/detect.py.

The log and the features are those of tests/features' oracles.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import numpy as np

from features.events import Chunk
from features.kinds import KINDS
from intents.detect import Setup
from intents.intent import Evidence, Intent, JourneyStep, ModelName, Source, Status
from intents.journeys import MIN_LIFT
from intents.model import Model
from tests.features.naive_log import STATE, Entry, Event, NaiveLog
from tests.features.naive_windows import TOUCHING, by_recency, vector
from tests.intents.naive_model import NaiveModel

ASKED: Final = ("view", "click", "banner_click", "search")
OUTCOMES: Final = ("cart_add", "purchase")
SLOTS: Final = 16
SPACE: Final = UUID("b3d86fcf-8bd6-5f0e-9a3c-0d8c6c1f7f52")


class Line(NamedTuple):
    """One event, or one line of a basket."""

    offset: int
    line: int
    event_id: str
    clock: int
    event: Event


def lines_of(chunk: Chunk) -> Iterator[Line]:
    """The events of a chunk, one by one."""
    for i in range(len(chunk)):
        low, high = chunk.subject_offsets[i : i + 2].tolist()
        event = Event(
            chunk.customers[i],
            KINDS[chunk.kind[i]],
            int(chunk.time[i]),
            int(chunk.id[i]),
            tuple(chunk.subjects[low:high].tolist()),
            int(chunk.product[i]),
            int(chunk.value[i]),
        )
        yield Line(int(chunk.offset[i]), int(chunk.index[i]), chunk.event_ids[i], int(chunk.clock[i]), event)


class Candidate(NamedTuple):
    """A subject that may be wanted: rank, features, these with the model's own columns, p now, and p within a day.

    `said` is the model's own p now, whatever is served.
    """

    subject: int
    rank: int
    vector: list[float]
    columns: list[float]
    p: float
    soon: float | None
    said: float


class Published(NamedTuple):
    """An intent, the watermark of its record, and the offset of the source record that it is published at."""

    intent: Intent
    watermark: int
    offset: int


class Asked(NamedTuple):
    """What the trainer is told of a question: subjects viewed, candidates, and how many of them were touched."""

    line: Line
    viewed: tuple[int, ...]
    candidates: list[Candidate]
    touched: int


class Outcome(NamedTuple):
    """What the trainer is told of an outcome."""

    line: Line
    subject: int
    recent: list[int]


@dataclass
class Open:
    """An open intent; `source` and `version` are those of the last change."""

    subject: int
    intent_id: str
    detected_at: int
    expires_at: int
    confidence: int
    version: str
    journey: JourneyStep
    source: Source
    sequence: int = 0
    soon: float | None = None


@dataclass
class Customer:
    """A customer: the log, open intents, and cool-downs (from when, until when) by subject."""

    log: NaiveLog = field(default_factory=NaiveLog)
    open: dict[int, Open] = field(default_factory=dict)
    cooling: dict[int, tuple[int, int]] = field(default_factory=dict)

    def busy(self) -> int:
        """How many intents are open or cooling down."""
        return len(self.open.keys() | self.cooling.keys())


@dataclass
class NaiveDetect:
    """One partition, its events taken one at a time, with a model that stays."""

    setup: Setup
    model: Model
    partition: int = 0
    topic: str = "clickstream"
    lateness_ms: int = 120_000
    watermark: int = -1
    customers: dict[str, Customer] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    unverifiable: list[Line] = field(default_factory=list)
    unslotted: int = 0
    known: NaiveModel = field(init=False)

    def __post_init__(self) -> None:
        self.known = NaiveModel(self.model)

    def take(self, line: Line) -> None:
        """One event: deadlines first, then the log, then the customer's intents."""
        event = line.event
        self.watermark = max(self.watermark, line.clock - self.lateness_ms)
        self._deadlines(line)
        customer = self.customers.setdefault(event.customer, Customer())
        if customer.log.newest >= 0 and self.watermark > customer.log.newest + STATE:
            customer = self.customers[event.customer] = Customer(NaiveLog(tombstone=customer.log.tombstone))
        if event.kind == "forget" and not customer.log.buried(event.time, self.watermark):
            for intent in sorted(customer.open.values(), key=lambda intent: intent.subject):
                self._end(line, intent, "forgotten", event.time, [], at=line)
            customer.open, customer.cooling = {}, {}
        told = customer.log.apply(event, self.watermark)
        if told.verdict == "unverifiable":
            self.unverifiable.append(line)
        if told.verdict != "applied" or not event.subjects:
            return
        if event.kind in OUTCOMES:
            self._told_before(line, told.before)
            self._outcome(customer, line)
        elif event.kind in ASKED and not told.late:
            candidates, touched = self.candidates(told.after, event.time, 6, 2)
            viewed = tuple(candidate.subject for candidate in candidates[: min(len(event.subjects), touched)])
            self.asked.append(Asked(line, viewed, candidates, touched))
            if event.kind == "view":
                self._score("detect", line, candidates)
            self._ask(customer, line, candidates)

    # What is asked

    def candidates(self, entries: Sequence[Entry], t: int, most: int, foreseen: int) -> tuple[list[Candidate], int]:
        """At most `most` touched and `foreseen` foreseen candidates, and how many were touched."""
        order = by_recency(entries)
        touched = order[:most]
        last = {
            subject: max(e.time for e in entries if e.subject == subject and e.kind in TOUCHING) for subject in order
        }
        chosen = touched + self._likely({subject: t - last[subject] for subject in order}, touched, foreseen)
        found = []
        for subject in chosen:
            rank = min(order.index(subject), 64) if subject in order else 64
            x = [float(np.float32(value)) for value in vector(self.setup.bundle, entries, t, subject)]
            own = [math.expm1(x[self.setup.bundle.names.index(name)]) for name in ("views_7d", "outcomes")]
            others = [other for other in touched[:2] if other != subject]
            mine = self.known.columns(subject, others[0] if others else 0, *own)
            columns = x + [float(np.float32(value)) for value in mine]
            read = columns[self.setup.bundle.leading :]
            words = self.known.probability(read, rank), self.known.soon(read, rank), self.known.said(read, rank)
            found.append(Candidate(subject, rank, x, columns, *words))
        return found, len(touched)

    def _likely(self, ages: dict[int, int], touched: Sequence[int], most: int) -> list[int]:
        """The subjects that the last ones met most in sessions, and what is declared to follow them.

        Of many, the most wanted ones are considered too. `ages` are ms since each subject was touched, the latest
        first.
        """
        wide, scores = most > 2, dict[int, list[float]]()
        recent = list(ages)[: min(10 if wide else 3, len(touched))]
        weights = [(math.exp(-ages[s] / (30 * 60_000)) + 0.02) * 0.9**rank for rank, s in enumerate(recent)]
        ground = 1.0
        parts = [weight / sum(weights) for weight in weights]
        for part, subject in zip(parts, recent, strict=True):
            for after, share in self.known.met(subject, 32 if wide else 8):
                scores.setdefault(after, []).append(part * share)
            ground -= part * self.known.total(4, subject) / (self.known.total(4, subject) + 8)
        for part, subject in zip(parts, recent, strict=True):
            for after in {after for before, after in self.setup.catalogue.steps() if before == subject}:
                scores.setdefault(after, []).append(part * 0.5)
        for subject in self.known.popular(48) if wide else []:
            scores.setdefault(subject, []).append(0.0)
        totals = {subject: sum(adds) for subject, adds in scores.items() if subject not in touched}
        if wide:
            totals = {subject: total + ground * self.known.wanted(subject) for subject, total in totals.items()}
        return sorted(totals, key=lambda subject: (-totals[subject], subject))[:most]

    def _told_before(self, line: Line, entries: Sequence[Entry]) -> None:
        for subject in line.event.subjects:
            self.outcomes.append(Outcome(line, subject, by_recency(entries)[:6]))
        if self.setup.rank_outcomes:
            self._score("rank", line, self.candidates(entries, line.event.time, 32, 30)[0])

    def _score(self, ask: str, line: Line, candidates: Sequence[Candidate]) -> None:
        said = {"ask": ask, "customer_id": line.event.customer, "time": line.event.time, "event_id": line.event_id}
        if ask == "rank":
            said["intent"] = self._name(line.event.subjects[0])
        said_of = [candidate.p for candidate in candidates]
        if ask == "rank" and self.model.choice.lists >= 50 and not self.model.losing:
            said_of = self.known.shares([(c.rank, c.vector, c.columns) for c in candidates])
        scores = [(self._name(c.subject), round(p, 6)) for c, p in zip(candidates, said_of, strict=True)]
        said["scores"] = [list(pair) for pair in sorted(scores, key=lambda pair: -pair[1])]
        soon = [(self._name(c.subject), round(c.soon, 6)) for c in candidates if c.soon is not None]
        if ask == "detect" and len(soon) == len(candidates):
            said["soon"] = [list(pair) for pair in sorted(soon, key=lambda pair: -pair[1])]
        if not self.model.ready:
            said["ready"] = False
        elif self.model.losing:
            said["losing"] = True
        self.scores.append(said)

    # An intent's life

    def _deadlines(self, line: Line) -> None:
        """Every open intent whose end is before the watermark expires now, and says its own time."""
        due = [
            (intent.expires_at, name.encode(), intent.subject, name)
            for name, customer in self.customers.items()
            for intent in customer.open.values()
            if intent.expires_at < self.watermark
        ]
        for expires_at, _, subject, name in sorted(due):
            intent = self.customers[name].open.pop(subject)
            self._publish(line, name, intent, "expired", expires_at, [], watermark=expires_at)

    def _outcome(self, customer: Customer, line: Line) -> None:
        t, kind = line.event.time, line.event.kind
        for subject in line.event.subjects:
            intent = customer.open.get(subject)
            if intent is not None and intent.detected_at < t <= intent.expires_at:
                text = "put into the cart" if kind == "cart_add" else "bought"
                del customer.open[subject]
                self._end(line, intent, "fulfilled", t, [Evidence(kind, 1, text)], at=line)
            if subject in customer.cooling and customer.cooling[subject][0] < t:
                del customer.cooling[subject]

    def _ask(self, customer: Customer, line: Line, candidates: Sequence[Candidate]) -> None:
        t, rules = line.event.time, self.setup.rules
        threshold = self.model.threshold(rules.threshold).value
        for subject, (_, until) in list(customer.cooling.items()):
            if subject not in customer.open and t >= until:
                del customer.cooling[subject]
        if not self.model.ready:
            return
        for candidate in candidates:
            subject, confidence = candidate.subject, round(candidate.p * 10_000)
            intent = customer.open.get(subject)
            if intent is not None:
                moved = confidence - intent.confidence
                if t <= intent.expires_at and abs(moved) >= round(rules.step * 10_000):
                    intent.sequence += 1
                    self._say(line, intent, "strengthened" if moved > 0 else "weakened", candidate)
            elif subject not in customer.cooling and confidence >= round(threshold * 10_000):
                if customer.busy() == SLOTS:
                    self.unslotted += 1
                    continue
                customer.open[subject] = intent = self._detected(line, subject)
                customer.cooling[subject] = (t, t + rules.cooldown_ms)
                self._say(line, intent, "detected", candidate)

    def _detected(self, line: Line, subject: int) -> Open:
        t, space, variant = line.event.time, self.setup.namespace, self.model.variant
        words = (space, variant, line.event.customer, f"{subject:016x}", str(t), line.event_id)
        return Open(
            subject=subject,
            intent_id=str(uuid5(SPACE, "\x1f".join(words))),
            detected_at=t,
            expires_at=t + self.setup.rules.horizon_ms,
            confidence=0,
            version="",
            journey=self._journey(subject),
            source=self._source(line),
        )

    def _say(self, line: Line, intent: Open, status: Status, candidate: Candidate) -> None:
        """Publish what a question made of an intent."""
        intent.confidence = round(candidate.p * 10_000)
        intent.soon = None if candidate.soon is None else round(candidate.soon * 10_000) / 10_000
        intent.version, intent.journey, intent.source = (
            self.model.version,
            self._journey(intent.subject),
            self._source(line),
        )
        self._publish(line, line.event.customer, intent, status, line.event.time, self._evidence(candidate))

    def _end(self, line: Line, intent: Open, status: Status, t: int, evidence: list[Evidence], at: Line) -> None:
        """Publish the end that an event brought."""
        intent.source = self._source(at)
        self._publish(line, line.event.customer, intent, status, t, evidence)

    def _publish(
        self,
        line: Line,
        customer: str,
        intent: Open,
        status: Status,
        t: int,
        evidence: list[Evidence],
        watermark: int | None = None,
    ) -> None:
        if status in ("fulfilled", "expired", "forgotten"):
            intent.sequence += 1
        name = self._name(intent.subject)
        change = Intent(
            intent_id=intent.intent_id,
            sequence=intent.sequence,
            customer_id=customer,
            intent=name,
            label=self.setup.catalogue.labels.get(name, name),
            status=status,
            confidence=intent.confidence / 10_000,
            journey=intent.journey,
            evidence=evidence,
            detected_at=intent.detected_at,
            updated_at=t,
            expires_at=intent.expires_at,
            model=ModelName("fallback" if self.model.losing else "logistic", intent.version, self.model.variant),
            source=intent.source,
            soon=intent.soon,
        )
        self.published.append(Published(change, self.watermark if watermark is None else watermark, line.offset))

    # In words

    def _source(self, line: Line) -> Source:
        return Source(self.topic, self.partition, line.offset, line.event_id)

    def _name(self, subject: int) -> str:
        return self.setup.names.get(subject) or self.model.names.get(subject) or f"{subject:016x}"

    def _journey(self, subject: int) -> JourneyStep:
        name, nexts = self._name(subject), self.known.nexts(subject)
        for journey in self.setup.catalogue.journeys:
            if name in journey.stages:
                stage = journey.stages.index(name) + 1
                following = journey.stages[stage] if stage < len(journey.stages) else None
                share = sum(share for to, share in nexts if self._name(to) == following)
                return JourneyStep(journey.name, stage, following, round(share, 4) or None)
        everything = max(self.model.tables.views + self.model.tables.outcomes, 1)
        for after, share in sorted(nexts, key=lambda pair: -pair[1]):
            if share >= MIN_LIFT * (self.known.total(0, after) + self.known.total(1, after)) / everything:
                return JourneyStep(None, None, self._name(after), round(share, 4))
        return JourneyStep(None, None, None)

    def _evidence(self, candidate: Candidate) -> list[Evidence]:
        """The strongest three counts that spoke for it, one for each thing counted."""
        leading = self.setup.bundle.leading
        features = self.setup.bundle.features[leading:] if not self.model.losing else ()
        spoke = self.known.contributions(candidate.columns[leading:], candidate.rank)
        found: list[Evidence] = []
        counted = set()
        for j in sorted(range(len(features)), key=lambda j: -spoke[j]):
            feature = features[j]
            number = round(math.expm1(candidate.vector[leading + j])) if feature.words else 0
            if number > 0 and spoke[j] > 0 and (feature.of.what, feature.of.kinds) not in counted:
                counted.add((feature.of.what, feature.of.kinds))
                found.append(Evidence(feature.name, number, feature.words.format(n=number, s="s" * (number != 1))))
        if found:
            return found[:3]
        if candidate.rank >= 64:
            return [Evidence("foreseen", 1, "often next")]
        return [Evidence("recency", 1, "looked at last" if candidate.rank == 0 else "looked at lately")]
