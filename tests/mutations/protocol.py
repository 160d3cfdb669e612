"""The commit protocol's guards: who may write, from where, and that what is written is published."""

from typing import Final

from tests.mutations.mutation import Mutation

_TRANSPORT_THREAD: Final = "streams/transport_thread.py"
_HALVING: Final = "streams/halving.py"
_CLAIMS: Final = "streams/claims.py"
_STEPS: Final = "streams/steps.py"
_LUA: Final = "features/commit.lua"
_MEMORY: Final = "features/memory_store.py"
_WORKER: Final = "streams/worker.py"
_ENGINE: Final = "streams/engine.py"
_CHUNKS: Final = "streams/transport_chunks.py"
_IN_REDIS: Final = "tests/features/test_redis_store.py::TestRedisStore::"
_IN_MEMORY: Final = "tests/features/test_memory_store.py::TestMemoryStore::"
_WORKS: Final = "tests/streams/test_worker.py::"
_TOGETHER: Final = "tests/streams/test_together.py::"
_READS: Final = "tests/streams/test_transport_chunks.py::"
_AHEAD: Final = "tests/streams/test_ahead.py::"
_COMMITTED: Final = (
    "        befell = await asyncio.gather(*map(self._commit, pieces, commits), return_exceptions=True)\n"
)

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
        "features/redis_store.py",
        "if (found.token, found.sequence, found.position) != (cursor.token, cursor.sequence, cursor.position):",
        "if False:",
        _IN_REDIS + "test_read_is_bound",
    ),
    Mutation(
        "states in memory read by their owner only",
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
        _STEPS,
        _COMMITTED,
        "        await publish(self.app, [record for records in step.records for record in records])\n" + _COMMITTED,
        _WORKS + "test_fenced_and_no_longer_the_owner",
    ),
    Mutation(
        "publish before the next commit",
        _STEPS,
        "        await self.published()\n" + _COMMITTED,
        _COMMITTED,
        _AHEAD + "test_the_next_step_is_computed_meanwhile",
    ),
    Mutation(
        "publish before a claim is made anew",
        _WORKER,
        "            if not all(map(self._goes_on, chunks)):\n                await self.steps.published()\n",
        "",
        _AHEAD + "test_a_new_claim_waits_for_what_is_on_its_way",
    ),
    Mutation(
        "publish before a rebuild's next commit",
        _STEPS,
        "        if partition.cursor.adopt_until >= 0 and not partition.rebuilding:  # commits follow at once\n"
        "            await self.published()\n",
        "",
        _AHEAD + "test_nothing_unpublished_is_overwritten",
    ),
    Mutation(
        "publish before a forget's outbox is cleared",
        _STEPS,
        "        if forgetting:\n            await self.published()\n",
        "        if forgetting:\n",
        _AHEAD + "test_nothing_unpublished_is_overwritten",
    ),
    Mutation(
        "finished when it is published",
        _CHUNKS,
        "_finish(consumer, chunks, transport.publication)",
        "_finish(consumer, chunks, None)",
        _READS + "test_a_chunk_is_finished_when_it_is_published",
    ),
    Mutation(
        "publish only what is committed",
        _STEPS,
        "for number, error in enumerate(befell) if error is None]",
        "for number in range(len(befell))]",
        _TOGETHER + "test_one_is_taken_away_at_its_commit",
    ),
    Mutation(
        "what befell one partition is not forgotten",
        _STEPS,
        "FATAL)):\n        raise error\n",
        "FATAL)):\n        pass\n",
        _WORKS + "test_fenced_and_no_longer_the_owner",
    ),
    Mutation(
        "partitions with different pasts do not share a step",
        _STEPS,
        "alike[partition.past].append(",
        "alike[rests[0][0].past].append(",
        _TOGETHER + "test_one_is_rebuilt_beside_others",
    ),
    Mutation(
        "a fault leaves the other partitions alone",
        _WORKER,
        "if held.partition.cursor.position < chunk.end:",
        "if False:",
        _TOGETHER + "test_a_fault_is_its_own_partitions",
    ),
    Mutation(
        "chunks are taken of one seek only",
        _CHUNKS,
        "            if consumer.is_current(chunk):\n                mine",
        "            if True:\n                mine",
        _READS + "test_what_was_overtaken_by_a_seek_is_not_taken",
    ),
    Mutation(
        "chunks of an earlier assignment are dropped",
        _CHUNKS,
        "if self.app.flow_control.is_active() and event.message.generation_id == self.app.consumer_generation_id:",
        "if True:",
        _READS + "test_what_was_overtaken_by_a_seek_is_not_taken",
    ),
    Mutation(
        "each call of a turn gets its own answer",
        "features/redis_together.py",
        "zip(turn.calls, answers, strict=True)",
        "zip(turn.calls, list(answers)[::-1], strict=True)",
        "tests/features/test_redis_together.py::test_each_has_its_own_answer",
    ),
    Mutation(
        "a commit that Redis refused together is made alone",
        "features/redis_store.py",
        "if answer is None or isinstance(answer, Exception):",
        "if answer is None:",
        "tests/features/test_redis_together.py::test_a_redis_that_has_forgotten_the_script",
    ),
    Mutation(
        "deadlines are looked for again after a commit",
        _ENGINE,
        "partition.due_from = min([partition.due_from, *(at for at in commit.deadlines.values() if at is not None)])",
        "pass",
        "tests/streams/test_engine.py::test_a_deadline_that_is_new",
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
        _CLAIMS,
        "        await publish(self.app, found.outbox)\n",
        "",
        _WORKS + "test_a_tick_claims_and_publishes",
    ),
    Mutation(
        "dead letters before the commit",
        _STEPS,
        "        await self.divert(refused)\n",
        "",
        "tests/streams/test_dead_letters.py::test_before_the_commit",
    ),
    Mutation(
        "dead letters once",
        _STEPS,
        "                self.dead_letters.published(records.partition, [offset for offset, _ in found])\n",
        "                pass\n",
        "tests/streams/test_dead_letters.py::test_tried_again",
    ),
    Mutation(
        "dead letters of what is too late",
        _STEPS,
        "offsets = step.unverifiable(number)",
        "offsets: list[int] = []",
        "tests/streams/test_dead_letters.py::test_tried_again",
    ),
    Mutation(
        "a flood of dead letters stops the worker",
        "streams/dead_letters.py",
        "if (total := sum(count for _, count in self._recent)) > self.per_minute:",
        "if (total := sum(count for _, count in self._recent)) > 1_000 * self.per_minute:",
        "tests/streams/test_dead_letters.py::test_too_many_stop_the_worker",
    ),
    Mutation(
        "a record with a bug is dead-lettered",
        _HALVING,
        "    await steps.divert([(partition, records, [(offset, bug) for offset in records.offsets.tolist()])])\n",
        "",
        _WORKS + "test_one_poisonous_record",
    ),
    Mutation(
        "acknowledge after publish",
        _CHUNKS,
        "                    yield chunks\n",
        "                    for chunk in chunks:\n                        consumer.finish(chunk)\n"
        "                    yield chunks\n",
        _READS + "test_a_chunk_is_finished_when_the_agent_comes_back",
    ),
    Mutation(
        "acknowledge in order",
        _CHUNKS,
        "if self.is_current(chunk) and self._finished[tp] == chunk.start:",
        "if self.is_current(chunk):",
        _READS + "test_chunks_are_finished_in_order",
    ),
    Mutation(
        "acknowledge only where it was sought",
        _CHUNKS,
        "if self._generations.get(tp) == generation and self._finished.get(tp) == offset:",
        "if True:",
        _READS + "test_acknowledged_where_it_was_sought",
    ),
    Mutation(
        "a full batch is sent before the next",
        "streams/transport_publish.py",
        "            pending.append(await producer.send_batch(batch, topic, partition=partition))\n            batch",
        "            batch",
        "tests/streams/test_transport_publish.py::test_more_than_a_batch_holds",
    ),
]
"""Commit, publish, acknowledge: in this order."""

