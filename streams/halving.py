"""Finding the one record at fault: an unexpected error is tried again, then the records are halved until it is alone.

It is dead-lettered as `bug: <type>`, and all the others are worked.
"""

import logging
from typing import Final

from features.events import Chunk
from streams.partition import Partition, Piece
from streams.retry import FATAL, LOST, OutOfMemory
from streams.steps import Steps
from streams.wire import Records

_log = logging.getLogger(__name__)

TRIES: Final = 3
"""How often records are tried before the one at fault is looked for."""


async def work_carefully(steps: Steps, partition: Partition, records: Records) -> None:
    """Work records, all but those at fault; raises only what is in LOST and FATAL."""
    bug = ""
    for attempt in range(1, TRIES + 1):
        records = records.part(max(records.start, partition.cursor.position), records.end)
        try:
            await steps.work([(partition, records)])
            return
        except (*FATAL, *LOST):
            raise
        except MemoryError as error:
            _log.warning("%s/%d from %d: out of memory", records.topic, records.partition, records.start)
            if len(records.offsets) <= 1:
                raise OutOfMemory(
                    f"{records.topic}/{records.partition}: not enough memory for one record, {records.start}; "
                    "nothing is lost: give the worker more memory (see what takes it)"
                ) from error
            break  # no fault of the records: fewer of them need less
        except Exception as error:  # noqa: BLE001  # the agent's edge: Faust would drop the chunk
            _log.exception("%s/%d from %d, try %d", records.topic, records.partition, records.start, attempt)
            bug = f"bug: {type(error).__name__}"
    records = records.part(max(records.start, partition.cursor.position), records.end)
    if len(records.offsets) <= 1:
        await _pass_over(steps, partition, records, bug)
        return
    middle = int(records.offsets[len(records.offsets) // 2])
    await work_carefully(steps, partition, records.part(records.start, middle))
    await work_carefully(steps, partition, records.part(middle, records.end))


async def _pass_over(steps: Steps, partition: Partition, records: Records, bug: str) -> None:
    """Dead-letter the one record that detect cannot work, and go on behind it."""
    await steps.divert([(partition, records, [(offset, bug) for offset in records.offsets.tolist()])])
    nothing = Chunk.empty(records.topic, records.partition, records.start, records.end)
    await steps.pieces([(Piece(partition, nothing, []), None)])
