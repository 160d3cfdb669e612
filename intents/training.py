"""The trainer: reads examples in order, asks every question again when its answer is known, and learns it once.

1. An entry at or below its source partition's mark was read before: dropped.
2. An *asked* entry gets its model-side columns from the tables as they are, then its view is counted into them.
3. An *outcome* entry is counted, and marks the open questions of its customer (`intents/questions.py`).
4. When a source's watermark passes a question's time + horizon, the question is answered (was there an outcome of that
   customer and subject in (t, t + horizon]?), learned, in order of time; for `soon` a day later.
5. Before it is learned, what the worker's model had said is compared with the answer, and with the fallback as it was
   before that answer: a model that loses for long says so in its snapshots (`intents/progress.py`).

A snapshot holds `next`, the offset to read next, what was read before `oldest`, the oldest offset with a question that
waits for `now`, and the questions that wait for `soon` alone: a restart reads [oldest, next) again to have the others
as they were, and learns from `next` on.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar, TypeVarTuple

import numpy as np

from features.bundle import Bundle
from features.log import I64, U64, Bool
from intents.checkpoint import Checkpoint
from intents.choice import choice_columns
from intents.cooldowns import CoolDowns
from intents.counts import F64
from intents.examples import Examples, UnreadableExamples, unpack
from intents.lessons import Lesson, Notifier, Pairs, Watcher
from intents.meetings import met_by_outcome, met_by_views
from intents.model import SOON_MS, Model, whole_vectors
from intents.progress import Progress
from intents.questions import Question, Questions, Source
from intents.reading import Reading
from intents.tables import Tables, previous_subject

TOGETHER: Final = 64
"""Questions that are learned in one step."""

_What = TypeVarTuple("_What")
_Found = TypeVar("_Found")


class Trainer:
    """Learns one model from one examples partition; not thread-safe, one owner."""

    def __init__(
        self, bundle: Bundle, horizon_ms: int, checkpoint: Checkpoint | None = None, *, durable: bool = True
    ) -> None:
        """A trainer that starts cold, or goes on from a checkpoint; read on from `position`.

        One that is not `durable` makes models but no checkpoints, and remembers less.
        """
        self.bundle, self.horizon_ms, self.durable = bundle, horizon_ms, durable
        model = checkpoint.model if checkpoint else Model.untrained(bundle)
        self.now, self.soon, self.choice = model.now.copy(), model.soon.copy(), model.choice.copy()
        self.names = dict(model.names)
        self.heard_version = "none"
        self.progress = checkpoint.progress.copy() if checkpoint else Progress()
        self._resolved = checkpoint.reading.copy() if checkpoint else Reading()
        self._base = checkpoint.base.copy() if checkpoint else Tables()
        self._base_reading = checkpoint.base_reading.copy() if checkpoint else Reading()
        self.tables = self._base.copy()
        self.tables.ranks = model.tables.ranks.copy()  # counted when learned, so never read again
        self.reading = self._base_reading.copy()
        cooling = (checkpoint.cooling_share, checkpoint.sounded) if checkpoint else ()
        self.cooling, self._base_cooling = CoolDowns(horizon_ms, *cooling), CoolDowns(horizon_ms, *cooling)
        self.curve = model.curve.copy()
        later = [question.copy() for question in checkpoint.later] if checkpoint else []
        self.questions = Questions(horizon_ms, checkpoint.soon_share if checkpoint else 1.0, later)
        self._updates: deque[tuple[int, Callable[[], object]]] = deque()
        self._due: deque[tuple[bool, list[Question]]] = deque()
        self._notifier = Notifier(None)

    def watch(self, watcher: Watcher) -> None:
        """Let a watcher hear of all from now on."""
        self._notifier = Notifier(watcher)

    @property
    def position(self) -> int:
        """The next offset to read."""
        return self.reading.next

    @property
    def refilling(self) -> bool:
        """Whether it is still reading again what it had read before a restart."""
        return self.reading.next < self._resolved.next

    def read(self, offset: int, record: bytes, at_ms: int = -1) -> None:
        """Read the examples record at `offset`, that Kafka took at `at_ms`; what is due waits for `resolve`.

        Raises UnreadableExamples, and is behind the record then, or NewerExamples, and is still before it.
        """
        if offset < self.reading.next:
            return
        try:
            examples = unpack(record)
        except UnreadableExamples:
            self.reading.next = offset + 1
            raise
        self.reading.next = offset + 1
        self.heard_version = examples.model
        source = (examples.topic, examples.partition)
        for key, name in examples.names.items():
            self.names.setdefault(int.from_bytes(key, "little"), name)
        if examples.bundle == self.bundle.hash:
            if len(examples.vectors) != len(self.bundle.features):
                raise UnreadableExamples("an examples record of this bundle with another number of features")
            self._read_entries(offset, source, examples)
        self.reading.hear(source, examples.watermark, at_ms)
        passed = self.reading.passed(source)
        self._cool(offset, CoolDowns.passed, source, passed)
        if self.durable:
            self._updates.append((offset, partial(setattr, self, "_base_reading", self.reading.copy())))

    def _read_entries(self, offset: int, source: Source, examples: Examples) -> None:
        asked, outcomes = examples.asked, examples.outcomes
        before = mark = self.reading.marks.get(source, (-1, -1))
        starts = np.concatenate([[0], np.cumsum(asked["candidates"], dtype=np.int64)])
        places = np.concatenate([[0], np.cumsum(outcomes["recent"], dtype=np.int64)])
        picks = np.concatenate([[0], np.cumsum(examples.choices)])
        for at, is_outcome, n in examples.in_order():
            if at <= before:
                continue
            mark = at  # an outcome of several subjects has an entry for each
            if not is_outcome:
                self._ask(offset, source, examples, n, slice(int(starts[n]), int(starts[n + 1])))
            else:
                choices = slice(int(picks[n]), int(picks[n + 1]))
                if offset >= self._resolved.next:  # else learned before a restart
                    self._choose(outcomes[n], examples, choices)
                self._outcome(offset, source, outcomes[n], examples.recent[places[n] : places[n + 1]])
                subject, met = int(outcomes[n]["subject"]), examples.choice_subjects[choices]
                if there := met_by_outcome(self.bundle, examples.choice_vectors[:, choices], met, subject):
                    self._count(offset, Tables.count_together, subject, there, 1.0)
        self.reading.marks[source] = mark

    def _ask(self, offset: int, source: Source, examples: Examples, n: int, place: slice) -> None:
        entry = examples.asked[n]
        subjects, ranks = examples.subjects[place], examples.ranks[place]
        count, touched, weight = len(subjects), int(entry["touched"]), 1.0 / examples.share
        before = previous_subject(subjects, ranks, np.zeros(count, dtype=np.int64), np.full(count, touched))
        columns = whole_vectors(self.bundle, self.tables, examples.vectors[:, place], subjects, before)
        question = Question(
            time=int(entry["time"]),
            offset=offset,
            place=n,
            source=source,
            customer=int(entry["customer"]),
            subjects=subjects,
            ranks=ranks,
            columns=columns[self.bundle.leading :],
            weight=weight,
            now=np.zeros(count, dtype=bool),
            soon=np.zeros(count, dtype=bool),
            said=examples.said[place],
            entry=(int(entry["offset"]), int(entry["index"])),
            first=bool(entry["first"]),
        )
        said = (question.customer, question.time, subjects, question.said)
        question.alarms = self._cool(offset, CoolDowns.ask, source, *said)
        # Read before a restart: what was due then is learned already.
        learned = self._resolved.answered(source, question.entry) if offset < self._resolved.next else -1
        if question.time + self.horizon_ms >= learned:
            question.soon_open = question.time + SOON_MS >= learned
            self.questions.add(question)
            self._notifier.note(question)
        met = met_by_views(self.bundle, examples.vectors[:, place], int(entry["viewed"]), touched)
        viewed = subjects[: int(entry["viewed"])].tolist()  # touched last, so the first of the candidates
        others = subjects[len(viewed) : touched].tolist()
        for subject in viewed:
            self._count(offset, Tables.count_view, subject, others[0] if others else 0, weight)
        for n in np.flatnonzero(met.any(axis=1)).tolist():
            self._count(offset, Tables.count_together, int(subjects[n]), subjects[met[n]].tolist(), weight)

    def _choose(self, entry: np.void, examples: Examples, place: slice) -> None:
        """Learn what was chosen, if it was among the touched."""
        subjects = examples.choice_subjects[place]
        chosen = np.flatnonzero(subjects == entry["subject"])
        if not len(chosen):
            return
        count = len(subjects)
        ranks = np.arange(count)
        before = previous_subject(subjects, ranks, np.zeros(count, dtype=np.int64), np.full(count, count))
        columns = whole_vectors(self.bundle, self.tables, examples.choice_vectors[:, place], subjects, before)
        picked = choice_columns(self.bundle, self.now.touched, columns, ranks)
        self._notifier.picked(int(entry["customer"]), picked, int(chosen[0]), self.choice)
        self.choice.learn(picked, int(chosen[0]))

    def _outcome(self, offset: int, source: Source, entry: np.void, recent: U64) -> None:
        subject, customer, time = int(entry["subject"]), int(entry["customer"]), int(entry["time"])
        self._count(offset, Tables.count_outcome, subject, recent.tolist())
        self.questions.outcome(source, customer, subject, time)
        self._cool(offset, CoolDowns.outcome, source, customer, subject, time)

    def _count(self, offset: int, count: Callable[[Tables, *_What], None], *what: *_What) -> None:
        """Count into the tables; later into those as of `oldest` too."""
        count(self.tables, *what)
        if self.durable:
            self._updates.append((offset, partial(count, self._base, *what)))

    def _cool(self, offset: int, act: Callable[[CoolDowns, *_What], _Found], *what: *_What) -> _Found:
        """Let something cool down, or no longer; later in what cooled down before `oldest` too."""
        if self.durable:
            self._updates.append((offset, partial(act, self._base_cooling, *what)))
        return act(self.cooling, *what)

    def resolve(self) -> int:
        """Answer, score and learn every question that is due, in order of time; returns how many there were."""
        return sum(self.resolving())

    def resolving(self) -> Iterator[int]:
        """As `resolve`, pausing after every few questions (how many), so that an event loop can breathe.

        Run it to its end; a checkpoint made in a pause learns the rest first.
        """
        now: list[Question] = []
        soon: list[Question] = []
        for source in self.questions.sources():
            passed = self.reading.passed(source)
            now += self.questions.due_now(source, passed)
            soon += self.questions.due_soon(source, passed)
        for is_soon, due in ((False, sorted(now)), (True, sorted(soon))):
            self._due.extend((is_soon, due[n : n + TOGETHER]) for n in range(0, len(due), TOGETHER))
        if self._due:
            self._notifier.asked(self.now, self.soon)
        while self._due:
            is_soon, questions = self._due.popleft()
            self._learn(questions, is_soon)
            yield len(questions)

    def _learn(self, questions: list[Question], is_soon: bool) -> None:
        counts = [len(question.subjects) for question in questions]
        columns = np.concatenate([question.columns for question in questions], axis=1)
        ranks = np.concatenate([question.ranks for question in questions])
        weights = np.repeat([question.weight for question in questions], counts)
        labels = np.concatenate([question.soon if is_soon else question.now for question in questions])
        if is_soon:
            head, weights = self.soon, weights / self.questions.share
        else:
            head = self.now
            self._judge(questions, ranks, labels, weights)
            self.tables.count_ranks(ranks, labels, weights)
        ready, said = head.ready, head.learn(columns, ranks, labels, weights)
        self._notifier.learned(is_soon, Lesson(Pairs(questions, columns, ranks, said), labels, weights, ready))

    def _judge(self, questions: list[Question], ranks: I64, labels: Bool, weights: F64) -> None:
        """Compare what the workers' model had said with the answers, beside its fallback as it is before these."""
        said = np.concatenate([question.said for question in questions])
        times = np.repeat([question.time for question in questions], [len(question.subjects) for question in questions])
        if self.progress.note(times, said, self.tables.rates_of(ranks), labels, weights):
            self.progress.tell(self.heard_version)
        if counted := [question for question in questions if question.alarms is not None]:
            self.curve.note(
                np.array([question.time for question in counted]),
                np.array([question.first for question in counted]),
                np.array([question.weight for question in counted]),
                [question.alarms for question in counted if question.alarms is not None],
                [question.now for question in counted],
            )

    def checkpoint(self) -> Checkpoint:
        """The model now, and all it takes to go on from here; independent of what is learned later.

        What is due is learned first: a trainer that goes on from here takes it for learned.
        """
        if not self.durable:
            raise ValueError("only a durable trainer remembers what a checkpoint needs")
        self.resolve()
        waits = self.questions.oldest()
        oldest = self.reading.next if waits is None else waits
        while self._updates and self._updates[0][0] < oldest:
            _, update = self._updates.popleft()
            update()
        return Checkpoint(
            self.model(),
            self.reading.copy(),
            self._base.copy(),
            self._base_reading.copy(),
            [question.copy() for question in self.questions.later()],
            self.questions.share,
            self.progress.copy(),
            self._base_cooling.sounded(),
            self._base_cooling.share,
        )

    def model(self) -> Model:
        """The model now, frozen; its version is the offset up to which it has read."""
        return Model(
            self.bundle,
            self.now.copy(),
            self.soon.copy(),
            self.choice.copy(),
            self.tables.copy(),
            dict(self.names),
            version=str(self.reading.next),
            losing=self.progress.losing,
            curve=self.curve.copy(),
        )
