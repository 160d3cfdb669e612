"""What `micro-intents journeys` tells of a recording, as values: transitions, declared steps, chains, judged lists."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

from intents.catalog import Catalogue
from intents.learned_journeys import Chain, DeclaredStep, best, chains, declared
from intents.next_lists import Judged, judge
from intents.stages import Stages
from intents.transitions import Transition, Transitions, next_occasions, outcome_occasions


@dataclass(frozen=True, slots=True)
class Report:
    """What was learned from all stages, and how lists that were learned before the held-back end did on it."""

    baskets: bool
    stages: int
    customers: int
    subjects: int
    next: list[Transition]
    outcome: list[Transition]
    declared: list[DeclaredStep]
    chains: list[Chain]
    judged: list[Judged]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; what cannot be said (NaN) is None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    def chains_in_words(self, label: Callable[[str], str]) -> Iterator[str]:
        """Each chain as a sentence, subjects as `label` calls them."""
        stage = "basket" if self.baskets else "visit"
        for chain in self.chains:
            first, *steps = [
                f"{label(step.target)} (in {step.confidence:.0%} of the next {stage}s, {step.lift:.2f} times as often "
                f"as by popularity; {step.customers:,} customers)"
                for step in chain.steps
            ]
            yield f"{label(chain.stages[0])}, then {first}" + "".join(f", then {step}" for step in steps)


def report(
    stages: Stages, catalogue: Catalogue, hold_back: float, min_customers: int, most: int, how_many: int
) -> Report:
    """Learn and judge. `most` transitions of each kind are told, the surest lift first, and `how_many` chains."""
    learned = Transitions(stages, next_occasions(stages))
    outcome = None if stages.baskets else Transitions(stages, outcome_occasions(stages))
    return Report(
        stages.baskets,
        len(stages),
        stages.customers,
        len(stages.names),
        _best(learned, min_customers, most),
        _best(outcome, min_customers, most) if outcome else [],
        declared(learned, catalogue.journeys),
        chains(learned, min_customers, how_many),
        judge(stages, stages.cut_ms(hold_back)) if hold_back else [],
    )


def _best(learned: Transitions, min_customers: int, most: int) -> list[Transition]:
    rows, _ = best(learned, min_customers)
    return learned.told(rows[:most])


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
