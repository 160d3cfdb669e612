"""All mutations."""

from typing import Final

from tests.mutations.alarms import ALARMS
from tests.mutations.content import FORGOTTEN, LABELS, MODELS, ONCE, TIME
from tests.mutations.honesty import HONESTY
from tests.mutations.loss import LOSS
from tests.mutations.mutation import Mutation
from tests.mutations.protocol import COMMIT, ORDER, PLACE

MUTATIONS: Final[list[Mutation]] = [
    *COMMIT,
    *ORDER,
    *PLACE,
    *LOSS,
    *ONCE,
    *TIME,
    *FORGOTTEN,
    *LABELS,
    *MODELS,
    *HONESTY,
    *ALARMS,
]
"""In the order in which they are tried."""
