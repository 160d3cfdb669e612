"""The numbers of metrics.py under weights of customers, fast enough for hundreds of resamples: rows are sorted once."""

from typing import Final, Protocol

import numpy as np

from intents.metrics import CALIBRATION_BINS, Bools, Floats, Ints, Worth


class Weighed(Protocol):
    """Some numbers, each a function of how much every customer counts."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each number is."""

    def under(self, weights: Floats) -> Floats:
        """Return the numbers, each customer counted `weights[customer]` times (whole numbers); NaN as in metrics."""


class Shares:
    """Weighed means of columns (rows x names), each row being a customer's."""

    def __init__(self, names: tuple[str, ...], customers: Ints, values: Floats, population: int) -> None:
        self.names = names
        columns = [np.bincount(customers, column, population) for column in values.T]
        self._sums = np.stack([*columns, np.bincount(customers, minlength=population)], axis=1)

    def under(self, weights: Floats) -> Floats:
        """Sums over sums."""
        *sums, count = (weights @ self._sums).tolist()
        return np.array([each / count if count else np.nan for each in sums])


class Ratio:
    """One amount over another, both by customer."""

    def __init__(self, name: str, above: Ints, below: Ints) -> None:
        self.names = (name,)
        self._sums = np.stack([above, below], axis=1).astype(float)

    def under(self, weights: Floats) -> Floats:
        """A sum over a sum."""
        above, below = (weights @ self._sums).tolist()
        return np.array([above / below if below else np.nan])


def rank_shares(customers: Ints, ranks: Ints, population: int, *, hits: tuple[int, ...], listed: int = 2**62) -> Shares:
    """`hit_k` for each k of `hits`, `mrr` and `recall` of 1-based ranks (0: missing); beyond `listed` they miss."""
    there = (ranks > 0) & (ranks <= listed)
    reciprocal = np.where(there, 1.0 / np.maximum(ranks, 1), 0.0)
    columns = [*(there & (ranks <= k) for k in hits), reciprocal, there]
    names = (*(f"hit_{k}" for k in hits), "mrr", "recall")
    return Shares(names, customers, np.stack(columns, axis=1).astype(float), population)


class Detection:
    """`base_rate`, `auc`, `average_precision` and `calibration_error` of pairs (NaN unless `calibrated`)."""

    names: Final = ("base_rate", "auc", "average_precision", "calibration_error")

    def __init__(
        self, customers: Ints, labels: Bools, scores: Floats, population: int, *, calibrated: bool = True
    ) -> None:
        best = np.argsort(-scores, kind="stable")
        sorted_scores, self._customers = scores[best], customers[best]
        positive = np.flatnonzero(labels[best])
        self._positive_customers = self._customers[positive]
        # Only the scores that a positive has are steps; each spans the rows [first, last] of that very score.
        steps, self._step = np.unique(-sorted_scores[positive], return_inverse=True)
        self._above = np.searchsorted(-sorted_scores, steps, side="left")
        self._down_to = np.searchsorted(-sorted_scores, steps, side="right")
        self._calibrated = calibrated
        if calibrated:
            place = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
            cells = customers * CALIBRATION_BINS + place
            gaps = np.bincount(cells, scores - labels, population * CALIBRATION_BINS)
            self._gaps = gaps.reshape(population, CALIBRATION_BINS)

    def under(self, weights: Floats) -> Floats:
        """One pass over the rows in their order."""
        running = np.concatenate([[0.0], np.cumsum(weights[self._customers])])
        everything = running[-1]
        gains = np.bincount(self._step, weights[self._positive_customers], len(self._above))
        found = np.cumsum(gains)
        positives = found[-1] if len(found) else 0.0
        negatives = everything - positives
        above, down_to = running[self._above] - (found - gains), running[self._down_to] - found
        area = precision = error = np.nan
        if positives and negatives:
            area = float(gains @ (negatives - (above + down_to) / 2) / positives / negatives)
        if positives:
            reached = np.maximum(running[self._down_to], 1e-300)
            precision = float((gains * found / reached).sum() / positives)
        if self._calibrated and everything:
            error = float(np.abs(weights @ self._gaps).sum() / everything)
        return np.array([positives / everything if everything else np.nan, area, precision, error])


class Emitted:
    """`precision`, `recall`, `f1`, `median_lead_s` and `f1_once` of alarms and outcomes that are customers'."""

    names: Final = ("precision", "recall", "f1", "median_lead_s", "f1_once")

    def __init__(self, alarm_customers: Ints, outcome_customers: Ints, judged: Worth, population: int) -> None:
        def sums(customers: Ints, marks: Bools | None = None) -> Floats:
            return np.bincount(customers, marks, population).astype(float)

        self._sums = np.stack(
            [
                sums(alarm_customers),
                sums(alarm_customers, judged.right),
                sums(alarm_customers, judged.caught),
                sums(outcome_customers),
                sums(outcome_customers, judged.warned),
            ],
            axis=1,
        )
        leads = judged.lead_ms[judged.right]
        order = np.argsort(leads)
        self._leads, self._lead_customers = leads[order], alarm_customers[judged.right][order]

    def under(self, weights: Floats) -> Floats:
        """Shares of sums; the median counts every lead as often as its customer."""
        alarms, right, caught, outcomes, warned = (weights @ self._sums).tolist()
        precision = right / alarms if alarms else np.nan
        recall = warned / outcomes if outcomes else np.nan
        f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else np.nan
        once = 2 * caught / (alarms + outcomes) if alarms + outcomes else np.nan
        return np.array([precision, recall, f1, self._median_s(weights), once])

    def _median_s(self, weights: Floats) -> float:
        running = np.cumsum(weights[self._lead_customers])
        if not len(running) or not running[-1]:
            return float("nan")
        half = running[-1] / 2
        lower, upper = np.searchsorted(running, half, side="left"), np.searchsorted(running, half, side="right")
        return float(self._leads[lower] + self._leads[min(upper, len(running) - 1)]) / 2000
