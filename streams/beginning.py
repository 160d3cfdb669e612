"""Since when states are whole that are rebuilt from a log whose beginning is gone.

What came before may have been later in event time than the first record that is left, and may come again. So the
states begin where nothing of it can lie any more: all that is older is unverifiable (`features/state.py`).

1. An event that is in time is at most the allowed lateness older than what came before it. So what is gone reaches at
   most so far beyond the first event that is left. Some of the first may be late, or ahead: the median customer counts.
2. What was published for a record that is left tells how far time had come by then. What is gone does not reach beyond.
3. If none of the records that were worked is left, what was published last is all there is to go by: an event that is
   older is refused, though it may be new and in time. If nothing was published, nothing can be said in other words: it
   is the watermark of the first new events, so that none of those in time is refused. With neither, nothing is claimed.
"""

from typing import Final

import numpy as np

from features.events import Chunk
from intents.adoption import Published

FIRST_RECORDS: Final = 500
"""How many records are looked at."""
CUSTOMERS: Final = 9
"""How many customers' first events are: any four of them may be late beyond the lateness, or have a clock ahead."""


def complete_since(chunk: Chunk, worked: int, published: Published, lateness_ms: int) -> int:
    """Event time (UTC ms) that no event from before `chunk` reaches, as far as can be told; -1 if nothing tells.

    `chunk` is what is left first, `worked` the source offset before which everything was worked (-1: nowhere).
    """
    latest = published.watermark + lateness_ms if published.watermark >= 0 else -1
    left = int(np.searchsorted(chunk.offset, worked))
    if left:
        reaches = _median_clock(chunk, left) + lateness_ms
        return (min(reaches, latest) if published.last >= chunk.start else reaches) + 1
    return latest + 1 if latest >= 0 else max(_median_clock(chunk, len(chunk)) - lateness_ms, -1)


def _median_clock(chunk: Chunk, events: int) -> int:
    """Of the first customers' first events, among the first `events`, the median clock; -1 if there is none."""
    _, first = np.unique(np.array(chunk.customers[:events], dtype=object), return_index=True)
    clocks = np.sort(chunk.clock[np.sort(first)[:CUSTOMERS]])
    return int(clocks[len(clocks) // 2]) if len(clocks) else -1
