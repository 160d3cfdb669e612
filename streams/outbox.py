"""Publishing what is committed: it waits for Kafka, and stops the worker rather than leave anything out.

The next commit would overwrite the outbox in the store.
"""

from collections.abc import Sequence

from features.store import StoreUnavailable
from sinks.records import Record
from streams.retry import CannotPublish, OutOfMemory, lasting
from streams.transport import ChunkApp
from streams.transport_publish import PublishAgain


async def publish(app: ChunkApp, records: Sequence[Record]) -> None:
    """Publish in order; raises PublishAgain or StoreUnavailable after a while, else CannotPublish or OutOfMemory."""
    try:
        await lasting(lambda: _try_to_publish(app, records))
    except (StoreUnavailable, PublishAgain, CannotPublish):
        raise
    except MemoryError as error:
        raise OutOfMemory("memory does not suffice to publish what is committed: it stays in Redis") from error
    except Exception as error:
        raise CannotPublish(
            f"{len(records)} records cannot be published ({error!r}): what is committed stays in Redis; check the "
            "topics and their partitions with `micro-intents doctor`, then start again"
        ) from error


async def _try_to_publish(app: ChunkApp, records: Sequence[Record]) -> None:
    try:
        await app.publish(records)
    except PublishAgain:
        counts = await app.partition_counts(sorted({record.topic for record in records}))
        if gone := [topic for topic, count in counts.items() if count == 0]:
            raise CannotPublish(f"there is no topic {', '.join(gone)}: micro-intents topics create") from None
        raise
