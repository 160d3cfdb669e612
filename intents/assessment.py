"""Everything that can be said about a scores file, put together: numbers, parts, thresholds, and how sure they are."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from intents.bootstrap import (
    SEED,
    Difference,
    Interval,
    Measured,
    Number,
    bootstrap,
    differences,
    intervals,
    nested,
    no_one,
)
from intents.evaluation import Evaluation, judge_evidence, weighed, without_nan
from intents.evidence import Evidence
from intents.metrics import CalibrationBin, calibration_bins
from intents.slices import by_day, by_group
from intents.targets import Target
from intents.thresholds import Chosen, Sweep

Told = Callable[[float, int], None]
Place = tuple[str, str]
"""(section, name) of something measured."""

SECTIONS: Final = ("model", "rule", "days", "groups", "thresholds", "alarms")


@dataclass(frozen=True, slots=True)
class Assessment:
    """An evaluation with its parts.

    `sections` have what was measured: "model" and "rule" (one each: all numbers of the evaluation), "days", "groups",
    "thresholds", and "alarms" at the fixed threshold and at those chosen for each target. `calibration` by horizon.
    """

    evidence: Evidence
    evaluation: Evaluation
    sections: dict[str, list[Measured]]
    chosen: list[Chosen]
    calibration: dict[str, list[CalibrationBin]]

    def measured(self) -> Iterator[tuple[Place, Measured]]:
        """Everything measured, in order."""
        for section in SECTIONS:
            for each in self.sections[section]:
                yield (section, each.name), each

    def numbers(self, section: str) -> list[tuple[Measured, dict[Number, float]]]:
        """What a section measured, with its numbers."""
        ones = self.evidence.judged.astype(float)
        return [(each, each.numbers(ones)) for each in self.sections[section]]

    def to_dict(self, certainty: "Certainty | None" = None) -> dict[str, object]:
        """Nested plain values for JSON; what cannot be said is None."""
        told: dict[str, object] = dict(self.evaluation.to_dict())
        sure = certainty.intervals if certainty else {}
        judged = self.evidence.judged
        for section in SECTIONS[2:]:
            told[section] = [each.to_dict(judged, sure.get((section, each.name))) for each in self.sections[section]]
        told["targets"] = [
            {"target": str(each.target), "by_day": each.by_day, "by_intent": each.by_intent} for each in self.chosen
        ]
        told["calibration"] = {name: [asdict(each) for each in bins] for name, bins in self.calibration.items()}
        if certainty is not None:
            told["resamples"] = certainty.resamples
            for section in SECTIONS[:2]:
                found = certainty.intervals[section, section]
                told[f"intervals_{section}"] = nested({number: asdict(each) for number, each in found.items()})
            told["against"] = _by_place(certainty)
            told["by_intent_less_by_day"] = {target: _told(each) for target, each in certainty.by_intent.items()}
        return without_nan(told)


@dataclass(frozen=True, slots=True)
class Certainty:
    """Intervals of what was measured, by place, and differences with theirs.

    `differences` are to another scores file, where there is one; `by_intent`, for each target, of thresholds by intent
    to one for all.
    """

    resamples: int
    intervals: dict[Place, dict[Number, Interval]]
    differences: dict[Place, dict[Number, Difference]]
    by_intent: dict[str, dict[Number, Difference]]


def assess(
    evidence: Evidence,
    threshold: float,
    targets: Sequence[Target] = (),
    wanted: Collection[str] = SECTIONS,
    told: Told = no_one,
) -> Assessment:
    """Judge the evidence whole and in the sections that are `wanted` (the others stay empty).

    Targets bring the section "alarms" by themselves. `told` hears how far thresholds have been tried (share, count).
    """
    sounding = evidence.sounding(threshold)
    part = evidence.part(sounding)
    mine, rule = weighed(evidence, part)
    sections: dict[str, list[Measured]] = {section: [] for section in SECTIONS}
    sections |= {"model": [Measured("model", {}, mine)], "rule": [Measured("rule", {}, rule)]}
    if "days" in wanted:
        sections["days"] = by_day(evidence, evidence.part(sounding, whole=True))
    if "groups" in wanted:
        sections["groups"] = by_group(evidence, part)
    chosen: list[Chosen] = []
    if "thresholds" in wanted or "alarms" in wanted or targets:
        sweep = Sweep(evidence, threshold, told)
        sections["thresholds"] = sweep.table() if "thresholds" in wanted else []
        chosen = [sweep.choose(target) for target in targets]
        both = [measured for each in chosen for measured in (each.achieved, each.achieved_by_intent)]
        sections["alarms"] = [sweep.measured(f"fixed at {threshold:g}", sounding), *both]
    calibration = {"now": calibration_bins(part.now.labels, part.now.scores)}
    if evidence.said.has_soon:
        calibration["soon"] = calibration_bins(part.soon.labels, part.soon.scores)
    return Assessment(evidence, judge_evidence(evidence, part), sections, chosen, calibration)


def ascertain(
    assessment: Assessment,
    resamples: int,
    seed: int = SEED,
    against: Assessment | None = None,
    told: Told = no_one,
) -> Certainty:
    """How sure the numbers are by resampling customers, and their differences to `against`, of the same recording."""
    mine = dict(assessment.measured())
    theirs = dict(against.measured()) if against else {}
    judged = assessment.evidence.judged
    drawn = bootstrap([*mine.values(), *theirs.values()], judged, resamples, seed, told)
    ours = dict(zip(mine, drawn, strict=False))
    others = dict(zip(theirs, drawn[len(mine) :], strict=True))
    pays = {}
    for each in assessment.chosen:
        intent, day = ("alarms", each.achieved_by_intent.name), ("alarms", each.achieved.name)
        pays[str(each.target)] = differences((mine[intent], mine[day]), (ours[intent], ours[day]), judged)
    return Certainty(
        resamples,
        {place: intervals(values) for place, values in ours.items()},
        {
            place: differences((mine[place], theirs[place]), (ours[place], others[place]), judged)
            for place in mine
            if place in theirs
        },
        pays,
    )


def _by_place(certainty: Certainty) -> dict[str, object]:
    """Differences for JSON: by section, name, task and number."""
    found: dict[str, dict[str, object]] = {}
    for (section, name), numbers in certainty.differences.items():
        found.setdefault(section, {})[name] = _told(numbers)
    return {section: dict(each) for section, each in found.items()}


def _told(numbers: Mapping[Number, Difference]) -> dict[str, dict[str, object]]:
    return nested({number: each.to_dict() for number, each in numbers.items()})
