"""Every stored format: bytes of made-up customers, how they are read, and what they say, in plain values.

`python -m tests.golden.formats` writes the files that are missing, of the formats as they are now.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from features.state import States, decode, encode
from features.store import PartitionKey
from intents import examples, snapshots
from intents.catalog import Catalogue
from intents.checkpoint import Checkpoint
from intents.cooldowns import Sounded
from intents.detect import Setup
from intents.head import ARRAYS, Head
from intents.questions import Question
from intents.reading import Reading
from intents.subjects import subject_hash
from intents.tables import Tables
from intents.training import Trainer
from sinks.records import Record, pack_outbox, unpack_outbox
from tests.features.building import plain
from tests.intents.replaying import MINUTE, Drive, in_chunks
from tests.intents.steered import HORIZON, STEERED, Shop, steered_model

FOLDER: Final = Path(__file__).parent
KEY: Final = PartitionKey("test", "clickstream", 0)
CUSTOMER: Final = "anna"


@dataclass(frozen=True)
class Format:
    """A stored format: what bytes say, what they are written as again, and made-up bytes of it."""

    values: Callable[[bytes], Any]
    again: Callable[[bytes], bytes | None]
    write: Callable[[], bytes]


def day_of_a_shop() -> Drive:
    """Anna's months, with tiles, intents open and cooling down; ben's few minutes; carla, who is forgotten."""
    shop = Shop()
    for n in range(130):
        shop.view(n * 17 * HORIZON // 3, f"thing-{n % 5}")
    at = 130 * 17 * HORIZON // 3
    for n, subject in enumerate(("tea", "cake", "hats")):
        shop.view(at + n * MINUTE, subject, 0.3 + n / 10)
        shop.view(at + n * MINUTE + 1, subject, 0.25, "ben")
    shop.do("purchase", at + 4 * MINUTE, "cake", price=12.5)
    shop.view(at + 5 * MINUTE, "tea", 0.6)
    shop.view(at + 5 * MINUTE, "gloves", 0.5, "carla")
    shop.do("forget", at + 6 * MINUTE, None, "carla")
    shop.do("cart_add", at + 7 * MINUTE, "hats", "ben", items=[{"product_id": "p1"}, {"category": "socks"}])
    catalogue = Catalogue()
    drive = Drive(Setup(STEERED, catalogue, catalogue.names), shop.model, [shop.records], with_examples=True)
    return asyncio.run(drive.run(in_chunks(drive.lanes, 120)))


def state_values(blob: bytes) -> Any:
    """What a state says."""
    states = decode([CUSTOMER], [blob])
    memory, held = states.memory, int(states.memory.held[0])
    names = ("forced", "newest", "floor", "complete_since")
    used = np.flatnonzero(states.slots["subject"][0])
    return {
        "entries": [list(asdict(entry).values()) for entry in plain(states)],
        "folded": np.stack([memory.ids[0, :held], memory.times[0, :held].astype(np.uint64)], axis=1).tolist(),
        "memory": {name: int(getattr(memory, name)[0]) for name in names} | {"tombstone": int(states.tombstone[0])},
        "slots": [[*states.slots[0, s].tolist()[:-1], states.slots[0, s]["intent_id"].tobytes().hex()] for s in used],
        "notes": {str(slot): note.hex() for (_, slot), note in states.notes.items()},
    }


def state_again(blob: bytes) -> bytes | None:
    """The state as it is written now, of the bundle that it names."""
    states: States = decode([CUSTOMER], [blob])
    return encode(states, blob[8:12].hex())[0]


def outbox_values(outbox: bytes) -> Any:
    """What an outbox says."""
    return [
        [r.topic, r.partition, r.key and r.key.hex(), r.value.hex(), [[name, it.decode()] for name, it in r.headers]]
        for r in unpack_outbox(outbox)
    ]


def _last_records() -> list[Record]:
    return [*day_of_a_shop().records[0][-3:], Record("dead", None, None, b"\0", [("reason", b"because")])]


def examples_values(record: bytes) -> Any:
    """What a record of the examples topic says."""
    found = examples.unpack(record)
    columns = {name: np.asarray(getattr(found, name)).tolist() for name in ("outcomes", "subjects", "ranks")}
    columns["asked"] = [list(entry)[:-1] for entry in found.asked.tolist()]  # without what version 2 added
    more = {"recent": found.recent.tolist(), "vectors": found.vectors.tolist()}
    names = {key.hex(): name for key, name in found.names.items()}
    head = [found.topic, found.partition, found.watermark, found.bundle, found.share, names]
    return json.loads(json.dumps({"head": head} | columns | more))


def choices_values(record: bytes) -> Any:
    """What a record of the examples topic says, with what version 2 added."""
    found = examples.unpack(record)
    names = ("choices", "choice_subjects", "choice_vectors", "said")
    more = {name: np.asarray(getattr(found, name)).tolist() for name in names}
    return examples_values(record) | more | {"model": found.model, "first": found.asked["first"].tolist()}


def examples_again(record: bytes) -> bytes:
    """A record of the examples topic, read and written."""
    return examples.pack(examples.unpack(record))


def checkpoint() -> Checkpoint:
    """What a trainer knows after three days, the last of which waits for its answers within a day.

    Of six customers two buy what they viewed, one what was foreseen, and one what was viewed, hours later. The last but
    one is cooling down when the last one asks, who waits for an answer.
    """
    tables, things = Tables(), [f"thing-{n}" for n in range(4)]
    for before, after in pairwise(map(subject_hash, things)):
        tables.count_view(after, before, 1.0)
        tables.count_together(after, [before], 1.0)
    shop = Shop(model=steered_model(tables=tables))
    for n in range(72):
        at, thing, customer = n * 2 * HORIZON, n % 3, f"c{n}"
        shop.view(at - (n == 71) * HORIZON, things[thing], 0.05 * (n % 4 + 1), customer)
        if n % 6 in (0, 2):
            shop.do("purchase", at + MINUTE, things[thing], customer)
        elif n % 6 == 3:
            shop.do("purchase", at + 2 * MINUTE, things[thing + 1], customer)
        elif n % 6 == 4:
            shop.do("purchase", at + HORIZON + MINUTE, things[thing], customer)
    shop.view(71 * 2 * HORIZON - 1, things[0], 0.3, "last")
    shop.clock(71 * 2 * HORIZON + 1)
    catalogue = Catalogue()
    drive = Drive(Setup(STEERED, catalogue, catalogue.names), shop.model, [shop.records], with_examples=True)
    asyncio.run(drive.run(in_chunks(drive.lanes, 1)))
    trainer = Trainer(STEERED, HORIZON)
    for offset, lesson in enumerate(drive.lessons):
        trainer.read(offset, lesson)
        trainer.resolve()
    return trainer.checkpoint()


def _reading(reading: Reading) -> Any:
    marks, silenced = ([[*source, *at] for source, at in of.items()] for of in (reading.marks, reading.silenced))
    watermarks, heard = ([[*source, at] for source, at in of.items()] for of in (reading.watermarks, reading.heard))
    return [reading.next, marks, watermarks, reading.clock, heard, silenced]


def _head(head: Head) -> Any:
    return {
        name: [part.positives, part.negatives, *(getattr(part, array).tolist() for array in ARRAYS)]
        for name, part in (("touched", head.touched), ("foreseen", head.foreseen))
    }


def _question(asked: Question) -> Any:
    place = [asked.time, asked.offset, asked.place, list(asked.source), asked.customer, asked.weight]
    arrays = (asked.subjects, asked.ranks, asked.columns, asked.now, asked.soon)
    return [place, *(array.tolist() for array in arrays), asked.now_open, asked.soon_open]


def _sounded(one: Sounded) -> Any:
    return [list(one.source), one.customer, one.time, one.subjects.tolist(), one.alarms.tolist()]


def snapshot_values(content: bytes) -> Any:
    """What a snapshot says."""
    found = snapshots.decode(content, STEERED)
    model = found.model
    tables = {}
    for name, table in (("now", model.tables), ("base", found.base)):
        arrays = {key: getattr(table, key).tolist() for key in ("totals", "moves", "successors", "successor_counts")}
        keys = [table.subjects.keys[: table.subjects.size].tolist(), table.transitions.keys[:40].tolist()]
        tables[name] = [keys, arrays, table.ranks.tolist(), table.views, table.outcomes]
    return {
        "model": [model.version, model.variant, list(model.feature_names)],
        "names": {str(key): name for key, name in model.names.items()},
        "heads": {name: _head(head) for name, head in (("now", model.now), ("soon", model.soon))},
        "later": [found.soon_share, [_question(question) for question in found.later]],
        "tables": tables,
        "progress": [
            getattr(found.progress, name) for name in ("clock", "behind", "losing", "since", "streak", "pairs", "loss")
        ],
        "bins": [
            [place, *found.progress.bins[:, place].tolist()]
            for place in np.flatnonzero(found.progress.bins[0]).tolist()
        ],
        "reading": [_reading(found.reading), _reading(found.base_reading)],
        "curve": [model.curve.clock, model.curve.customer_days, model.curve.alarms.tolist(), model.curve.hits.tolist()],
        "cooling": [found.cooling_share, [_sounded(one) for one in found.sounded]],
    }


FORMATS: Final = {
    "state-v1": Format(state_values, state_again, lambda: b""),
    "state-v2": Format(state_values, state_again, lambda: state_again(bytes_of("state-v1")) or b""),
    "outbox-v1": Format(outbox_values, lambda b: pack_outbox(unpack_outbox(b)), lambda: pack_outbox(_last_records())),
    "examples-v1": Format(examples_values, examples_again, lambda: b""),
    "examples-v2": Format(choices_values, examples_again, lambda: day_of_a_shop().lessons[-1]),
    "snapshot-MISNAP03": Format(
        snapshot_values,
        lambda b: snapshots.encode(snapshots.decode(b, STEERED)),
        lambda: snapshots.encode(checkpoint()),
    ),
}
"""By the name of its file; the last one of each format is what is written now."""


def bytes_of(name: str) -> bytes:
    """The bytes that were written then."""
    return (FOLDER / f"{name}.bin").read_bytes()


def values_of(name: str) -> Any:
    """What they said then."""
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def main() -> None:
    """Write the files that are missing."""
    for name, form in FORMATS.items():
        if not (FOLDER / f"{name}.bin").exists():
            content = form.write()
            (FOLDER / f"{name}.bin").write_bytes(content)
            told = msgspec.json.format(json.dumps(form.values(content)), indent=-1)
            (FOLDER / f"{name}.json").write_text(told + "\n")
            print(f"wrote {name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
