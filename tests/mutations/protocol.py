"""The commit protocol's guards: who may write, from where, and that what is written is published before it is passed."""

from typing import Final

from tests.mutations.mutation import Mutation

_LUA: Final = "features/commit.lua"
_MEMORY: Final = "features/memory_store.py"
_WORKER: Final = "streams/worker.py"
_ENGINE: Final = "streams/engine.py"
_CHUNKS: Final = "streams/transport_chunks.py"
_IN_REDIS: Final = "tests/features/test_redis_store.py::TestRedisStore::"
_IN_MEMORY: Final = "tests/features/test_memory_store.py::TestMemoryStore::"
_WORKS: Final = "tests/streams/test_worker.py::"
_READS: Final = "tests/streams/test_transport_chunks.py::"

COMMIT: Final = [
    Mutation("commit: token", _LUA, "if found[1] ~= token then", "if false then", _IN_REDIS + "test_fenced"),
    Mutation("commit: sequence", _LUA, "if found[2] ~= sequence or (", "if (", _IN_REDIS + "test_gap"),
    Mutation(
        "commit: position",
        _LUA,
        "if found[2] ~= sequence or (found[3] ~= start and found[3] ~= '-1') then",
        "if found[2] ~= sequence then",
        _IN_REDIS + "test_gap",
    ),
    Mutation(
        "commit: known again",
        _LUA,
        "if found[2] == next_sequence and found[3] == position then",
        "if false then",
        _IN_REDIS + "test_already",
    ),
    Mutation(
        "commit: outbox kept",
        _LUA,
        "redis.call('SET', OUTBOX, outbox)\n",
        "",
        _IN_REDIS + "test_outbox_is_replaced",
    ),
    Mutation(
        "commit: tombstones kept",
        _LUA,
        "in_blocks('HSET', FORGOTTEN, ARGV, at + 1, at + 2 * buried)\n",
        "",
        _IN_REDIS + "test_tombstones",
    ),
    Mutation(
        "commit in memory: token",
        _MEMORY,
        "    if found.token != commit.token:\n",
        "    if False:\n",
        _IN_MEMORY + "test_fenced",
    ),
    Mutation(
        "commit in memory: sequence",
        _MEMORY,
        "if found.sequence != commit.sequence or found.position",
        "if found.position",
        _IN_MEMORY + "test_gap",
    ),
    Mutation(
        "commit in memory: position",
        _MEMORY,
        " or found.position not in (commit.start, -1):",
        ":",
        _IN_MEMORY + "test_gap",
    ),
    Mutation(
        "states read by their owner only",
        _MEMORY,
        "if (found.token, found.sequence, found.position) != (cursor.token, cursor.sequence, cursor.position):",
        "if False:",
        _IN_MEMORY + "test_read_is_bound",
    ),
    Mutation(
        "a refused commit is lost",
        _ENGINE,
        "if answer.verdict not in (Verdict.OK, Verdict.ALREADY):",
        "if False:",
        "tests/streams/test_engine.py::test_lost_partition",
    ),
]
"""What the commit checks before it writes, and what it writes besides states."""

ORDER: Final = [
    Mutation(
        "commit before publish",
        _WORKER,
        "        await lasting(lambda: self.engine.commit(piece, commit))\n"
        "        await self._publish(step.records[0])\n",
        "        await self._publish(step.records[0])\n"
        "        await lasting(lambda: self.engine.commit(piece, commit))\n",
        _WORKS + "test_fenced_and_no_longer_the_owner",
    ),
    Mutation(
        "publish before the next commit",
        _WORKER,
        "        await self._publish(step.records[0])\n",
        "",
        _WORKS + "test_published_before_the_next_commit",
    ),
    Mutation(
        "outbox written in the commit",
        _ENGINE,
        "outbox=pack_outbox(step.records[number]),",
        "outbox=b'',",
        "tests/streams/test_engine.py::test_outbox_holds_what_is_to_be_published",
    ),
    Mutation(
        "outbox published at the claim",
        _WORKER,
        "            await self._publish(found.outbox)\n",
        "",
        _WORKS + "test_a_tick_claims_and_publishes",
    ),
    Mutation(
        "dead letters before the commit",
        _WORKER,
        "        await self._divert(partition, records, [(refusal.offset, refusal.reason) for refusal in refusals])\n"
        "        rest = chunk\n"
        "        while True:\n"
        "            await lasting(lambda: self.recovery.take_over(partition))\n"
        "            piece, more = await lasting(lambda: self.engine.cut(partition, rest))  # noqa: B023  # called at once\n"
        "            await self._piece(piece, records)\n",
        "        rest = chunk\n"
        "        while True:\n"
        "            await lasting(lambda: self.recovery.take_over(partition))\n"
        "            piece, more = await lasting(lambda: self.engine.cut(partition, rest))\n"
        "            await self._piece(piece, records)\n"
        "            await self._divert(partition, records, [(it.offset, it.reason) for it in refusals])\n",
        "tests/streams/test_dead_letters.py::test_before_the_commit",
    ),
    Mutation(
        "a record with a bug is dead-lettered",
        _WORKER,
        "        await self._divert(partition, records, [(offset, bug) for offset in records.offsets.tolist()])\n",
        "",
        _WORKS + "test_one_poisonous_record",
    ),
    Mutation(
        "acknowledge after publish",
        _CHUNKS,
        "                yield chunk\n                stand_nowhere()\n                consumer.finish(chunk)",
        "                consumer.finish(chunk)\n                yield chunk\n                stand_nowhere()",
        _READS + "test_a_chunk_is_finished_when_the_agent_comes_back",
    ),
    Mutation(
        "acknowledge in order",
        _CHUNKS,
        "if self.is_current(chunk) and self._finished[tp] == chunk.start:",
        "if self.is_current(chunk):",
        _READS + "test_chunks_are_finished_in_order",
    ),
]
"""Commit, publish, acknowledge: in this order."""

