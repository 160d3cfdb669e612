"""Any bytes are refused by the error that a decoder names, or taken; `make fuzz` looks longer than this."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.limits import bounded
from tests.fuzz.mutations import mutants
from tests.fuzz.targets import TARGETS, Target

EXAMPLES = {"wire": 200, "state": 80, "outbox": 250, "examples": 60, "snapshot": 60, "catalogue": 80, "recording": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_valid_bytes_are_taken(name: str) -> None:
    """What the mutants begin from is valid, so that they get past the first look."""
    target = TARGETS[name]
    taken = [target.check(content) for content in target.seeds()]
    assert all(taken[:-1]) and (taken[-1] or name == "recording")


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_refused_or_taken(name: str) -> None:
    """Flipped, cut, spliced and arbitrary bytes: no other error, no allocation beyond the limit, no hang."""
    target: Target = TARGETS[name]
    known: list[bool] = []

    @settings(
        max_examples=EXAMPLES[name],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(mutants(target.seeds()))
    def check(content: bytes) -> None:
        with bounded():
            known.append(target.check(content))

    check()
    assert not all(known)  # that some are taken is shown above
