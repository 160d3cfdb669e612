"""What earlier releases stored is read as what it said: each format has a file of bytes that were written then.

To add the next version of a format: keep its old files and the code that reads them; add the new name to `FORMATS` in
`tests/golden/formats.py`, behind the old one, and run `python -m tests.golden.formats`, which writes only what is
missing. A file that is here already is never written again: a release that cannot read it must not come out.
The one exception is a snapshot of another bundle, which no release could use: it is refused, and told to train anew.
"""

import asyncio
import json
from typing import Any

import msgspec
import pytest
import redis

from features.redis_store import RedisStore
from features.state import UnreadableState, decode
from features.store import Claimed, Cursor, NotOwner
from intents import examples, snapshot_layout, snapshots
from intents.change import Note
from sinks.records import UnreadableOutbox, unpack_outbox
from tests.golden.formats import CUSTOMER, FOLDER, FORMATS, KEY, bytes_of, values_of
from tests.intents.steered import STEERED

NEWEST = {name.rsplit("-", 1)[0]: name for name in FORMATS}
"""The file of each format that is written now."""


@pytest.mark.parametrize("name", FORMATS)
def test_every_stored_format_is_read(name: str) -> None:
    """Bytes that were written then say what they said then."""
    assert FORMATS[name].values(bytes_of(name)) == values_of(name)


@pytest.mark.parametrize("name", NEWEST.values())
def test_the_newest_is_what_is_written(name: str) -> None:
    """A format that changes gets a new name: what is written today under this one are the same bytes."""
    assert FORMATS[name].again(bytes_of(name)) == bytes_of(name)


def test_the_files_are_worth_their_names() -> None:
    """They hold every part of their format: tiles, folded ids, open and cooling intents, names, outcomes, headers."""
    for name in ("state-v1", "state-v2"):
        state = values_of(name)
        assert {entry[-1] for entry in state["entries"]} == {"raw", "hour", "day"}
        assert len(state["folded"]) == 64 and state["memory"]["floor"] > 0 and len(state["notes"]) == 3
    asked = values_of("examples-v1")
    assert len(asked["asked"]) > 10 and len(asked["outcomes"]) == 3 and len(asked["recent"]) > 6 and asked["head"][-1]
    chosen = values_of("examples-v2")
    assert sum(chosen["choices"]) > 6 and chosen["model"] == "1-steered" and 0.29 < max(chosen["said"]) < 1
    outbox = values_of("outbox-v1")
    assert {record[0] for record in outbox} == {"intents", "examples", "dead"}
    assert {0, 1} == set(values_of("examples-v2")["first"])
    snapshot = values_of("snapshot-MISNAP03")
    clock, days, alarms, hits = snapshot["curve"]
    assert clock > 0 and days > 2 and alarms[0] > hits[0] > 0 and snapshot["cooling"][1]
    assert snapshot["reading"][0] != snapshot["reading"][1] and snapshot["names"]
    labels = {name: [parts["touched"][:2], parts["foreseen"][:2]] for name, parts in snapshot["heads"].items()}
    assert min(count for counts in labels.values() for part in counts for count in part) > 0
    assert snapshot["progress"][0] > 0 and snapshot["progress"][-2] > 2 and len(snapshot["bins"]) > 0
    _, waiting = snapshot["later"]
    answers = [answer for question in waiting for answer in question[5]]
    assert len(waiting) > 1 and set(answers) == {False, True}


def test_snapshots_of_an_earlier_release_are_refused() -> None:
    """They are read by no release that has other features: MISNAP01 is of another bundle, so its file was never needed.

    What its weights stand for is gone (River's pipeline over core-1), so nothing could go on from it; a worker keeps
    its fallback and a trainer begins anew. The error says so.
    """
    with pytest.raises(
        snapshot_layout.UnusableSnapshot, match="an earlier release, whose features are others: train anew"
    ):
        snapshots.decode((FOLDER / "snapshot-MISNAP01.bin").read_bytes(), STEERED)


