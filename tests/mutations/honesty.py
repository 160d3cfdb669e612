"""The guards of what is told of a model: against its fallback, for long enough, once, and in whose name."""

from typing import Final

from tests.mutations.mutation import Mutation

_PROGRESS: Final = "intents/progress.py"
_TRAINING: Final = "intents/training.py"
_JUDGES: Final = "tests/intents/test_progress.py::"
_LEARNS: Final = "tests/intents/test_training.py::"
_LIVES: Final = "tests/intents/test_life.py::"

HONESTY: Final = [
    Mutation(
        "a model that loses is not served",
        "intents/model.py",
        "return self.ready and not self.losing",
        "return self.ready",
        _LIVES + "test_the_fallback_speaks_and_says_so",
    ),
    Mutation(
        "losing: for hours",
        _PROGRESS,
        "if self.clock - self.since < LOSING_MS or self.streak < NEEDED:",
        "if self.streak < NEEDED:",
        _JUDGES + "test_six_hours_behind",
    ),
    Mutation(
        "losing: over many pairs",
        _PROGRESS,
        "if self.clock - self.since < LOSING_MS or self.streak < NEEDED:",
        "if self.clock - self.since < LOSING_MS:",
        _JUDGES + "test_a_quiet_night_decides_nothing",
    ),
    Mutation(
        "losing: without a break",
        _PROGRESS,
        "            self.since, self.streak = -1, 0\n            return False\n",
        "            return False\n",
        _JUDGES + "test_a_break_begins_anew",
    ),
    Mutation(
        "losing: the past does not decide",
        _PROGRESS,
        "= not self.losing, 0.0, -1, 0",
        "= not self.losing, self.behind, -1, 0",
        _JUDGES + "test_the_past_does_not_decide",
    ),
    Mutation(
        "judged: late pairs are older",
        _PROGRESS,
        "count = weights * _left(self.clock - times, HALF_LIFE_MS)",
        "count = weights * _left(0 * times, HALF_LIFE_MS)",
        _JUDGES + "test_half_a_day_later",
    ),
    Mutation(
        "judged: before the answer is counted",
        _TRAINING,
        "self.progress.note(times, said, self.tables.rates_of(ranks), labels, weights)",
        "(self.tables.count_ranks(ranks, labels, weights)"
        " or self.progress.note(times, said, self.tables.rates_of(ranks), labels, weights))",
        _LEARNS + "test_judged_before_learned",
    ),
    Mutation(
        "judged: a restart goes on",
        _TRAINING,
        "self.progress = checkpoint.progress.copy() if checkpoint else Progress()",
        "self.progress = Progress()",
        _LEARNS + "test_killed_while_it_loses",
    ),
    Mutation(
        "the model's own word is told while the fallback is served",
        "intents/detect.py",
        "candidates, vectors, columns, p, soon, said)",
        "candidates, vectors, columns, p, soon, p)",
        "tests/intents/test_detect.py::test_what_the_model_said",
    ),
    Mutation(
        "an intent ends in the name of who spoke last",
        "intents/reports.py",
        "FALLBACK if change.note.fallback else self.model.name",
        "self.model.name if self.model.believed else FALLBACK",
        _LIVES + "test_whose_word_it_is_stays_with_it",
    ),
    Mutation(
        "whose word it was is taken over after a loss",
        "intents/adoption.py",
        "fallback = intent.model.name == FALLBACK",
        "fallback = False",
        "tests/intents/test_adoption.py::test_whose_word_it_was",
    ),
    Mutation(
        "examples: what was said is a probability",
        "intents/examples.py",
        "not bool(((examples.said < 0) | (examples.said > 1)).any())",
        "True",
        "tests/intents/test_examples.py::test_columns_belong_together",
    ),
    Mutation(
        "snapshot: a duel that can be",
        "intents/snapshots.py",
        " and _sound_progress(arrays, header.progress)",
        "",
        "tests/intents/test_snapshots.py::test_duels_that_cannot_be",
    ),
]
"""Whether a model is believed, and said to be."""
