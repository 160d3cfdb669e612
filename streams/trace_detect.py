"""A traced event as detect saw it: columns, log, windows, candidates, features, and what became of intents."""

from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Final

import numpy as np

from features.aggregates import OUTCOME, TOUCHED, VIEWED, Aggregate
from features.apply import Wave, waves
from features.bundle import Feature
from features.kinds import ASKED, KINDS, TOUCHES
from features.log import MORE
from features.rows import F64
from features.state import States, decode
from features.windows import Asks, View, Window
from intents.detect import Scored
from intents.intent import STEP, Status
from intents.journeys import Journeys
from intents.tables import MODEL_FEATURES
from intents.targets import Target
from streams.trace import Traced
from streams.trace_text import Section, clock, counted, cut, day_and_time, span

WINDOWS: Final = ("5m", "30m", "session", "since:purchase", "last:20", "pace:3")
"""Windows whose sizes are told."""
_ENTRIES: Final = 4
_LIKELIEST: Final = 4
_BY_LOG, _BY_MODEL = 5, 3  # features told of each side
_KINDS_OF: Final = {VIEWED: "views", OUTCOME: "outcomes", TOUCHED: "touches"}


@dataclass(frozen=True, slots=True)
class Question:
    """What the event was asked: the wave's scores, the ask in it, its candidates, and the one to tell of (-1: none)."""

    scored: Scored
    ask: int
    candidates: range
    chosen: int


class Focus:
    """The traced event within its step."""

    def __init__(self, traced: Traced) -> None:
        """`traced` was not refused."""
        self.traced, self.event, self.model, self.batch = traced, traced.event, traced.model, traced.step.batch
        self.catalogue, self.rules = traced.setup.catalogue, traced.setup.rules
        self.threshold, self.why = traced.model.threshold(self.rules.threshold)
        self._journeys = Journeys(self.catalogue, traced.model, traced.setup.names)
        first, end = self.batch.subject_offsets[self.event : self.event + 2].tolist()
        self.subjects: list[int] = self.batch.subjects[first:end].tolist()
        self.time, self.row = int(self.batch.time[self.event]), int(self.batch.customer[self.event])
        self.kind = KINDS[int(self.batch.kind[self.event])]

    def name(self, subject: int) -> str:
        """A subject's name, not too long."""
        return cut(self._journeys.name(subject))

    def names(self, question: Question) -> list[str]:
        """Names of a question's candidates."""
        return [self.name(int(question.scored.candidates.subject[place])) for place in question.candidates]

    @cached_property
    def applied(self) -> tuple[States, Wave, int]:
        """The states with the event applied and nothing folded yet, the event's wave, and its place in it."""
        states = decode(self.traced.step.customers, self.traced.before)
        buried = self.traced.step.pieces[0].partition.tombstones.of(states.customers)
        states.tombstone = np.maximum(states.tombstone, buried)
        for wave in waves(states, self.batch, lambda rows, events, forgotten: None):
            seat = np.flatnonzero(wave.events == self.event)
            if len(seat):
                return states, wave, int(seat[0])
        raise AssertionError("every event is in a wave")

    @cached_property
    def question(self) -> Question | None:
        """What the event was asked, None if nothing; told is the candidate whose intent changed, else the likeliest."""
        for scored in self.traced.step.detected.scored:
            for ask in np.flatnonzero(scored.event == self.event).tolist():
                low, high = scored.candidates.offsets[ask : ask + 2].tolist()
                changed = [change.candidate for change, _, _ in self.traced.changes if change.candidate >= 0]
                best = [low + int(np.argmax(scored.p[low:high]))] if high > low else []
                return Question(scored, ask, range(low, high), (changed + best + [-1])[0])
        return None


def columns(focus: Focus) -> Section:
    """The event as columns, and its subjects."""
    batch, e = focus.batch, focus.event
    time, mark = f"{focus.time} ({day_and_time(focus.time)})", clock(int(batch.watermark[e]))
    lines = [
        f"kind {int(batch.kind[e])} ({focus.kind}) · time {time} · watermark {mark}",
        f"id 0x{int(batch.id[e]):016x} of {cut(batch.event_ids[e])} · product 0x{int(batch.product[e]):08x} · "
        f"value {int(batch.value[e])} (minor units)",
    ]
    for subject in focus.subjects:
        name = focus.traced.setup.names[subject]
        staged = focus.catalogue.stage(name)
        stage = f", stage {staged[1] + 1} of the declared journey {cut(staged[0].name)}" if staged else ""
        lines.append(f'subject 0x{subject:016x} = {cut(name)} ("{cut(focus.catalogue.label(name))}"){stage}')
    if not focus.subjects:
        lines.append("no subject: neither its category nor its words name one")
    return Section(
        "Decoded into columns; the catalogue finds its subject", "streams/wire.py, intents/catalog.py", lines
    )