def test_notes_without_soon_are_read() -> None:
    """States of before have notes that say nothing of a day, nor whose word it was: the model's; kept as they are."""
    for note in decode([CUSTOMER], [bytes_of("state-v1")]).notes.values():
        packed = msgspec.msgpack.decode(note)
        assert len(packed) == 3
        found = msgspec.msgpack.decode(note, type=Note)
        assert (found.event_id, found.version, found.soon, found.fallback) == (packed[0], packed[1], None, False)


def _later(name: str) -> bytes:
    content = bytes_of(name)
    if name.startswith("state"):
        return content[:2] + b"\x03" + content[3:]
    if name.startswith("snapshot"):
        return b"MISNAP04" + content[8:]
    if name.startswith("outbox"):
        return msgspec.msgpack.encode({"version": 2, "records": content})
    return msgspec.msgpack.encode([3, *msgspec.msgpack.decode(content)[1:]])


def _read(name: str, content: bytes) -> object:
    if name.startswith("state"):
        return decode([CUSTOMER], [content])
    if name.startswith("snapshot"):
        return snapshots.decode(content, STEERED)
    return unpack_outbox(content) if name.startswith("outbox") else examples.unpack(content)


@pytest.mark.parametrize(
    ("name", "error", "what_to_do"),
    [
        (NEWEST["state"], UnreadableState, "run the release that wrote it"),
        (NEWEST["snapshot"], snapshot_layout.UnusableSnapshot, "use the release that wrote it"),
        (NEWEST["outbox"], UnreadableOutbox, "run the release that wrote it"),
        (NEWEST["examples"], examples.NewerExamples, "upgrade the trainer"),
    ],
)
def test_a_later_version_is_refused(name: str, error: type[Exception], what_to_do: str) -> None:
    """What a release to come has written is never guessed at, and the error says what to do."""
    with pytest.raises(error, match=what_to_do):
        _read(name, _later(name))


def _restore(client: redis.Redis, stored: dict[str, Any], *meta: str) -> None:
    prefix = stored["prefix"]
    client.hset(f"{prefix}meta", mapping={name: stored["meta"][name] for name in meta})
    client.zadd(f"{prefix}deadlines", stored["deadlines"])
    client.hset(f"{prefix}names", mapping={bytes.fromhex(key): name for key, name in stored["names"].items()})
    client.hset(f"{prefix}forgotten", mapping={bytes.fromhex(key): at for key, at in stored["forgotten"].items()})
    client.set(f"{prefix}outbox", bytes.fromhex(stored["outbox"]))
    for customer, blob in stored["states"].items():
        client.set(f"{prefix}s:{customer}", bytes.fromhex(blob))


@pytest.mark.parametrize("older", [True, False])
def test_a_partition_in_redis_is_read(redis_url: str, older: bool) -> None:
    """The keys of a partition as they were written: cursor, outbox, names, tombstones, deadlines, states.

    Older ones have no `adopt_until` and no `partitions` yet.
    """
    stored = json.loads((FOLDER / "redis-v1.json").read_bytes())
    fields = ["token", "sequence", "position", "watermark", *([] if older else ["adopt_until", "partitions"])]
    with redis.Redis.from_url(redis_url) as client:
        _restore(client, stored, *fields)
    at = Cursor("5f2c", 41, 140, 1_701_326_300_000, -1 if older else 139)

    async def look() -> tuple[Any, ...]:
        store = RedisStore.from_url(redis_url)
        customers = list(stored["states"])
        found = (
            await store.cursor(KEY),
            await store.read(KEY, at, customers),
            await store.due(KEY, 2**52, 10),
            await store.claim(KEY, "mine"),
        )
        with pytest.raises(NotOwner):
            await store.read(KEY, at, customers)
        await store.close()
        return found

    cursor, states, due, claimed = asyncio.run(look())
    assert KEY.prefix == stored["prefix"]
    assert cursor == at
    assert states == [bytes.fromhex(blob) for blob in stored["states"].values()]
    assert due == list(stored["deadlines"].items())
    assert claimed == Claimed(
        Cursor("mine", 41, 140, 1_701_326_300_000, at.adopt_until),
        bytes.fromhex(stored["outbox"]),
        {bytes.fromhex(key): name for key, name in stored["names"].items()},
        {bytes.fromhex(key): time for key, time in stored["forgotten"].items()},
        0 if older else 8,
    )
