"""Which model a worker speaks with.

A frozen file, or the newest usable snapshot of the store, looked for now and then; and what a new one begins with.
"""

import logging
from pathlib import Path

import fsspec

from features.bundle import Bundle
from intents.checkpoint import Checkpoint
from intents.model import Model
from intents.model_store import ModelStore
from intents.progress import LOSES, WINS
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import decode
from streams.observer import Observer

_log = logging.getLogger(__name__)


def load_model(path: str, bundle: Bundle) -> Model:
    """The model of a snapshot file (a path or an fsspec URL).

    Raises UnusableSnapshot, which names it, or OSError if it cannot be read.
    """
    with fsspec.open(path if "://" in path else str(Path(path).absolute()), "rb") as file:
        content = file.read()
    try:
        model = decode(content, bundle, waiting=False).model
    except UnusableSnapshot as error:
        raise UnusableSnapshot(f"{path}: {error}") from error
    if model.losing:
        _log.warning("the model of %s %s", path, LOSES)
    return model


def starting_point(path: str, bundle: Bundle) -> Checkpoint:
    """The model of a snapshot file as the beginning of something new: what it was learned from does not count there.

    Raises as `load_model` does.
    """
    return Checkpoint.beginning(load_model(path, bundle))


class ModelWatch:
    """Looks for newer snapshots in a store; a bad one is passed over, loudly, and the last good one stays."""

    def __init__(self, store: ModelStore, bundle: Bundle, observer: Observer | None = None) -> None:
        """Nothing is read before `newer` is called."""
        self._store, self._bundle, self._observer = store, bundle, observer or Observer()
        self._seen = ""
        self._losing = False

    def newer(self) -> Model | None:
        """The newest snapshot's model, None if it is the one seen last or cannot be used. Blocks on the store."""
        try:
            found = self._store.newest(self._bundle, known=self._seen, waiting=False)
        except OSError as error:
            _log.warning("the model store %s cannot be read: %s", self._store.url, error)
            return None
        self._observer.looked(self._store.refused, self._store.disputed)
        if found is None:
            return None
        self._seen, checkpoint = found
        self._observer.snapshot(checkpoint.reading.next)
        if checkpoint.model.losing != self._losing:
            self._losing = checkpoint.model.losing
            _log.warning("model %s %s", checkpoint.model.version, LOSES if self._losing else WINS)
        return checkpoint.model