def log(focus: Focus) -> Section:
    """The customer's log as the event sees it."""
    states, wave, seat = focus.applied
    low, end = states.logs.offsets[focus.row : focus.row + 2].tolist()
    stop = int(wave.stop[seat]) if wave.applied[seat] else end
    seen = states.logs.entries[low:stop]
    tiles = int((seen["span"] > 0).sum())
    lines = [f"{_fate(focus)}; it sees {counted(len(seen) - tiles, 'event')} and {tiles} tiles of older ones:"]
    for entry in seen[::-1][:_ENTRIES]:
        kind = KINDS[int(entry["kind"]) & ~MORE] + (f" × {entry['count']}" if entry["span"] else "")
        subject = focus.name(int(entry["subject"])) if entry["subject"] else "–"
        age = focus.time - int(entry["time"])
        ago = f"{span(age)} before" if age else "now"
        lines.append(f"  {clock(int(entry['time']))}  {kind:<14} {subject:<24} {entry['value'] / 100:>9.2f}  {ago}")
    view = View(Asks(*(np.array([n]) for n in (focus.row, focus.time, stop, focus.event))), states.logs)
    sizes = " · ".join(f"{word} {int(view.within(Window.parse(word)).sum())}" for word in WINDOWS)
    lines.append(f"entries in windows: {sizes} (× {span(int(view.pace()[0]))})")
    files = "features/apply.py, features/log.py, features/windows.py"
    return Section("Into the customer's activity log", files, lines)


def _fate(focus: Focus) -> str:
    _, wave, seat = focus.applied
    if wave.late[seat]:
        return "late, inserted at its own time"
    if wave.applied[seat]:
        return "inserted"
    if wave.unverifiable[seat]:
        return "too old to tell from a duplicate, so not inserted but dead-lettered"
    return "everything before it is erased" if focus.kind == "forget" else "a duplicate, or forgotten, so not inserted"


def candidates(focus: Focus) -> Section:
    """What the customer could want, and the features that speak loudest for or against one of it."""
    title, files = "Candidates, and the features of one", "intents/candidates.py, features/bundle.py, intents/tables.py"
    question = focus.question
    if question is None:
        return Section(title, files, [_not_asked(focus)])
    names, touched = focus.names(question), int(question.scored.candidates.touched[question.ask])
    last, foreseen = ", ".join(names[:touched]) or "nothing", ", ".join(names[touched:]) or "nothing"
    lines = [f"touched last: {last} · likely next: {foreseen}"]
    if question.scored.outcome[question.ask]:
        lines = [f"just before this outcome, touched last: {last}"]
    if question.chosen >= 0 and focus.model.believed:
        lines += _features(focus, question)
    return Section(title, files, lines)


def _not_asked(focus: Focus) -> str:
    _, wave, seat = focus.applied
    if not wave.applied[seat]:
        return "nothing is asked"
    if not focus.subjects:
        return "nothing is asked: the event has no subject"
    if focus.kind in ASKED:
        return "nothing is asked: a newer event of the customer came before it"
    return f"nothing is asked: {focus.kind} {'only touches its subject' if focus.kind in TOUCHES else 'is only logged'}"


def _adds(focus: Focus, question: Question) -> F64:
    """What each column of the chosen candidate adds to the logit (f,)."""
    head = focus.model.now.of(int(question.scored.candidates.rank[question.chosen]))
    leading = focus.model.bundle.leading
    return head.contributions(question.scored.columns[leading:, question.chosen : question.chosen + 1])[:, 0]


def _features(focus: Focus, question: Question) -> list[str]:
    bundle, names = focus.traced.setup.bundle, focus.model.feature_names
    features = bundle.features[bundle.leading :]
    values = question.scored.columns[bundle.leading :, question.chosen]
    adds, size = _adds(focus, question), len(features)
    order = np.argsort(-np.abs(adds), kind="stable").tolist()
    name = focus.name(int(question.scored.candidates.subject[question.chosen]))
    sides = f"{size} features of bundle {bundle.name} ({bundle.hash}), {len(names) - size} of the model's tables"
    lines = [f"{name} as numbers: {sides}; the most telling:"]
    for side, shown in (
        ("log", [column for column in order if column < size][:_BY_LOG]),
        ("model", [column for column in order if column >= size][:_BY_MODEL]),
    ):
        for column in shown:
            about = cut(_meaning(features[column]), 55) if column < size else ""
            said = f"  {side:<6} {names[column]:<20} {values[column]:>8.3f}  adds {adds[column]:+.2f}  {about}"
            lines.append(said.rstrip())
    return lines


