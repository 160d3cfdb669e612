"""The outbox carries records through a commit and gives them back as they were, in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Record, UnreadableOutbox, pack_outbox, unpack_outbox

RECORDS = st.builds(
    Record,
    st.text(max_size=20),
    st.none() | st.integers(0, 10_000),
    st.none() | st.binary(max_size=40),
    st.binary(max_size=200),
    st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=4),
)


@settings(max_examples=100, derandomize=True, database=None)
@given(st.lists(RECORDS, max_size=8))
def test_round_trip(records: list[Record]) -> None:
    """What is unpacked is what was packed: topic, partition or none, key or none, value, headers, order."""
    assert unpack_outbox(pack_outbox(records)) == records


def test_nothing_to_publish() -> None:
    """No records are no bytes, as a store holds before the first commit."""
    assert pack_outbox([]) == b""
    assert unpack_outbox(b"") == []


def test_no_key_is_not_an_empty_key() -> None:
    """Kafka tells them apart, and so do we."""
    records = [Record("t", 0, None, b""), Record("t", 0, b"", b"")]
    assert unpack_outbox(pack_outbox(records)) == records
    assert records[0] != records[1]


@pytest.mark.parametrize(
    "outbox",
    [b"{}", b"\xdd\xff\xff\xff\xff", b"\x91\x95\xa1\xff\xc0\xc0\xc4\x01a\x90", b"\x91\x93\xa1a\xc0\xc0", b"\xc1"],
)
def test_damaged(outbox: bytes) -> None:
    """What is no outbox, or names a topic that is no text, is refused with what to do."""
    with pytest.raises(UnreadableOutbox, match="run the release that wrote it, or rebuild"):
        unpack_outbox(outbox)
