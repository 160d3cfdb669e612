"""Which partitions a worker holds: claimed once an assignment, and given up or claimed again when a claim is void.

A claim begins with what its last owner may not have finished: its outbox is published, and what Redis may have lost is
looked for (`recovery.py`).
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field

from faust.types import TP

from features.store import NotOwner, PartitionKey, StoreUnavailable
from streams.engine import Engine
from streams.outbox import publish
from streams.partition import Partition
from streams.partition_count import PartitionCount
from streams.recovery import Recovery
from streams.redis_fitness import RedisFitness
from streams.retry import lasting
from streams.topic_identity import LAG_S, compare, is_another
from streams.transport import ChunkApp

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """A claimed partition, the assignment it was claimed under, and since when (monotonic s) nothing came.

    `sought`: a rebuild of it was begun without waiting for a record.
    """

    partition: Partition
    generation: int
    quiet_since: float
    sought: bool = False

    @property
    def tp(self) -> TP:
        """The partition, as Kafka's clients name it."""
        return TP(self.partition.key.topic, self.partition.key.partition)

    @property
    def quiet_s(self) -> float:
        """How long nothing came."""
        return time.monotonic() - self.quiet_since

    def stirs(self) -> None:
        """Something came: the silence begins anew."""
        self.quiet_since = time.monotonic()


@dataclass(slots=True)
class Claims:
    """The partitions that a worker holds, by their numbers."""

    app: ChunkApp
    engine: Engine
    recovery: Recovery
    count: PartitionCount
    fitness: RedisFitness | None = None
    held: dict[int, Held] = field(default_factory=dict)

    async def hold(self, tp: TP, generation: int) -> Held:
        """A partition, claimed if that was not done under this assignment yet; may raise what is in LOST and FATAL."""
        if self.fitness is not None:
            await lasting(self.fitness.look)
        held = self.held.get(tp.partition)
        if held is None or held.generation != generation or held.partition.unpublished:  # a claim publishes it
            held = self.held[tp.partition] = Held(await self._claim(tp), generation, time.monotonic())
            self._acknowledge(held)
            _log.info("claimed %s/%d, next is %d", *tp, held.partition.cursor.position)
        return held

    async def _claim(self, tp: TP) -> Partition:
        if not await lasting(lambda: self.app.is_member(*tp)):
            raise NotOwner("the group has gone on without this worker")  # which was paused: no claim of its own
        count = await lasting(lambda: self.count.now(tp.topic))
        topic_id = await lasting(lambda: self.app.topic_id(tp.topic))
        found = await lasting(lambda: self.engine.claim(self._key(tp), secrets.token_hex(16), count, topic_id))
        await self._recognise(found, topic_id)
        self.count.compare(tp.topic, found.partitions, count)
        await lasting(lambda: self.count.beside(tp.topic, count))
        await publish(self.app, found.outbox)
        if found.outbox and found.tombstones.times:
            await lasting(lambda: self.engine.clear_outbox(found))
        await lasting(lambda: self.recovery.settle(found))
        await lasting(lambda: self.recovery.take_over(found))
        return found

    async def recognise(self) -> None:
        """Ask for the ids of the topics held: one made anew with as many partitions need not lead to a claim.

        Raises TopicMadeAnew. A Kafka that does not answer is asked again the next time.
        """
        for topic in {held.tp.topic for held in self.held.values()}:
            try:
                topic_id = await self.app.topic_id(topic)
            except StoreUnavailable as error:
                _log.warning("%s: whether it was made anew is asked again: %s", topic, error)
                continue
            for held in tuple(self.held.values()):
                if held.tp.topic == topic:
                    await self._recognise(held.partition, topic_id)

    async def _recognise(self, partition: Partition, topic_id: str) -> None:
        """Raise TopicMadeAnew if Kafka says twice that the topic has another id."""
        topic = partition.key.topic
        if is_another(partition.topic_id, topic_id):
            _log.warning("%s has the id %s, not %s: asking again in %g s", topic, topic_id, partition.topic_id, LAG_S)
            await asyncio.sleep(LAG_S)
            compare(partition.key, partition.topic_id, await lasting(lambda: self.app.topic_id(topic)))

    def _key(self, tp: TP) -> PartitionKey:
        return PartitionKey(self.engine.setup.namespace, *tp)

    async def seek(self, held: Held) -> None:
        """Have Kafka go on where the store ends: a seek of our own, and no new claim."""
        await self.app.rewind(*held.tp, held.partition.cursor.position)
        held.generation = self.app.generation(*held.tp) or held.generation
        self._acknowledge(held)

    def _acknowledge(self, held: Held) -> None:
        """Have committed what its last owner published and did not acknowledge: no further record may come."""
        cursor = held.partition.cursor
        if cursor.adopt_until < 0:
            self.app.acknowledge(*held.tp, held.generation, cursor.position)

    async def settle_again(self, held: Held) -> None:
        """Begin a rebuild anew from what is left of the log, which has lost records while they were to be worked."""
        await lasting(lambda: self.recovery.settle(held.partition))
        await lasting(lambda: self.recovery.take_over(held.partition))

    async def look(self, held: Held) -> None:
        """Notice that Redis has lost a quiet partition, and let one that is rebuilt come again without a new record.

        Raises NotOwner where Redis is elsewhere.
        """
        partition = held.partition
        found = await lasting(lambda: self.engine.store.cursor(partition.key))
        if found != partition.cursor:
            raise NotOwner(f"the store is at {found}, not {partition.cursor}")
        if partition.rebuilding and not held.sought:
            await self.seek(held)
            held.sought = True

    async def lost(self, tp: TP, generation: int, lost: Exception) -> None:
        """Ask Kafka who owns the partition; if it is still us, go on from Redis' position with a claim of our own."""
        self.held.pop(tp.partition, None)
        ours = await lasting(lambda: self.app.is_member(*tp))
        _log.warning("%s/%d: %s; by Kafka it is %s", *tp, lost, "still ours" if ours else "another's")
        if ours:
            await self._again(tp)
        else:
            self.app.give_up(*tp, generation)

    async def take_back(self, tp: TP) -> None:
        """Go on with a partition that was given up, if Kafka says that it is ours after all."""
        if tp in self.app.given_up and await lasting(lambda: self.app.is_member(*tp)):
            await self._again(tp)

    async def _again(self, tp: TP) -> None:
        """Seek to Redis' position, or Kafka's where it has none."""
        found = await lasting(lambda: self.engine.store.cursor(self._key(tp)))
        await self.app.rewind(*tp, found.position)