def _meaning(feature: Feature) -> str:
    """A feature's declaration in short."""
    per = f" / {_aggregate(feature.per)}" if feature.per else ""
    then = f"{feature.then} of " if feature.then != "none" else ""
    return f"{'if latest: ' if feature.latest else ''}{then}{_aggregate(feature.of)}{per}"


def _aggregate(of: Aggregate) -> str:
    kinds = _KINDS_OF.get(of.kinds, "|".join(of.kinds))
    return f"{'' if of.over == 'pair' else 'all '}{of.what}({', '.join(part for part in (kinds, of.window) if part)})"


def judgement(focus: Focus) -> Section:
    """Probabilities, and what they or the outcome did to intents."""
    passed = sum(change.deadline for change, _ in focus.traced.step.detected.changes)
    lines = [f"first, {counted(passed, 'intent')} of this partition expired: the watermark passed"] if passed else []
    if focus.question and focus.question.chosen >= 0:
        lines += _probabilities(focus, focus.question)
    for change, intent, _ in focus.traced.changes:
        until = f", until {clock(change.expires_at)}" if change.status == "detected" else ""
        because = _because(focus, change.status, intent.confidence)
        lines.append(f"{cut(intent.intent)}: {because} → {change.status}{until}")
    title, files = "Scored, and judged against the open intents", "intents/head.py, intents/life.py"
    return Section(title, files, lines or ["nothing to score"])


def _probabilities(focus: Focus, question: Question) -> list[str]:
    p, places = question.scored.p, question.candidates
    best = sorted(zip(focus.names(question), places, strict=True), key=lambda found: -p[found[1]])
    lower = f" · {len(best) - _LIKELIEST} less likely" if len(best) > _LIKELIEST else ""
    said = f"p: {' · '.join(f'{name} {p[place]:.4f}' for name, place in best[:_LIKELIEST])}{lower}"
    if not focus.model.ready:
        return [said, "the model is not ready: these are outcome rates by recency, and nothing is published"]
    if focus.model.losing:
        return [said, "the model loses to its fallback: these are outcome rates by recency"]
    adds, size = _adds(focus, question), len(focus.model.feature_names) - len(MODEL_FEATURES)
    base = focus.model.now.of(int(question.scored.candidates.rank[question.chosen])).base
    by_log, by_model = float(adds[:size].sum()), float(adds[size:].sum())
    logit = base + by_log + by_model
    parts = f"{base:.3f} (intercept) {by_log:+.3f} (log) {by_model:+.3f} (model) = {logit:.3f}"
    soon = float(question.scored.soon[question.chosen])
    later = "" if isnan(soon) else f"; within a day: {soon:.2f}"
    lines = [f"logit {parts}, p = 1 / (1 + e^{-logit:.3f}) = {p[question.chosen]:.4f}{later}", said]
    if question.scored.outcome[question.ask]:
        return lines
    changed = {change.candidate for change, _, _ in focus.traced.changes}
    loud = [place for place in places if round(p[place] * STEP) >= round(focus.threshold * STEP)]
    silent = [focus.name(int(question.scored.candidates.subject[place])) for place in loud if place not in changed]
    if silent:
        lines.append(f"{', '.join(silent)}: {focus.threshold} or more, but open with about this p, or cooling down")
    elif not changed:
        lines.append(f"nothing changes: no p reaches the threshold, {focus.threshold}")
    return lines + _target(focus)


def _target(focus: Focus) -> list[str]:
    """Where the threshold comes from, if it was chosen."""
    return [f"threshold {focus.threshold} {focus.why}"] if isinstance(focus.rules.threshold, Target) else []


def _because(focus: Focus, status: Status, confidence: float) -> str:
    said = {
        "detected": f"{confidence:.4f} ≥ {focus.threshold} (threshold), neither open nor cooling down",
        "fulfilled": f"{focus.kind} while it is open",
        "forgotten": "the customer asks to be forgotten",
    }
    return said.get(status, f"{confidence:.4f} is {focus.rules.step:.2f} or more away from what was said last")
