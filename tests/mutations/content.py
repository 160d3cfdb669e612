"""The guards of what is counted, learned and forgotten: each event once, and time that nobody pushes."""

from typing import Final

from tests.mutations.mutation import Mutation

_MODEL_STORE: Final = "intents/model_store.py"
_STEPS: Final = "streams/steps.py"
_APPLY: Final = "features/apply.py"
_WORKER: Final = "streams/worker.py"
_ENGINE: Final = "streams/engine.py"
_TRAINING: Final = "intents/training.py"
_READING: Final = "intents/reading.py"
_HEAD: Final = "intents/head.py"
_QUESTIONS: Final = "intents/questions.py"
_SNAPSHOTS: Final = "intents/snapshots.py"
_CHECKS: Final = "intents/snapshot_checks.py"
_TRAIN: Final = "streams/train.py"
_APPLIES: Final = "tests/features/test_apply.py::"
_WORKS: Final = "tests/streams/test_worker.py::"
_LEARNS: Final = "tests/intents/test_training.py::"
_TRAINS: Final = "tests/streams/test_train.py::"
_ASKS: Final = "tests/intents/test_questions.py::"

ONCE: Final = [
    Mutation(
        "dedup: near", _APPLY, "    known[seat[same]] = True\n", "", _APPLIES + "test_duplicates_in_a_later_chunk"
    ),
    Mutation("dedup: far", _APPLY, "    if len(held):\n", "    if False:\n", _APPLIES + "test_duplicates"),
    Mutation(
        "dedup: within a chunk",
        _APPLY,
        "    first[order[1:]] = ~again\n",
        "",
        _APPLIES + "test_duplicates",
    ),
    Mutation(
        "what cannot be told from a duplicate is not counted",
        _APPLY,
        "unverifiable = ~forgotten & ~known & (time <= memory.floor[owner])",
        "unverifiable = np.zeros(len(time), dtype=bool)",
        _APPLIES + "test_unverifiable",
    ),
    Mutation("trainer's marks", _TRAINING, "if at <= before:", "if False:", _LEARNS + "test_two_publishers"),
    Mutation(
        "trainer's restart",
        _TRAINING,
        "if question.time + self.horizon_ms >= learned:",
        "if True:",
        _LEARNS + "test_killed",
    ),
    Mutation(
        "trainer's restart, for the next day",
        _TRAINING,
        "question.soon_open = question.time + SOON_MS >= learned",
        "question.soon_open = True",
        _LEARNS + "test_killed_with_a_horizon_of_days",
    ),
    Mutation(
        "a source that is behind is not silent",
        _READING,
        "self.heard[source] = self.clock\n",
        "self.heard[source] = self.watermarks[source]\n",
        _LEARNS + "test_a_source_that_is_behind_is_not_silent",
    ),
    Mutation(
        "what silence answered, after a restart",
        _READING,
        "if entry <= self.silenced.get(source, (-1, -1))",
        "if False",
        _LEARNS + "test_killed_around_a_silence",
    ),
    Mutation(
        "what waits for a day is in a checkpoint",
        _QUESTIONS,
        "if not q.now_open)",
        "if False)",
        _LEARNS + "test_killed_while_questions_wait_for_a_day",
    ),
]
"""Nothing twice: events and lessons."""

TIME: Final = [
    Mutation(
        "no idle time while Kafka is away",
        _WORKER,
        "held.quiet_since = max(held.quiet_since, self.app.heard_since(*tp))",
        "held.quiet_since = held.quiet_since",
        _WORKS + "test_an_absent_kafka_is_not_quiet",
    ),
    Mutation(
        "an absence is noticed",
        "streams/transport_heard.py",
        "if now_s - at > LONGEST_BREAK_S:",
        "if before is None:",
        "tests/streams/test_transport_heard.py::test_an_absence",
    ),
    Mutation(
        "no idle time before the end",
        _WORKER,
        "            or not await self.app.read_to_end(key.topic, key.partition, at)\n",
        "",
        _WORKS + "test_no_idle_advance",
    ),
    Mutation(
        "no idle time while rebuilding",
        _WORKER,
        "            or partition.rebuilding\n",
        "",
        "tests/streams/test_recovery.py::test_no_idle_time_while_rebuilding",
    ),
    Mutation(
        "a record is judged by its own key",
        "streams/wire.py",
        "keys = list(map(records.keys.__getitem__, place.tolist()))",
        "keys = list(records.keys[: len(place)])",
        "tests/streams/test_wire.py::test_a_basket_beside_a_refused_record",
    ),
    Mutation(
        "watermark: the broker's bound",
        "streams/wire.py",
        "clock = np.where(stamp >= 0, np.minimum(time, stamp + AHEAD_MS), time)",
        "clock = time",
        "tests/streams/test_wire.py::test_clock",
    ),
    Mutation(
        "watermark: never back",
        "features/events.py",
        "np.maximum(np.maximum.accumulate(self.clock) - lateness_ms, before_ms)",
        "(np.maximum.accumulate(self.clock) - lateness_ms)",
        "tests/features/test_events.py::test_watermark",
    ),
]
"""What moves time, and what must not."""

FORGOTTEN: Final = [
    Mutation(
        "tombstones are kept",
        _ENGINE,
        "        partition.tombstones = partition.tombstones.after(commit.forgotten)\n",
        "",
        "tests/streams/test_forgetting.py::test_nothing_is_resurrected",
    ),
    Mutation(
        "tombstones are found by a claim",
        _ENGINE,
        "tombstones = Tombstones(self.hash_key, claimed.forgotten, self.rebuild_ms)",
        "tombstones = Tombstones(self.hash_key)",
        "tests/streams/test_forgetting.py::test_another_worker_knows_who_is_forgotten",
    ),
    Mutation(
        "tombstones bury",
        "features/tombstones.py",
        "return (time <= tombstone) & (watermark <= tombstone + window_ms)",
        "return time < np.zeros(len(time))",
        _APPLIES + "test_forget",
    ),
    Mutation(
        "the outbox of a forget is cleared",
        _STEPS,
        "if (piece.chunk.kind == _FORGET).any()]",
        "if False]",
        "tests/streams/test_forgetting.py::test_nothing_of_a_forgotten_customer_is_left",
    ),
]
"""Erasure."""