PLACE: Final = [
    Mutation(
        "a member before it claims",
        _CLAIMS,
        "if not await lasting(lambda: self.app.is_member(*tp)):",
        "if False:",
        _WORKS + "test_a_claim_asks_kafka_first",
    ),
    Mutation(
        "a claim for each assignment",
        _CLAIMS,
        "held.generation != generation or ",
        "",
        _WORKS + "test_a_tick_claims_and_publishes",
    ),
    Mutation(
        "what is ours after all is sought",
        _CLAIMS,
        "if tp in self.app.given_up and ",
        "if False and ",
        _WORKS + "test_given_up_by_mistake",
    ),
    Mutation(
        "the count of partitions, over a restart",
        _CLAIMS,
        "        self.count.compare(tp.topic, found.partitions, count)\n",
        "",
        "tests/streams/test_partition_count.py::test_states_remember_the_count",
    ),
    Mutation(
        "the count of partitions, while it works",
        "streams/partition_count.py",
        "        self.compare(topic, self._first.setdefault(topic, count), count)\n",
        "",
        "tests/streams/test_partition_count.py::test_a_change_while_it_works",
    ),
    Mutation(
        "the count of partitions of intents",
        "streams/partition_count.py",
        "if beside not in (0, count):",
        "if False:",
        "tests/streams/test_partition_count.py::test_intents_have_as_many",
    ),
    Mutation(
        "no Redis that evicts",
        "streams/redis_fitness.py",
        "if checkup.evicts:",
        "if False:",
        "tests/streams/test_redis_fitness.py::test_evicting",
    ),
    Mutation(
        "seek where a chunk does not continue",
        _WORKER,
        "if position in (-1, chunk.start):",
        "if True:",
        _WORKS + "test_continues_at_the_stores_position",
    ),
    Mutation(
        "seek after another claim",
        _CLAIMS,
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
        _TRANSPORT_THREAD,
        "if sought_in is assignment:",
        "if True:",
        _READS + "test_records_fetched_before_the_seek_are_not_handed_out",
    ),
    Mutation(
        "only what is committed upstream",
        _TRANSPORT_THREAD,
        '        consumer._isolation_level = "read_committed"\n',
        "",
        _READS + "test_transaction_markers_leave_no_hole_between_chunks",
    ),
]
"""Who works a partition, and from where."""
