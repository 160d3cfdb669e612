"""Records on their way to Kafka, and the outbox that carries them through a commit."""

from collections.abc import Sequence

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One record to publish; `partition` None leaves the choice to the key's hash. Header values are bytes."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] = []


_decoder = msgspec.msgpack.Decoder(list[Record])


def pack_outbox(records: Sequence[Record]) -> bytes:
    """Outbox bytes of `records` (msgpack), empty for none."""
    return msgspec.msgpack.encode(list(records)) if records else b""


def unpack_outbox(outbox: bytes) -> list[Record]:
    """Records of an outbox, in the order in which they are published."""
    return _decoder.decode(outbox) if outbox else []
