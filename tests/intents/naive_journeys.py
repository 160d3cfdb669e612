"""The slow judge of journeys: stages, occasions, lifts and lists in plain Python, one thing after another."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

from features.kinds import ASKED, OUTCOMES
from intents.affinity import MOST_SUBJECTS
from intents.next_lists import A_LITTLE, BASKETS_BACK, FADE, LATELY, VISITS_BACK
from intents.stages import DAY_MS, Touch
from intents.transitions import LOOK_BACK, OUTCOME_ORIGINS, SMOOTHING


@dataclass
class NaiveStage:
    """One stage: subjects in order of their first touch."""

    customer: str
    time_ms: int
    subjects: list[str] = field(default_factory=list)
    outcome: set[str] = field(default_factory=set)
    direct: set[str] = field(default_factory=set)


@dataclass
class NaiveOccasion:
    """What came at a stage, after what."""

    stage: int
    before: list[str]
    came: list[str]


def naive_stages(touches: Sequence[Touch]) -> list[NaiveStage]:
    """All stages, customers in order of their first touch."""
    asked = any(touch.kind in ASKED for touch in touches)
    by_customer: dict[str, list[Touch]] = {}
    for touch in touches:
        if touch.subjects:
            by_customer.setdefault(touch.customer_id, []).append(touch)
    stages: list[NaiveStage] = []
    for mine in by_customer.values():
        if asked:
            groups: list[list[Touch]] = []
            for touch in sorted(mine, key=lambda touch: touch.time_ms):
                if not groups or groups[-1][0].subjects != touch.subjects:
                    groups.append([])
                groups[-1].append(touch)
        else:
            baskets: dict[object, list[Touch]] = {}
            for touch in mine:
                baskets.setdefault(touch.session or touch.time_ms // DAY_MS, []).append(touch)
            groups = sorted(baskets.values(), key=lambda group: min(touch.time_ms for touch in group))
            groups = [sorted(group, key=lambda touch: touch.time_ms) for group in groups]
        stages += [_stage(group) for group in groups]
    return stages


def _stage(group: list[Touch]) -> NaiveStage:
    stage = NaiveStage(group[0].customer_id, group[0].time_ms)
    for touch in group:
        for subject in touch.subjects:
            if subject not in stage.subjects:
                stage.subjects.append(subject)
                if touch.kind in OUTCOMES:
                    stage.direct.add(subject)
            if touch.kind in OUTCOMES:
                stage.outcome.add(subject)
    return stage


def naive_recent(stages: list[NaiveStage], at: int, back: int) -> list[tuple[str, int]]:
    """(subject, age) of what was in the `back` stages before, the latest first."""
    found: dict[str, int] = {}
    for ago in range(1, back + 1):
        if at - ago >= 0 and stages[at - ago].customer == stages[at].customer:
            for subject in stages[at - ago].subjects:
                found.setdefault(subject, ago)
    return list(found.items())


def naive_next(stages: list[NaiveStage], again: bool = False) -> list[NaiveOccasion]:
    """Stages after the stage before."""
    found = []
    for at in range(1, len(stages)):
        if stages[at].customer == stages[at - 1].customer:
            before = stages[at - 1].subjects
            came = [subject for subject in stages[at].subjects if again or subject not in before]
            found.append(NaiveOccasion(at, list(before), came))
    return found


def naive_outcomes(stages: list[NaiveStage]) -> list[NaiveOccasion]:
    """Outcomes after the latest three others."""
    found = []
    for at, stage in enumerate(stages):
        for subject in stage.subjects:
            if subject in stage.outcome:
                others = [other for other, _ in naive_recent(stages, at, LOOK_BACK) if other != subject]
                found.append(NaiveOccasion(at, others[:OUTCOME_ORIGINS], [subject]))
    return found


class NaiveTransitions:
    """Counts of every (origin, target)."""

    def __init__(self, stages: list[NaiveStage], occasions: list[NaiveOccasion], weights: dict[str, float]) -> None:
        self.count: Counter[tuple[str, str]] = Counter()
        self.customers: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.leaving: Counter[str] = Counter()
        self.arriving: Counter[str] = Counter()
        self._occasions = [(weights.get(stages[o.stage].customer, 1.0), o) for o in occasions]
        for occasion in occasions:
            for a in occasion.before:
                for b in occasion.came:
                    self.count[a, b] += 1
                    self.customers[a, b].add(stages[occasion.stage].customer)
                    self.leaving[a] += 1
                    self.arriving[b] += 1

    def confidence(self, a: str, b: str) -> float:
        """Of the occasions with a and without b before, those to which b came."""
        could = [o for _, o in self._occasions if a in o.before and b not in o.before]
        return self.count[a, b] / max(len(could), 1)

    def lift(self, a: str, b: str, subjects: Sequence[str]) -> float:
        """Moves over those that popularity alone would make."""
        rate = {}
        for s in subjects:
            chances = sum(w * len(o.came) for w, o in self._occasions if s not in o.before)
            rate[s] = sum(w for w, o in self._occasions if s in o.came) / max(chances, 1.0)
        moves = expected = 0.0
        for weight, o in self._occasions:
            if a in o.before and b not in o.before:
                moves += weight * (b in o.came)
                left = sum(rate[s] for s in subjects if s not in o.before)
                expected += weight * len(o.came) * rate[b] / max(left, 1e-12)
        return moves / expected if expected > 1e-9 else 0.0

    def foreseen(self, a: str, b: str, subjects: Sequence[str]) -> float:
        """The smoothed share of moves from a that lead to b."""
        return (self.count[a, b] + SMOOTHING * self.share(b, subjects)) / (self.leaving[a] + SMOOTHING)

    def share(self, b: str, subjects: Sequence[str]) -> float:
        """The share of all moves that lead to b."""
        return (self.arriving[b] + 1) / (self.arriving.total() + len(subjects))


def naive_affinity(stages: list[NaiveStage], part: list[bool], subjects: Sequence[str]) -> dict[tuple[str, str], float]:
    """Cosines between subjects over customers."""
    held: dict[str, set[str]] = defaultdict(set)
    for stage, is_in in zip(stages, part, strict=True):
        if is_in:
            held[stage.customer] |= set(stage.subjects)
    assert all(len(mine) <= MOST_SUBJECTS for mine in held.values())
    both: dict[tuple[str, str], float] = defaultdict(float)
    for mine in held.values():
        for a in mine:
            for b in mine:
                both[a, b] += 1 / len(mine)
    return {(a, b): value / sqrt(both[a, a] * both[b, b]) for (a, b), value in both.items()}


def naive_places(
    stages: list[NaiveStage], at: int, came: str, new: bool, baskets: bool, subjects: Sequence[str], cut_ms: int
) -> tuple[int, ...]:
    """Places of what came in each of LISTS."""
    early = [stage.time_ms < cut_ms for stage in stages]
    occasions = [o for o in naive_next(stages, again=baskets and not new) if early[o.stage]]
    learned = NaiveTransitions(stages, occasions, {})
    kin = naive_affinity(stages, early, subjects)
    if baskets:
        recent = [(subject, FADE ** (age - 1)) for subject, age in naive_recent(stages, at, BASKETS_BACK)]
    else:
        visited = naive_recent(stages, at, LOOK_BACK)[:VISITS_BACK]
        recent = [(subject, FADE**rank) for rank, (subject, _) in enumerate(visited)]
    had = {s for stage in stages[:at] if stage.customer == stages[at].customer for s in stage.subjects}
    out = had if new else (set() if baskets else set(stages[at - 1].subjects))
    lately = _lately(stages, naive_next(stages, again=baskets and not new), cut_ms)
    latest = [subject for subject, _ in naive_recent(stages, at, LOOK_BACK)]
    journeys: list[float] = []
    lists: list[list[float]] = [[], [], [], [], []]
    for subject in subjects:
        transitions = sum(fade * learned.foreseen(a, subject, subjects) for a, fade in recent)
        affinity = sum(fade * kin.get((a, subject), 0.0) for a, fade in recent)
        popular = learned.share(subject, subjects)
        of_late = (lately[subject] + 50 * popular) / (lately.total() + 50)
        own = 2 - latest.index(subject) / 100 if subject in latest else popular
        journeys.append(transitions * (affinity + A_LITTLE))
        scores = (journeys[-1], transitions, popular, of_late, own)
        for row, score in zip(lists, scores, strict=True):
            row.append(-1.0 if subject in out else score)
    if not new:
        chance, other = _returns(stages, early, baskets)
        total = sum(journeys)
        ago = dict(_ago(stages, at, baskets))
        lists[0] = [
            -1.0 if subject in out else other * score / total + chance.get(ago.get(subject, -1), 0.0)
            for subject, score in zip(subjects, journeys, strict=True)
        ]
    index = subjects.index(came)
    return tuple(
        1 + sum(s > row[index] + 1e-12 or (abs(s - row[index]) <= 1e-12 and i < index) for i, s in enumerate(row))
        for row in lists
    )


def _lately(stages: list[NaiveStage], occasions: list[NaiveOccasion], cut_ms: int) -> Counter[str]:
    """What came how often in the last part of the time before the cut."""
    early = [stage.time_ms for stage in stages if stage.time_ms < cut_ms]
    came: Counter[str] = Counter()
    for occasion in occasions:
        time_ms = stages[occasion.stage].time_ms
        if time_ms < cut_ms and time_ms >= max(early) - (max(early) - min(early)) * LATELY:
            came.update(occasion.came)
    return came


def _ago(stages: list[NaiveStage], at: int, baskets: bool) -> list[tuple[str, int]]:
    """How long ago each recent subject was there that may come again."""
    recent = naive_recent(stages, at, LOOK_BACK)
    if baskets:
        return [(subject, age - 1) for subject, age in recent]
    others = [subject for subject, age in recent if age > 1]
    return [(subject, min(place, LOOK_BACK - 1)) for place, subject in enumerate(others)]


def _returns(stages: list[NaiveStage], early: list[bool], baskets: bool) -> tuple[dict[int, float], float]:
    """Chance to come again by how long ago, and how much else comes at a stage."""
    there: Counter[int] = Counter()
    again: Counter[int] = Counter()
    came = seen = 0
    for at in range(1, len(stages)):
        if early[at] and stages[at].customer == stages[at - 1].customer:
            seen += 1
            came += len(stages[at].subjects)
            for subject, ago in _ago(stages, at, baskets):
                there[ago] += 1
                again[ago] += subject in stages[at].subjects
    return {ago: again[ago] / count for ago, count in there.items()}, (came - again.total()) / max(seen, 1)
