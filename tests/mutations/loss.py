"""The guards that hold after a loss of Redis: it is noticed, and what was published stays true."""

from typing import Final

from tests.mutations.mutation import Mutation

_STEPS: Final = "streams/steps.py"
_RECOVERY: Final = "streams/recovery.py"
_PARTITION: Final = "streams/partition.py"
_CLAIMS: Final = "streams/claims.py"
_ENGINE: Final = "streams/engine.py"

LOSS: Final = [
    Mutation(
        "a loss is noticed",
        "streams/recovery.py",
        "return max(cursor.adopt_until, start, worked)",
        "return -1",
        "tests/streams/test_recovery.py::test_how_a_loss_is_noticed",
    ),
    Mutation(
        "a deadline tells how far its worker had come",
        "intents/adoption.py",
        "self.position = max(self.position, position)",
        "self.position = -1",
        "tests/streams/test_recovery.py::test_a_deadline_says_how_far_its_worker_had_come",
    ),
    Mutation(
        "a quiet partition's deadlines tell it too",
        _ENGINE,
        "return Piece(partition, nothing, names, advance_ms=watermark_ms, before=at)",
        "return Piece(partition, nothing, names, advance_ms=watermark_ms)",
        "tests/streams/test_recovery.py::test_idle_time_stays_passed",
    ),
    Mutation(
        "a burst of deadlines tells the record they come before",
        _ENGINE,
        "names, bound, before=int(chunk.offset[0]))",
        "names, bound)",
        "tests/streams/test_engine.py::test_small_commits",
    ),
    Mutation(
        "a claim looks for a loss",
        _CLAIMS,
        "        await lasting(lambda: self.recovery.settle(found))\n",
        "",
        "tests/streams/test_recovery.py::test_states_lost_and_rebuilt",
    ),
    Mutation(
        "a loss is noticed without a record",
        _CLAIMS,
        "if found != partition.cursor:",
        "if False:",
        "tests/streams/test_recovery.py::test_a_quiet_partition_is_rebuilt_too",
    ),
    Mutation(
        "a quiet rebuild goes on",
        _CLAIMS,
        "if partition.rebuilding and not held.sought:",
        "if False:",
        "tests/streams/test_recovery.py::test_a_quiet_partition_is_rebuilt_too",
    ),
    Mutation(
        "nothing is acknowledged while rebuilding",
        _CLAIMS,
        "if cursor.adopt_until < 0:",
        "if True:",
        "tests/streams/test_recovery.py::test_nothing_is_acknowledged_while_rebuilding",
    ),
    Mutation(
        "examples are not repeated",
        _ENGINE,
        "for end in (partition.acknowledged, partition.cursor.adopt_until):",
        "for end in (partition.cursor.adopt_until,):",
        "tests/streams/test_recovery.py::test_examples_are_not_made_again",
    ),
    Mutation(
        "nothing is scored while rebuilding",
        _PARTITION,
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
        _RECOVERY,
        "adopt_until=-1 if last else cursor.adopt_until,",
        "adopt_until=-1,",
        "tests/streams/test_recovery.py::test_a_rebuild_that_is_cut_short_begins_again",
    ),
    Mutation(
        "the published watermark is taken over",
        _RECOVERY,
        "max(cursor.watermark_ms, published.watermark) if last else cursor.watermark_ms,",
        "cursor.watermark_ms,",
        "tests/streams/test_recovery.py::test_idle_time_stays_passed",
    ),
    Mutation(
        "what was answered is not asked again",
        _RECOVERY,
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
        _STEPS,
        "if offset >= partition.acknowledged]",
        "]",
        "tests/streams/test_recovery.py::test_what_was_refused_is_not_refused_again",
    ),
    Mutation(
        "a topic made anew is noticed by its id",
        _CLAIMS,
        "await self._recognise(found, topic_id)",
        "pass",
        "tests/streams/test_topic_identity.py::test_a_topic_made_anew_that_has_grown_past_the_position",
    ),
    Mutation(
        "a topic made anew under a worker is noticed",
        _CLAIMS,
        "await self._recognise(held.partition, topic_id)",
        "pass",
        "tests/streams/test_topic_identity.py::test_a_topic_made_anew_under_a_worker",
    ),
    Mutation(
        "one broker that lags stops no worker",
        _CLAIMS,
        "await lasting(lambda: self.app.topic_id(topic)))",
        "topic_id)",
        "tests/streams/test_topic_identity.py::test_a_broker_that_has_not_heard_of_it",
    ),
    Mutation(
        "Kafka's committed offset does not go back",
        "streams/transport_chunks.py",
        "return finished if finished >= max(self._kept.get(tp, 0), 0) else None",
        "return finished if finished >= 0 else None",
        "tests/streams/test_transport_chunks.py::test_nothing_is_committed_below_what_is_kept",
    ),
    Mutation(
        "a rebuild keeps what is committed",
        _RECOVERY,
        "self.app.keep_committed(key.topic, key.partition, acknowledged)",
        "pass",
        "tests/streams/test_recovery.py::test_nothing_is_acknowledged_while_rebuilding",
    ),
    Mutation(
        "states begin where their log does",
        _ENGINE,
        "[piece.partition.cursor.complete_since for piece in pieces]",
        "[-1 for _ in pieces]",
        "tests/streams/test_beginning.py::test_rebuilt_from_what_is_left",
    ),
    Mutation(
        "what is older than a beginning is unverifiable",
        "features/state.py",
        "        self.memory.floor = np.maximum(self.memory.floor, since - 1)\n",
        "",
        "tests/streams/test_beginning.py::test_a_view_from_before_that_comes_again_asks_nothing",
    ),
    Mutation(
        "a beginning outlives a state",
        "features/apply.py",
        "states.memory.floor[rows] = np.maximum(states.since[rows] - 1, -1)",
        "states.memory.floor[rows] = -1",
        "tests/features/test_apply.py::test_nothing_is_known_of_before_a_beginning",
    ),
    Mutation(
        "what was counted is not refused while rebuilding",
        _STEPS,
        "if records is not None and not piece.partition.rebuilding:",
        "if records is not None:",
        "tests/streams/test_beginning.py::test_what_was_worked_before_is_not_refused_while_rebuilding",
    ),
    Mutation(
        "a beginning stays in the store",
        "features/commit.lua",
        "  complete_since = found[6]\n",
        "",
        "tests/features/test_redis_store.py::TestRedisStore::test_since_when_states_are_whole",
    ),
    Mutation(
        "a rebuild begins anew where the log is cut under it",
        "streams/worker.py",
        "if chunk.missing and held.partition.rebuilding and",
        "if False and",
        "tests/streams/test_beginning.py::test_a_log_that_is_cut_while_it_is_rebuilt",
    ),
    Mutation(
        "what was worked before it was gone is not missing",
        "streams/recovery.py",
        "at = max(start, min(first, worked))",
        "at = start",
        "tests/streams/test_beginning.py::test_what_is_gone_unread_is_said",
    ),
    Mutation(
        "a rebuild of nothing is over at once",
        "streams/recovery.py",
        "at = max(start, min(first, worked))",
        "at = start",
        "tests/streams/test_beginning.py::test_a_quiet_log_that_ends_before_it_is_rebuilt",
    ),
    Mutation(
        "new events do not say when old ones were",
        "streams/beginning.py",
        "left = int(np.searchsorted(chunk.offset, worked))",
        "left = len(chunk)",
        "tests/streams/test_beginning.py::test_new_events_are_not_refused_for_old_ones",
    ),
    Mutation(
        "a call to Redis ends by the clock",
        "features/redis_link.py",
        "if limit.expired():",
        "if False:",
        "tests/features/test_redis_link.py::test_a_question_that_hides_that_its_time_is_over",
    ),
]
"""After a loss of Redis."""
