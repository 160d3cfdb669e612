"""Which model a worker speaks with.

A frozen file, or the newest usable snapshot of the store, looked for now and then.
"""

import logging
from pathlib import Path

import fsspec

from features.bundle import Bundle
from intents.model import Model
from intents.snapshots import ModelStore, UnusableSnapshot, decode

_log = logging.getLogger(__name__)


def load_model(path: str, bundle: Bundle) -> Model:
    """The model of a snapshot file (a path or an fsspec URL).

    Raises UnusableSnapshot, or OSError if it cannot be read.
    """
    with fsspec.open(path if "://" in path else str(Path(path).absolute()), "rb") as file:
        return decode(file.read(), bundle).model


class ModelWatch:
    """Looks for newer snapshots in a store; a bad one is refused once, loudly, and the last good one stays."""

    def __init__(self, store: ModelStore, bundle: Bundle) -> None:
        """Nothing is read before `newer` is called."""
        self._store, self._bundle = store, bundle
        self._seen = ""

    def newer(self) -> Model | None:
        """The newest snapshot's model, None if it is the one seen last or cannot be used. Blocks on the store."""
        try:
            found = self._store.latest()
            if found is None or found.name == self._seen:
                return None
            if found.disputed:
                _log.error(
                    "two snapshots claim the offset of %s: two trainers disagree; using the lower hash", found.name
                )
            content = self._store.load(found.name)
        except OSError as error:
            _log.warning("the model store %s cannot be read: %s", self._store.url, error)
            return None
        self._seen = found.name
        try:
            return decode(content, self._bundle).model
        except UnusableSnapshot as error:
            _log.error("snapshot %s is refused, the last good one stays: %s", found.name, error)
            return None
