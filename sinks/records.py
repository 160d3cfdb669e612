"""Records on their way to Kafka, and the outbox that carries them through a commit."""

from collections.abc import Sequence

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to publish; `partition` None leaves the choice to the key's hash. Header values are bytes."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] = []


class UnreadableOutbox(Exception):
    """An outbox that is damaged, or of another release: run the release that wrote it, or rebuild from the log."""


_decoder = msgspec.msgpack.Decoder(list[Record])


def pack_outbox(records: Sequence[Record]) -> bytes:
    """Outbox bytes of `records` (msgpack), empty for none."""
    return msgspec.msgpack.encode(list(records)) if records else b""


def unpack_outbox(outbox: bytes) -> list[Record]:
    """Records of an outbox, in the order in which they are published; raises UnreadableOutbox."""
    try:
        return _decoder.decode(outbox) if outbox else []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableOutbox(
            f"an outbox cannot be read ({error}): run the release that wrote it, or rebuild the store from the log"
        ) from error
