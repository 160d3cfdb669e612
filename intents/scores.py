"""The scores file: what the model said when it was asked, before it learned, one JSON object a line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson

from features.events import Batch
from features.kinds import CODE
from features.pairs import NEVER_RANK
from intents.choice import choice_columns
from intents.counts import F64
from intents.detect import Scored
from intents.journeys import Journeys
from intents.lessons import HeadName, Lesson, Pairs, Pick
from intents.model import Model

_VIEW: Final = CODE["view"]
DIGITS: Final = 6


FORESEEN_SHARE: Final = 0.2
"""Of outcomes that are in none of the subjects touched before, as far as they are foreseen at all."""


def score_lines(
    batch: Batch, customers: Sequence[str], scored: Sequence[Scored], journeys: Journeys, model: Model
) -> Iterator[tuple[int, bytes]]:
    """(event of the batch, line) for each view (ask "detect") and each cart_add or purchase (ask "rank").

    Best candidate first.
    """
    for wave in scored:
        p = np.round(np.where(wave.outcome[wave.candidates.ask], _chosen(wave, model), wave.p), DIGITS)
        offsets = wave.candidates.offsets.tolist()
        for n, event in enumerate(wave.event.tolist()):
            if not wave.outcome[n] and batch.kind[event] != _VIEW:
                continue
            said = p[offsets[n] : offsets[n + 1]]
            subjects = wave.candidates.subject[offsets[n] : offsets[n + 1]]
            best = np.argsort(-said, kind="stable")
            line = {
                "ask": "rank" if wave.outcome[n] else "detect",
                "customer_id": customers[batch.customer[event]],
                "time": int(batch.time[event]),
                "event_id": batch.event_ids[event],
            }
            if wave.outcome[n]:
                line["intent"] = journeys.name(int(batch.subjects[batch.subject_offsets[event]]))
            line["scores"] = [[journeys.name(int(subjects[i])), float(said[i])] for i in best]
            soon = np.round(wave.soon[offsets[n] : offsets[n + 1]], DIGITS)
            if not wave.outcome[n] and not np.isnan(soon).any():
                later = np.argsort(-soon, kind="stable")
                line["soon"] = [[journeys.name(int(subjects[i])), float(soon[i])] for i in later]
            if not model.ready:
                line["ready"] = False
            elif model.losing:
                line["losing"] = True
            yield event, orjson.dumps(line) + b"\n"


@dataclass(frozen=True, slots=True)
class AnsweredLines:
    """A watcher of a trainer that writes a line for each question: what was said for `now` before, and what came."""

    write: Callable[[bytes], object]
    names: Mapping[int, str]
    asks: bool = False

    def asked(self, head: HeadName, pairs: Pairs) -> None:
        """Nothing: the answer is waited for."""

    def picked(self, pick: Pick) -> None:
        """Nothing."""

    def learned(self, head: HeadName, lesson: Lesson) -> None:
        """Write it, all at once: lines stay whole."""
        if head == "now":
            self.write(b"".join(self._lines(lesson)))

    def _lines(self, lesson: Lesson) -> Iterator[bytes]:
        ends = np.cumsum([len(question.subjects) for question in lesson.pairs.questions])
        said = np.split(np.round(lesson.pairs.said, DIGITS), ends[:-1])
        for question, p in zip(lesson.pairs.questions, said, strict=True):
            called = [self.names.get(subject) or f"{subject:016x}" for subject in question.subjects.tolist()]
            (topic, partition), (offset, index) = question.source, question.entry
            line = {
                "ask": "detect",
                "customer": f"{question.customer:016x}",
                "time": question.time,
                "source": {"topic": topic, "partition": partition, "offset": offset, "index": index},
                "scores": [[called[i], float(p[i])] for i in np.argsort(-p, kind="stable")],
                "outcomes": [called[i] for i in np.flatnonzero(question.now)],
            }
            if not lesson.ready:
                line["ready"] = False
            yield orjson.dumps(line) + b"\n"


def _chosen(wave: Scored, model: Model) -> F64:
    """Which subject an outcome will be of (c,): shares of the touched, and behind them those foreseen, in order."""
    candidates = wave.candidates
    asks, touched = len(candidates.touched), candidates.rank < NEVER_RANK
    if model.losing or not model.choice.ready:
        return wave.p
    columns = choice_columns(model.bundle, model.now.touched, wave.columns, candidates.rank)
    score = np.where(touched, model.choice.score(columns), -np.inf)
    best = np.full(asks, -np.inf)
    np.maximum.at(best, candidates.ask, score)
    weight = np.where(touched, np.exp(score - np.where(np.isfinite(best), best, 0.0)[candidates.ask]), 0.0)
    share = weight / np.maximum(np.bincount(candidates.ask, weight, asks), 1e-300)[candidates.ask]
    least = np.ones(asks)
    np.minimum.at(least, candidates.ask[touched], share[touched])
    place = np.arange(len(share)) - candidates.offsets[candidates.ask]
    behind = np.minimum(FORESEEN_SHARE / np.maximum(place, 1), least[candidates.ask])
    return np.where(touched, share, behind)
