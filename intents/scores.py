"""The scores file: what the model said when it was asked, before it learned, one JSON object a line."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import orjson

from features.events import Batch
from features.kinds import CODE
from intents.detect import Scored
from intents.journeys import Journeys

_VIEW: Final = CODE["view"]
DIGITS: Final = 6


def score_lines(
    batch: Batch, customers: Sequence[str], scored: Sequence[Scored], journeys: Journeys, *, ready: bool
) -> Iterator[tuple[int, bytes]]:
    """(event of the batch, line) for each view (ask "detect") and each cart_add or purchase (ask "rank").

    Best candidate first.
    """
    for wave in scored:
        p = np.round(wave.p, DIGITS)
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
            if not ready:
                line["ready"] = False
            yield event, orjson.dumps(line) + b"\n"
