"""Intents and examples as they are published: from what detect found to the records' contents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.bundle import F32
from features.events import Batch
from features.kinds import KINDS
from features.log import I64, U64, Bool, Entries, expand
from features.pairs import NEVER_RANK
from intents.change import Change
from intents.detect import Scored, Setup
from intents.examples import ASKED, CHOICES, OUTCOME, RECENT, Examples
from intents.intent import FALLBACK, STEP, Evidence, Intent, ModelName, Source, uuid_text
from intents.journeys import Journeys
from intents.model import Model
from intents.subjects import customer_hash

MAX_EVIDENCE: Final = 3
ASKS_PER_RECORD: Final = 300
"""Asks in one examples record, about 400 kB of vectors."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Says what a batch led to, in intents."""

    batch: Batch
    customers: Sequence[str]
    model: Model
    setup: Setup
    journeys: Journeys

    def intents(self, changes: Sequence[tuple[Change, Scored | None]]) -> list[Intent]:
        """The intent events of changes, each with the wave that was scored when it came."""
        evidence = self._evidence(changes)
        return [self._intent(change, spoke) for (change, _), spoke in zip(changes, evidence, strict=True)]

    def _intent(self, change: Change, evidence: list[Evidence]) -> Intent:
        name = self.journeys.name(change.subject)
        chunk = self.batch.chunks[change.part]
        name_of = FALLBACK if change.note.fallback else self.model.name
        return Intent(
            intent_id=uuid_text(change.intent_id),
            sequence=change.sequence,
            customer_id=self.customers[change.row],
            intent=name,
            label=self.setup.catalogue.label(name),
            status=change.status,
            confidence=change.confidence / STEP,
            journey=change.note.journey,
            evidence=evidence,
            detected_at=change.detected_at,
            updated_at=change.updated_at,
            expires_at=change.expires_at,
            model=ModelName(name_of, change.note.version, self.model.variant),
            source=Source(chunk.topic, chunk.partition, change.offset, change.note.event_id),
            soon=None if change.note.soon is None else change.note.soon / STEP,
        )

    def _evidence(self, changes: Sequence[tuple[Change, Scored | None]]) -> list[list[Evidence]]:
        """What speaks for each change; features are asked of all candidates of a wave at once."""
        found: list[list[Evidence]] = []
        waves: dict[int, tuple[Scored, list[int]]] = {}
        for number, (change, scored) in enumerate(changes):
            if change.status == "fulfilled":
                kind = KINDS[int(self.batch.kind[change.event])]
                found.append([Evidence(kind, 1, {"cart_add": "put into the cart", "purchase": "bought"}[kind])])
                continue
            found.append([])
            if scored is not None and change.candidate >= 0:
                waves.setdefault(id(scored), (scored, []))[1].append(number)
        for scored, numbers in waves.values():
            candidates = np.array([changes[number][0].candidate for number in numbers], dtype=np.int64)
            ranks = scored.candidates.rank[candidates]
            spoke = self._spoke(scored, candidates, ranks)
            for number, rank, said in zip(numbers, ranks.tolist(), spoke, strict=True):
                found[number] = [] if changes[number][0].note.fallback else said
                found[number] = found[number] or [_recency(rank)]
        return found

    def _spoke(self, scored: Scored, candidates: I64, ranks: I64) -> list[list[Evidence]]:
        """The features that made the model say what it said of `candidates` (n,), the loudest first."""
        leading = self.setup.bundle.leading
        places = [place for place, feature in enumerate(self.setup.bundle.features[leading:]) if feature.words]
        features = [self.setup.bundle.features[leading + place] for place in places]
        adds = self.model.now.contributions(scored.columns[leading:, candidates], ranks)[places]
        numbers = np.rint(np.expm1(scored.vectors[leading:, candidates][places]))
        heard = (numbers > 0) & (adds > 0)
        loudest = np.argsort(np.where(heard, -adds, np.inf), axis=0, kind="stable")
        said = []
        for order, count, values in zip(loudest.T.tolist(), heard.sum(axis=0).tolist(), numbers.T, strict=True):
            groups: dict[tuple[str, ...], Evidence] = {}
            for column in order[:count]:
                feature = features[column]
                group = (feature.of.what, *feature.of.kinds)  # one window of each is enough for people
                if group not in groups:
                    number = int(values[column])
                    text = feature.words.format(n=number, s="" if number == 1 else "s")
                    groups[group] = Evidence(feature.name, number, text)
                    if len(groups) == MAX_EVIDENCE:
                        break
            said.append(list(groups.values()))
        return said