PLACE: Final = [
    Mutation(
        "a member before it claims",
        _WORKER,
        "if not await lasting(lambda: self.app.is_member(topic, partition)):",
        "if False:",
        _WORKS + "test_a_claim_asks_kafka_first",
    ),
    Mutation(
        "seek where a chunk does not continue",
        _WORKER,
        "if position not in (-1, chunk.start):",
        "if False:",
        _WORKS + "test_continues_at_the_stores_position",
    ),
    Mutation(
        "seek after another claim",
        _WORKER,
        "        await self.app.rewind(*tp, found.position)\n",
        "",
        _WORKS + "test_fenced_and_still_the_owner",
    ),
    Mutation(
        "start at the store's position",
        _CHUNKS,
        "wanted = await self._wanted(partitions)",
        "wanted: Mapping[TP, int] = {}",
        _READS + "test_the_start_is_the_stores",
    ),
    Mutation(
        "no chunk of an earlier seek",
        _CHUNKS,
        "return self._generations.get(TP(chunk.topic, chunk.partition)) == chunk.generation",
        "return True",
        _READS + "test_chunks_of_an_earlier_seek_are_dropped",
    ),
    Mutation(
        "no records of an earlier assignment",
        _CHUNKS,
        "if sought_in is assignment:",
        "if True:",
        _READS + "test_records_fetched_before_the_seek_are_not_handed_out",
    ),
    Mutation(
        "only what is committed upstream",
        _CHUNKS,
        '        consumer._isolation_level = "read_committed"\n',
        "",
        _READS + "test_transaction_markers_leave_no_hole_between_chunks",
    ),
]
"""Who works a partition, and from where."""

LOSS: Final = [
    Mutation(
        "a loss is noticed",
        "streams/recovery.py",
        "return max(cursor.adopt_until, start, acknowledged, published.last)",
        "return -1",
        "tests/streams/test_recovery.py::test_how_a_loss_is_noticed",
    ),
    Mutation(
        "a claim looks for a loss",
        _WORKER,
        "            await lasting(lambda: self.recovery.settle(found))\n",
        "",
        "tests/streams/test_recovery.py::test_states_lost_and_rebuilt",
    ),
    Mutation(
        "nothing is scored while rebuilding",
        _ENGINE,
        "return self.cursor.position < self.cursor.adopt_until",
        "return False",
        "tests/streams/test_recovery.py::test_another_model_contradicts_nothing",
    ),
    Mutation(
        "intents are taken over",
        "intents/adoption.py",
        "lasting = [it for it in self.lives.get(customer, {}).values() if _lasts(it, states, row, rules)]",
        "lasting: list[Intent] = []",
        "tests/intents/test_adoption.py::test_an_open_intent_is_as_its_life_had_left_it",
    ),
    Mutation(
        "taken over to the end",
        _ENGINE,
        "adopt_until=-1 if last else cursor.adopt_until,",
        "adopt_until=-1,",
        "tests/streams/test_recovery.py::test_a_rebuild_that_is_cut_short_begins_again",
    ),
    Mutation(
        "the published watermark is taken over",
        _ENGINE,
        "max(cursor.watermark_ms, published.watermark) if last else cursor.watermark_ms,",
        "cursor.watermark_ms,",
        "tests/streams/test_recovery.py::test_idle_time_stays_passed",
    ),
    Mutation(
        "what was answered is not asked again",
        _ENGINE,
        "partition.last, partition.answered = published.last, frozenset(published.answered)",
        "partition.last, partition.answered = published.last, frozenset()",
        "tests/streams/test_recovery.py::test_what_was_answered_is_not_asked_again",
    ),
    Mutation(
        "a log that lost its end stops the worker",
        "streams/recovery.py",
        "if until > end or published.last >= end:",
        "if False:",
        "tests/streams/test_recovery.py::test_a_topic_made_anew",
    ),
    Mutation(
        "dead letters are not repeated",
        _WORKER,
        "if offset >= partition.acknowledged]",
        "]",
        "tests/streams/test_recovery.py::test_what_was_refused_is_not_refused_again",
    ),
]
"""After a loss of Redis."""