LABELS: Final = [
    Mutation(
        "label: nothing at the time of its question",
        _QUESTIONS,
        "if 0 < after <= max(SOON_MS, self.horizon_ms):",
        "if 0 <= after <= max(SOON_MS, self.horizon_ms):",
        _ASKS + "test_answers_to_the_millisecond",
    ),
    Mutation(
        "label: within the horizon",
        _QUESTIONS,
        "question.now |= same & (after <= self.horizon_ms)",
        "question.now |= same",
        _ASKS + "test_answers_to_the_millisecond",
    ),
    Mutation(
        "label: within a day",
        _QUESTIONS,
        "question.soon |= same & (after <= SOON_MS)",
        "question.soon |= same",
        _ASKS + "test_a_horizon_longer_than_a_day",
    ),
    Mutation(
        "label: not before its time is over",
        _QUESTIONS,
        "while questions and questions[0].time < before:",
        "while questions and questions[0].time <= before:",
        _ASKS + "test_due_when_its_horizon_is_over",
    ),
    Mutation(
        "sample: bounded",
        _QUESTIONS,
        "while self._sampled > MOST_SOON:",
        "while False:",
        _ASKS + "test_thinned_by_halving",
    ),
    Mutation(
        "sample: each stands for those left out",
        _TRAINING,
        "head, weights = self.soon, weights / self.questions.share",
        "head = self.soon",
        _LEARNS + "test_what_is_left_of_a_sample_counts_for_all",
    ),
    Mutation(
        "a choice learns each outcome once",
        _TRAINING,
        "if offset >= self._resolved.next:  # else learned before a restart",
        "if True:",
        _LEARNS + "test_killed",
    ),
    Mutation(
        "a choice learns only what was touched",
        _TRAINING,
        "        if not len(chosen):\n            return\n",
        "        chosen = chosen if len(chosen) else [0]\n",
        _LEARNS + "test_what_was_chosen_is_learned",
    ),
    Mutation(
        "companions: a subject is new in the session",
        "intents/meetings.py",
        "(gap[:viewed, None] > _SESSION) & ",
        "",
        _LEARNS + "test_a_subject_that_is_new_in_the_session_meets_those_that_are_there",
    ),
]
"""What a question is answered with, and when."""

MODELS: Final = [
    Mutation(
        "snapshot: an earlier release's says to train anew",
        _SNAPSHOTS,
        "if content[:8] in _EARLIER:",
        "if False:",
        "tests/golden/test_golden.py::test_snapshots_of_an_earlier_release_are_refused",
    ),
    Mutation(
        "a precision is symmetric to the bit",
        _HEAD,
        "self.precision += (added + added.T) / 2.0",
        "self.precision += added",
        "tests/intents/test_head.py::test_precision_is_symmetric_to_the_bit",
    ),
    Mutation(
        "snapshot: finite",
        _CHECKS,
        "if not all(np.isfinite(array).all() for array in numbers.values()):",
        "if False:",
        "tests/intents/test_snapshots.py::test_not_finite",
    ),
    Mutation(
        "snapshot: of this bundle",
        _SNAPSHOTS,
        "if header.bundle_hash != bundle.hash:",
        "if False:",
        "tests/intents/test_snapshots.py::test_another_bundle",
    ),
    Mutation(
        "snapshot: as it was written",
        _MODEL_STORE,
        "if content_hash(content) not in name:",
        "if False:",
        "tests/intents/test_model_store.py::test_content_is_what_the_name_says",
    ),
    Mutation(
        "snapshot: written if absent",
        _MODEL_STORE,
        "if not self._fs.exists(path):",
        "if True:",
        "tests/intents/test_model_store.py::test_written_if_absent",
    ),
    Mutation(
        "snapshot: the lowest hash of an offset",
        _MODEL_STORE,
        'by_offset.setdefault(name.split("-")[0], []).append(name)',
        'by_offset.setdefault(name.split("-")[0], []).insert(0, name)',
        "tests/intents/test_model_store.py::test_newest_of_one_offset",
    ),
    Mutation(
        "a vector to learn from: finite",
        _HEAD,
        "if not np.isfinite(columns).all():",
        "if False:",
        "tests/intents/test_head.py::test_refuses_what_would_poison",
    ),
    Mutation(
        "warm start: not beside a snapshot to go on from",
        _TRAIN,
        "        if found is None:\n",
        "        if True:\n",
        _TRAINS + "test_a_warm_start_where_there_is_a_snapshot",
    ),
    Mutation(
        "warm start: workers have it at once",
        _TRAIN,
        "store.url, store.save(content, 0))",
        "store.url, content_hash(content))",
        _TRAINS + "test_a_warm_start",
    ),
    Mutation(
        "warm start: one of two for everybody",
        _TRAIN,
        "            found = store.newest(CORE)  # where another trainer warm starts too, the same for both\n",
        "",
        _TRAINS + "test_two_warm_starts",
    ),
    Mutation(
        "warm start: what was read elsewhere does not count",
        "streams/models.py",
        "    return Checkpoint.beginning(load_model(path, bundle))",
        "    return decode(Path(path).read_bytes(), bundle)",
        "tests/streams/test_models.py::test_a_starting_point",
    ),
]
"""Models."""
