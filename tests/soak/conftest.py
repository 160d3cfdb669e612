"""A clean outcome, made once."""

import pytest

from tests.soak.clean import Clean, perfect, sent_and_learned


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """What a perfect job would leave, and the model that it spoke with; to be copied before anything is changed."""
    log, snapshot = sent_and_learned(tmp_path_factory.mktemp("soak"))
    return perfect(log, snapshot), snapshot
