"""The verdict on a run, customer by customer: against the naive oracle, and against a clean replay in process."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from features.state import decode as decode_states
from intents.catalog import Catalogue
from streams.settings import Settings
from streams.wire import Decoder
from tests.features.building import plain, watermarks
from tests.features.naive_log import Entry as LogEntry
from tests.features.naive_log import NaiveLog, NaiveLogs
from tests.intents.naive_detect import ASKED, OUTCOMES, lines_of
from tests.job import InProcessRun
from tests.soak.learning import Entry
from tests.soak.outcome import Letter, Outcome

SHOWN: Final = 20
"""Differences that are put into words."""
ENDS: Final = ("fulfilled", "expired", "forgotten")


@dataclass
class Verdict:
    """What is wrong, counted; `words` says where.

    Events lost and counted twice; customers whose state is not that of a clean run; customers who were forgotten, and
    those of them of whom something is left nevertheless; intents missing, wrong (other than
    a clean run's, out of order, or of nobody) and repeated with other bytes; dead letters missing and wrong;
    questions and outcomes that never came to the trainer, and those that came of nothing of the kind;
    labels learned twice or not at all; records deleted unread, those that workers said, and those not said once.
    """

    events: int = 0
    lost: int = 0
    counted_twice: int = 0
    states_wrong: int = 0
    forgotten: int = 0
    remembered: int = 0
    intents: int = 0
    intents_missing: int = 0
    intents_wrong: int = 0
    intents_repeated: int = 0
    plain_repeats: int = 0
    letters: int = 0
    letters_missing: int = 0
    letters_wrong: int = 0
    examples: int = 0
    examples_missing: int = 0
    examples_wrong: int = 0
    labels: int = 0
    learned_twice: int = 0
    not_learned: int = 0
    gone: int = 0
    gone_told: int = 0
    gone_wrong: int = 0
    lag: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        features = (self.lost, self.counted_twice, self.states_wrong, self.remembered)
        intents = (self.intents_missing, self.intents_wrong, self.intents_repeated)
        letters = (self.letters_missing, self.letters_wrong)
        learning = (self.examples_missing, self.examples_wrong, self.learned_twice, self.not_learned)
        return not any((*features, *intents, *letters, *learning, self.gone_wrong, self.lag))

    def say(self, word: str) -> None:
        """Put a difference into words, if there are not too many."""
        if len(self.words) < SHOWN:
            self.words.append(word)


def judge(outcome: Outcome, settings: Settings, snapshot: bytes | None) -> Verdict:
    """The verdict; with no snapshot the model swapped, and intents are judged by their lives alone."""
    verdict = Verdict(events=outcome.events, lag=sum(outcome.lags.values()), labels=outcome.labels)
    verdict.learned_twice = max(outcome.labels - outcome.labels_due, 0)
    verdict.not_learned = max(outcome.labels_due - outcome.labels, 0)
    if outcome.labels != outcome.labels_due:
        verdict.say(f"{outcome.labels} labels were learned, not {outcome.labels_due}")
    for group, lag in outcome.lags.items():
        if lag:
            verdict.say(f"{group} is {lag} records behind")
    logs, unverifiable, examples = naive_run(outcome, settings)
    _judge_examples(verdict, outcome.examples, examples)
    _judge_features(verdict, logs, outcome.states)
    _judge_forgotten(verdict, logs, outcome)
    _judge_letters(verdict, outcome, outcome.bad() | unverifiable, settings)
    _judge_gone(verdict, outcome)
    published = {number: _once(verdict, values) for number, values in outcome.intents.items()}
    verdict.intents = sum(map(len, published.values()))
    if snapshot is None:
        _judge_lives(verdict, published)
        return verdict
    alone = InProcessRun(outcome.as_recording(), snapshot, settings)
    _judge_intents(verdict, published, alone.intents)
    clean = alone.states(settings, [name.encode() for name in logs])
    for name in sorted(clean):
        expected, found = _meaning(name, clean[name]), _meaning(name, outcome.states.get(name))
        if expected != found:
            verdict.states_wrong += 1
            differing = [(a, b) for a, b in zip(expected, found, strict=True) if a != b]
            verdict.say(f"the state of {name} is not that of a clean run: {differing}")
    return verdict


def _meaning(name: str, blob: bytes | None) -> tuple[object, ...]:
    """All that a state says.

    A cool-down that is over at the customer's last event says nothing: the next question drops it.
    """
    states = decode_states([name], [blob])
    memory, newest = states.memory, int(states.memory.newest[0])
    held = int(memory.held[0])
    folded = list(zip(memory.ids[0, :held].tolist(), memory.times[0, :held].tolist(), strict=True))
    slots = [
        (*slot.item()[:-1], slot["intent_id"].tobytes().hex(), states.notes.get((0, number)) or b"")
        for number, slot in enumerate(states.slots[0])
        if slot["open"] or slot["cool_until"] > newest
    ]
    numbers = [int(getattr(memory, field)[0]) for field in ("newest", "floor", "complete_since", "forced")]
    return numbers, int(states.tombstone[0]), folded, sorted(slots), plain(states)


class Naive(NamedTuple):
    """What the slow oracle makes of a log.

    Every customer's log, (partition, offset) of what it could not tell from a duplicate, and what the trainer is told.
    """

    logs: dict[str, NaiveLog]
    unverifiable: set[tuple[int, int]]
    examples: set[Entry]


def naive_run(outcome: Outcome, settings: Settings) -> Naive:
    """Everything that was read, by the slow oracle."""
    found = Naive({}, set(), set())
    for number in sorted(outcome.log):
        chunk, refused = Decoder(Catalogue()).decode(outcome.good_records(settings.clickstream, number))
        if refused:
            raise RuntimeError(f"a good record is refused: {refused[0]}")
        lines = list(lines_of(chunk))
        of_partition, mark = NaiveLogs(), -1
        for line, mark in zip(lines, watermarks([line.event for line in lines]), strict=True):
            told = of_partition.apply(line.event, mark)
            if told.verdict == "unverifiable":
                found.unverifiable.add((number, line.offset))
            if told.verdict == "applied" and line.event.subjects:
                if line.event.kind in OUTCOMES:
                    found.examples.add(Entry("outcome", number, line.offset, line.line))
                elif line.event.kind in ASKED and not told.late:
                    found.examples.add(Entry("asked", number, line.offset, line.line))
        for log in of_partition.of.values():
            log.end(mark)
        found.logs.update(of_partition.of)
    return found


def _judge_examples(verdict: Verdict, found: set[Entry], expected: set[Entry]) -> None:
    """Each question and outcome has come, after a loss of Redis too: one is published before it is acknowledged."""
    verdict.examples = len(found)
    verdict.examples_missing, verdict.examples_wrong = len(expected - found), len(found - expected)
    for wrong, how in ((expected - found, "never came to the trainer"), (found - expected, "came of nothing")):
        for what, number, offset, line in sorted(wrong):
            verdict.say(f"{what} {how}: line {line} of record {offset} of partition {number}")


def _totals(entries: Iterable[LogEntry]) -> Counter[tuple[str, int, bool]]:
    totals: Counter[tuple[str, int, bool]] = Counter()
    for entry in entries:
        totals[entry.kind, entry.subject, entry.first] += entry.count
    return totals


def _judge_features(verdict: Verdict, logs: dict[str, NaiveLog], states: dict[str, bytes]) -> None:
    for name in sorted(logs.keys() | states.keys()):
        expected = logs[name].entries if name in logs else []
        found = plain(decode_states([name], [states.get(name)]))
        if found == expected:
            continue
        lost, twice = _totals(expected) - _totals(found), _totals(found) - _totals(expected)
        verdict.lost += lost.total()
        verdict.counted_twice += twice.total()
        verdict.states_wrong += 1
        verdict.say(f"the log of {name}: {lost.total()} lost, {twice.total()} twice, of {len(expected)} entries")


def _judge_forgotten(verdict: Verdict, logs: dict[str, NaiveLog], outcome: Outcome) -> None:
    """Nothing is left of who asked to be forgotten and did not come again."""
    verdict.forgotten = sum(log.tombstone >= 0 for log in logs.values())
    gone = {name for name, log in logs.items() if log.tombstone >= 0 and not log.entries}
    for name in sorted(gone & (outcome.states.keys() | outcome.named)):
        verdict.remembered += 1
        verdict.say(f"{name} was forgotten, but Redis still has the name")


def _judge_gone(verdict: Verdict, outcome: Outcome) -> None:
    """What was deleted unread is said, exactly and once."""
    expected = Counter((number, cut.first, cut.end) for number, cut in outcome.cut.items())
    verdict.gone = sum(end - first for _, first, end in expected.elements())
    verdict.gone_told = sum(end - first for _, first, end in outcome.told.elements())
    for wrong, what in ((expected - outcome.told, "not said"), (outcome.told - expected, "said")):
        for (number, first, end), times in wrong.items():
            verdict.gone_wrong += times * (end - first)
            verdict.say(f"{what} to be missing in partition {number}: {first} to {end}, {times} times")


def _judge_letters(verdict: Verdict, outcome: Outcome, expected: set[tuple[int, int]], settings: Settings) -> None:
    seen: set[tuple[int, int]] = set()
    for letter in outcome.letters:
        place = letter.partition, letter.offset
        if place not in seen and not _true(letter, outcome, expected, settings.clickstream):
            verdict.letters_wrong += 1
            verdict.say(f"a dead letter of {place} that should not be, or with other bytes")
        seen.add(place)
    verdict.letters = len(seen)
    for place in sorted(expected - seen):
        verdict.letters_missing += 1
        row = outcome.log[place[0]][place[1]]
        verdict.say(f"no dead letter of {place}: {(row.value or b'')[:200]!r}")


def _true(letter: Letter, outcome: Outcome, expected: set[tuple[int, int]], topic: str) -> bool:
    if letter.topic != topic or (letter.partition, letter.offset) not in expected:
        return False
    row = outcome.log[letter.partition][letter.offset]
    return letter.key == row.key and (row.value or b"").startswith(letter.value or b"")


def _once(verdict: Verdict, values: Sequence[bytes]) -> list[bytes]:
    """Intents without repeats, as a consumer keeps them; a repeat must say the same, byte for byte."""
    seen: dict[tuple[str, int], bytes] = {}
    for value in values:
        name = _name(value)
        if name not in seen:
            seen[name] = value
        elif seen[name] == value:
            verdict.plain_repeats += 1
        else:
            verdict.intents_repeated += 1
            verdict.say(f"two records of {name}: {seen[name]!r} and {value!r}")
    return list(seen.values())


def _name(value: bytes) -> tuple[str, int]:
    intent = orjson.loads(value)
    return intent["intent_id"], intent["sequence"]


def _by_customer(values: Iterable[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for value in values:
        found[orjson.loads(value)["customer_id"]].append(value)
    return found


def _judge_intents(verdict: Verdict, published: dict[int, list[bytes]], clean: dict[int, list[bytes]]) -> None:
    for number in sorted(published.keys() | clean.keys()):
        ours, theirs = _by_customer(published.get(number, [])), _by_customer(clean.get(number, []))
        for customer in sorted(ours.keys() | theirs.keys()):
            if ours[customer] != theirs[customer]:
                _compare(verdict, customer, ours[customer], theirs[customer])


def _compare(verdict: Verdict, customer: str, ours: list[bytes], theirs: list[bytes]) -> None:
    found, expected = {_name(value): value for value in ours}, {_name(value): value for value in theirs}
    missing = [value for name, value in expected.items() if name not in found]
    wrong = [value for name, value in found.items() if expected.get(name) != value]
    verdict.intents_missing += len(missing)
    verdict.intents_wrong += len(wrong) or (not missing)  # all there, in another order
    verdict.say(f"intents of {customer}: missing {missing[:2]!r}, wrong {wrong[:2]!r}, of {len(theirs)}")
    for value in wrong[:2]:
        verdict.say(f"  where a clean run says {expected.get(_name(value))!r}")


def _judge_lives(verdict: Verdict, published: dict[int, list[bytes]]) -> None:
    """Each intent begins with `detected`, goes on without a hole, and has one end, which is its last record."""
    lives: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for values in published.values():
        for intent in map(orjson.loads, values):
            lives[intent["intent_id"]].append((intent["sequence"], intent["status"]))
    for name, life in lives.items():
        statuses = [status for _, status in life]
        if not any(status in ENDS for status in statuses):
            verdict.intents_missing += 1
            verdict.say(f"intent {name} has no end: {life}")
        elif not (
            [sequence for sequence, _ in life] == list(range(len(life)))
            and [n for n, status in enumerate(statuses) if status == "detected"] == [0]
            and [n for n, status in enumerate(statuses) if status in ENDS] == [len(life) - 1]
        ):
            verdict.intents_wrong += 1
            verdict.say(f"the life of intent {name}: {life}")
