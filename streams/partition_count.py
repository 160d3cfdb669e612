"""Whether the topics have as many partitions as when the states were made: a customer's place depends on it."""

from dataclasses import dataclass, field

from streams.transport import ChunkApp


class PartitionsChanged(Exception):
    """A topic has another number of partitions than it had, or than it must have: a person must decide."""


@dataclass(slots=True)
class PartitionCount:
    """Asks Kafka at each claim, which every change of the count leads to; `intents` is the topic of intents."""

    app: ChunkApp
    intents: str
    _first: dict[str, int] = field(default_factory=dict)

    async def now(self, topic: str) -> int:
        """The topic's partitions; raises PartitionsChanged if there were others before, StoreUnavailable."""
        count = (await self.app.partition_counts([topic]))[topic]
        self.compare(topic, self._first.setdefault(topic, count), count)
        return count

    async def beside(self, topic: str, count: int) -> None:
        """Raise PartitionsChanged if the topic of intents has others; raises StoreUnavailable."""
        beside = (await self.app.partition_counts([self.intents]))[self.intents]
        if beside not in (0, count):
            raise PartitionsChanged(
                f"{self.intents} has {beside} partitions and {topic} {count}: it must have as many, because intents go "
                f"where events came from. If {topic} was changed, undo that; else make {self.intents} with {count} "
                "(micro-intents topics create)"
            )

    def compare(self, topic: str, before: int, count: int) -> None:
        """Raise PartitionsChanged if there were others before, as the states remember; 0: they do not."""
        if before not in (0, count):
            raise PartitionsChanged(
                f"{topic} has {count} partitions, but its states were made when it had {before}: customers' events now "
                f"go to other partitions than their states. Stop all workers; then either make {topic} with {before} "
                f"partitions again, or give {self.intents} {count} too and set MICRO_INTENTS_NAMESPACE to a new name: "
                "states are made anew from what the topic keeps, and customers who moved begin anew"
            )
