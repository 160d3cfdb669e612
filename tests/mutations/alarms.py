"""The guards of what alarms are counted, and of the threshold that is chosen by them."""

from typing import Final

from tests.mutations.mutation import Mutation

_COOLDOWNS: Final = "intents/cooldowns.py"
_ALARMS: Final = "intents/alarms.py"
_COOLS: Final = "tests/intents/test_cooldowns.py::"
_CHOOSES: Final = "tests/intents/test_alarms.py::"
_REFUSES: Final = "tests/intents/test_snapshots.py::"

ALARMS: Final = [
    Mutation("alarms cool down", _COOLDOWNS, "if past:", "if False:", _COOLS + "test_it_cools_down"),
    Mutation(
        "alarms cool down for a horizon",
        _COOLDOWNS,
        "if time - one.time <= self.horizon_ms]",
        "if True]",
        _COOLS + "test_it_cools_down",
    ),
    Mutation(
        "alarms: only what comes after ends a cool-down",
        _COOLDOWNS,
        "if one.time < time:",
        "if True:",
        _COOLS + "test_an_outcome_ends_it",
    ),
    Mutation(
        "alarms: rounded as intents are",
        _COOLDOWNS,
        "np.rint(np.fmax(said, 0.0)",
        "np.floor(np.fmax(said, 0.0)",
        _COOLS + "test_from_the_threshold",
    ),
    Mutation(
        "alarms: of a share of the customers",
        _COOLDOWNS,
        "if not self._holds(customer) or not",
        "if not",
        _COOLS + "test_of_too_many_a_share_of_the_customers_is_kept",
    ),
    Mutation(
        "alarms: a flood costs nobody else's share",
        _COOLDOWNS,
        "if len(mine) > MOST_OF_ONE:",
        "if False:",
        _COOLS + "test_a_flood_costs_nobody_else_s_share",
    ),
    Mutation(
        "alarms: what cools down is in a checkpoint",
        "intents/training.py",
        "self._updates.append((offset, partial(act, self._base_cooling, *what)))",
        "pass",
        "tests/intents/test_training.py::test_killed_while_it_cools_down",
    ),
    Mutation(
        "alarms: a day counts once",
        "intents/detect.py",
        " & (view.logs.arrival[view.entry] != events[view.ask])",
        "",
        _COOLS + "test_the_first_question_of_a_customer_s_day",
    ),
    Mutation(
        "examples: a question is the first of a day or not",
        "intents/examples.py",
        '        and bool((asked["first"] <= 1).all())\n',
        "",
        "tests/intents/test_examples.py::test_entries_make_sense",
    ),
    Mutation(
        "threshold: by enough alarms",
        _ALARMS,
        "if alarms[0] >= ENOUGH_ALARMS:",
        "if True:",
        _CHOOSES + "test_until_enough_is_known",
    ),
    Mutation(
        "threshold: never below the lowest",
        _ALARMS,
        "slice(int(np.searchsorted(GRID, LOWEST)), len(GRID))",
        "slice(0, len(GRID))",
        _CHOOSES + "test_the_loosest_that_meets_the_target",
    ),
    Mutation(
        "threshold: a fallback's word is not the model's",
        "intents/model.py",
        "        if not self.believed:\n",
        "        if False:\n",
        "tests/intents/test_life.py::test_the_default_where_no_model_is_served",
    ),
    Mutation(
        "snapshot: alarms that can be",
        "intents/snapshot_checks.py",
        "    whole &= alarm_arrays.sound(arrays, header.alarms, len(header.sources))\n",
        "",
        _REFUSES + "test_alarms_that_cannot_be",
    ),
    Mutation(
        "warm start: alarms of another time",
        "intents/checkpoint.py",
        "        model = replace(model, curve=model.curve.undated())\n",
        "",
        "tests/streams/test_models.py::test_a_warm_start_keeps_what_alarms_were_worth",
    ),
]
"""Which alarms count, and what is chosen by them."""
