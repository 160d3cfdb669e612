"""The list of mutations fits the sources; `make mutations` tries them."""

import pytest

from tests.mutations.listed import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.what)
def test_each_mutation_fits(mutation: Mutation) -> None:
    """Its text is in its file exactly once, what comes instead differs, and its test is there."""
    assert mutation.found() == 1
    assert mutation.instead != mutation.text
    path, *_, name = mutation.test.split("::")
    inherited = "tests/features/store_contract.py"  # by the stores' test classes
    function = f"def {name.split('[')[0]}("
    assert any(function in (ROOT / file).read_text() for file in (path, inherited))


def test_names_are_different() -> None:
    """A table with two equal rows could not be read."""
    names = [mutation.what for mutation in MUTATIONS]
    assert len(names) == len(set(names)) > 40
