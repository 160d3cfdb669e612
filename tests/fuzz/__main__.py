"""Fuzz the decoders for minutes each: `python -m tests.fuzz [--minutes N] [--seed S] [TARGET...]`.

Every round prints its seed; `--seed` with that number repeats the round, and the input that failed is printed whole.
"""

import argparse
import random
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.limits import bounded
from tests.fuzz.mutations import mutants
from tests.fuzz.targets import TARGETS, Target

ROUND: int = 400
"""Inputs of a round."""


def one_round(target: Target, number: int) -> int:
    """Check a round of inputs drawn with a seed; returns how many were taken. Raises what a check raised, with them."""
    taken = 0

    @seed(number)
    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(mutants(target.seeds()))
    def check(content: bytes) -> None:
        nonlocal taken
        try:
            with bounded():
                taken += target.check(content)
        except BaseException as error:
            error.add_note(f"input: {content!r}")
            raise

    check()
    return taken


def main() -> int:
    """Fuzz each target in turn; returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, help="only the round of this seed")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"of {', '.join(TARGETS)}")
    told = parser.parse_args()
    for name in told.targets:
        target, ends, inputs, taken = TARGETS[name], time.monotonic() + 60 * told.minutes, 0, 0
        assert all(target.check(content) for content in target.seeds() if len(content) < 90_000), name
        while inputs == 0 or (told.seed is None and time.monotonic() < ends):
            number = random.SystemRandom().getrandbits(32) if told.seed is None else told.seed
            print(f"{name} --seed {number}", flush=True)
            taken += one_round(target, number)
            inputs += ROUND
        print(f"{name}: {inputs} inputs, {taken} taken, the rest refused as they should be", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
