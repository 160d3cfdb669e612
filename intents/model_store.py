"""The place where a model's snapshots lie: any that fsspec can read and write.

A file's name is the offset up to which the examples were read and a hash of its content: readers take the highest
offset; of one offset with two hashes, which must not happen, the lowest hash wins and an alarm is raised.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

import fsspec

from features.bundle import Bundle
from intents.checkpoint import Checkpoint
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import content_hash, decode

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".snapshot"
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot's name in the store, and whether another content claims the same offset."""

    name: str
    disputed: bool


class ModelStore:
    """Snapshots of one variant under an fsspec URL (a folder, or an object store's prefix).

    `refused` and `disputed` say how many snapshots the last look for the newest could not use, or found to contradict
    another of their offset.
    """

    def __init__(self, url: str, variant: str = "main") -> None:
        """`url` is what fsspec reads: a path, file://, s3:// and so on."""
        self.url = url
        self.refused = self.disputed = 0
        self._fs, root = fsspec.core.url_to_fs(url)
        self._folder = f"{root.rstrip('/')}/{variant}"

    def save(self, content: bytes, next_offset: int) -> str:
        """Write a snapshot unless it is there; returns its name."""
        name = f"{next_offset:020d}-{content_hash(content)}{_SUFFIX}"
        path = f"{self._folder}/{name}"
        if not self._fs.exists(path):
            self._fs.makedirs(self._folder, exist_ok=True)
            part = f"{path}.{token_hex(4)}{_PART}"  # two trainers must not write into one file
            self._fs.pipe_file(part, content)
            self._fs.mv(part, path)
        return name

    def latest(self) -> Found | None:
        """The snapshot to use, None if there is none yet."""
        names = self.names()
        if not names:
            return None
        offset = names[-1].split("-")[0]
        same = [name for name in names if name.split("-")[0] == offset]
        return Found(same[0], len(same) > 1)

    def names(self) -> list[str]:
        """Names of all snapshots, oldest first."""
        return [name for name in self._files() if name.endswith(_SUFFIX)]

    def _files(self) -> list[str]:
        self._fs.invalidate_cache()
        if not self._fs.isdir(self._folder):
            return []
        return sorted(path.rsplit("/", 1)[-1] for path in self._fs.ls(self._folder, detail=False))

    def load(self, name: str) -> bytes:
        """A snapshot's bytes; raises UnusableSnapshot if they are not those that it is named by."""
        content = bytes(self._fs.cat_file(f"{self._folder}/{name}"))
        if content_hash(content) not in name:
            raise UnusableSnapshot("its content is not what its name says")
        return content

    def newest(self, bundle: Bundle, *, known: str = "", waiting: bool = True) -> tuple[str, Checkpoint] | None:
        """The newest usable snapshot, decoded as `waiting` says; None if it is that named `known`, or there is none.

        Of one offset the lowest hash counts, with an alarm. What cannot be used is told and passed over.
        """
        by_offset: dict[str, list[str]] = {}
        self.refused = self.disputed = 0
        for name in self.names():
            by_offset.setdefault(name.split("-")[0], []).append(name)
        for offset, names in sorted(by_offset.items(), reverse=True):
            if len(names) > 1:
                self.disputed += len(names) - 1
                _log.error(
                    "%d snapshots claim offset %s: trainers disagree; the lowest hash counts", len(names), offset
                )
            for name in names:
                if name == known:
                    return None
                try:
                    return name, decode(self.load(name), bundle, waiting=waiting)
                except (UnusableSnapshot, FileNotFoundError) as error:
                    self.refused += isinstance(error, UnusableSnapshot)  # else pruned meanwhile
                    _log.error("snapshot %s is passed over: %s", name, error)
        return None

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep` snapshots, and what killed trainers left half written before those."""
        kept = self.names()[-keep:]
        for name in [
            name for name in self._files() if name.endswith((_SUFFIX, _PART)) and name < min(kept, default="")
        ]:
            with suppress(FileNotFoundError):  # another trainer was quicker
                self._fs.rm_file(f"{self._folder}/{name}")