def _recency(rank: int) -> Evidence:
    """What there is to say where no feature spoke."""
    if rank >= NEVER_RANK:
        return Evidence("foreseen", 1, "often next")
    return Evidence("recency", 1, "looked at lately" if rank else "looked at last")


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything a batch was asked, joined over its waves and sorted by event.

    Columns (a,): `event`, `outcome`, `first` of its customer's day, and where each ask's candidates lie, [start, start
    + count), in `subjects`, `ranks` (c,), `vectors` (f, c) and `said` (c,); the first `touched` of them were touched.
    """

    event: I64
    outcome: Bool
    first: Bool
    start: I64
    count: I64
    touched: I64
    subjects: U64
    ranks: I64
    vectors: F32
    said: F32

    @staticmethod
    def of(scored: Sequence[Scored], features: int) -> "Asked":
        """Join the waves' asks."""
        if not scored:
            none = np.zeros(0, dtype=np.int64)
            no_vectors = np.zeros((features, 0), dtype=np.float32)
            nobody, unsaid = none.astype(np.uint64), none.astype(np.float32)
            return Asked(none, none.astype(bool), none.astype(bool), none, none, none, nobody, none, no_vectors, unsaid)
        base = np.cumsum([0] + [len(wave.p) for wave in scored])
        event = np.concatenate([wave.event for wave in scored])
        order = np.argsort(event, kind="stable")
        start = np.concatenate([wave.candidates.offsets[:-1] + b for wave, b in zip(scored, base[:-1], strict=True)])
        return Asked(
            event[order],
            np.concatenate([wave.outcome for wave in scored])[order],
            np.concatenate([wave.first for wave in scored])[order],
            start[order],
            np.concatenate([np.diff(wave.candidates.offsets) for wave in scored])[order],
            np.concatenate([wave.candidates.touched for wave in scored])[order],
            np.concatenate([wave.candidates.subject for wave in scored]),
            np.concatenate([wave.candidates.rank for wave in scored]),
            np.concatenate([wave.vectors for wave in scored], axis=1),
            np.concatenate([wave.said for wave in scored]).astype(np.float32),
        )


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs what a batch was asked of the `model` of a version, and its outcomes, for the trainer."""

    batch: Batch
    customers: Sequence[str]
    asked: Asked
    bundle: str
    key: bytes
    model: str

    def records(self, part: int, before_ms: int, names: dict[bytes, str]) -> Iterator[Examples]:
        """Examples of one part, in records of at most ASKS_PER_RECORD asks; at least one, for the watermark.

        `before_ms` is the partition's watermark before the batch: all records but the last carry it. `names` are new.
        """
        mine = np.flatnonzero(self.batch.part[self.asked.event] == part)
        pieces = max(1, -(-len(mine) // ASKS_PER_RECORD))
        for n in range(pieces):
            piece = mine[n * ASKS_PER_RECORD : (n + 1) * ASKS_PER_RECORD]
            last = n == pieces - 1
            mark = int(self.batch.last_watermark[part]) if last else before_ms
            yield self._record(part, piece, mark, names if n == 0 else {})

    def _record(self, part: int, piece: I64, watermark: int, names: dict[bytes, str]) -> Examples:
        views = piece[~self.asked.outcome[piece]]
        outcomes = piece[self.asked.outcome[piece]]
        _, place = expand(self.asked.start[views], self.asked.count[views])
        first, after = self.batch.subject_offsets[self.asked.event], self.batch.subject_offsets[self.asked.event + 1]
        owner, subject = expand(first[outcomes], (after - first)[outcomes])  # an entry for each subject
        outcomes = outcomes[owner]
        recent, choices = (np.minimum(self.asked.touched[outcomes], most) for most in (RECENT, CHOICES))
        _, recent_place = expand(self.asked.start[outcomes], recent)
        _, choice = expand(self.asked.start[outcomes], choices)
        asked, outcome = np.zeros(len(views), dtype=ASKED), np.zeros(len(outcomes), dtype=OUTCOME)
        self._fill(asked, views)
        self._fill(outcome, outcomes)
        asked["subject"], outcome["subject"] = self.batch.subjects[first[views]], self.batch.subjects[subject]
        asked["viewed"] = np.minimum((after - first)[views], self.asked.touched[views])
        asked["touched"], asked["candidates"] = self.asked.touched[views], self.asked.count[views]
        asked["first"], outcome["recent"] = self.asked.first[views], recent
        chunk = self.batch.chunks[part]
        return Examples(
            topic=chunk.topic,
            partition=chunk.partition,
            watermark=watermark,
            bundle=self.bundle,
            share=1.0,
            names=names,
            asked=asked,
            subjects=self.asked.subjects[place],
            ranks=self.asked.ranks[place],
            vectors=self.asked.vectors[:, place],
            outcomes=outcome,
            recent=self.asked.subjects[recent_place],
            choices=choices,
            choice_subjects=self.asked.subjects[choice],
            choice_vectors=self.asked.vectors[:, choice],
            said=self.asked.said[place],
            model=self.model,
        )

    def _fill(self, entries: Entries, asks: I64) -> None:
        events = self.asked.event[asks]
        rows = self.batch.customer[events].tolist()
        hashed = {row: customer_hash(self.customers[row], self.key) for row in set(rows)}
        entries["customer"] = np.array([hashed[row] for row in rows], dtype=np.uint64)
        entries["time"], entries["offset"] = self.batch.time[events], self.batch.offset[events]
        entries["index"], entries["product"] = self.batch.index[events], self.batch.product[events]
