"""Since when states are whole that are rebuilt from a log whose beginning is gone.

What came before may have been later in event time than the first record that is left, and may come again. So the
states begin where nothing of it can lie any more: all that is older is unverifiable (`features/state.py`).
"""

from typing import Final

import numpy as np

from features.events import Chunk

FIRST_RECORDS: Final = 500
"""How many records are looked at."""
CUSTOMERS: Final = 9
"""How many customers' first events are: any four of them may be late beyond the lateness, or have a clock ahead."""


def complete_since(chunk: Chunk, lateness_ms: int) -> int:
    """Event time (UTC ms) that no event from before `chunk` reaches; -1 if it has none to tell by.

    Nothing before an event that is in time is more than `lateness_ms` later than it; the median customer's is in time.
    Clocks that were more than five minutes ahead of the broker's are not counted on.
    """
    _, first = np.unique(np.array(chunk.customers, dtype=object), return_index=True)
    clocks = np.sort(chunk.clock[np.sort(first)[:CUSTOMERS]])
    return int(clocks[len(clocks) // 2]) + lateness_ms + 1 if len(clocks) else -1
