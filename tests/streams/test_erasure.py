"""What of a customer is found in Redis, and what is not mistaken for it."""

import pytest
import redis

from features.redis_search import Held, everything
from features.store import StoreUnavailable
from sinks.records import Record, pack_outbox
from streams.erasure import trace, traces

PREFIX = b"mi:{default:clickstream:3}:v1:"


def where(key: bytes, *parts: bytes, customer: str = "4711-anna") -> str | None:
    """Where the id is found."""
    return trace(Held(key, list(parts), 1, 1), customer)


@pytest.mark.parametrize(
    ("key", "part", "said"),
    [
        (b"s:4711-anna", b"", "the customer's state"),
        (b"s:ben", b"..4711-anna..".replace(b".", b"\0"), "a state's bytes"),
        (b"deadlines", b"4711-anna", "a member or a field"),
        (b"names", b"4711-anna", "a member or a field"),
        (b"outbox", pack_outbox([Record("intents", 3, b"4711-anna", b"{}")]), "records of the last commit"),
        (b"outbox", pack_outbox([Record("x", 3, b"k", b'{"customer_id":"4711-anna"}')]), "records of the last commit"),
        (b"outbox", b"\xff torn: 4711-anna", "records of the last commit"),
        (b"other", b"of 4711-anna.", None),
        (b"other", b"of 4711-anna, too", "a value"),
        (b"for:4711-anna", b"", "the key's name"),
    ],
)
def test_found(key: bytes, part: bytes, said: str | None) -> None:
    """The id is found in names of keys, members, records and values; where something goes on, it is another's."""
    assert where(PREFIX + key, part) == said


@pytest.mark.parametrize("other", ["4711-anna2", "x4711-anna", "4711-anna-b", "4711-anna.b"])
def test_other_customers(other: str) -> None:
    """Customers whose ids contain the id are not taken for them."""
    name = other.encode()
    assert where(PREFIX + b"s:" + name, b"") is None
    assert where(PREFIX + b"deadlines", name) is None
    assert where(PREFIX + b"outbox", pack_outbox([Record("intents", 3, name, b'{"customer_id":"%s"}' % name)])) is None


def test_short_ids_in_numbers() -> None:
    """The bytes of a short id within a state or in examples are numbers; where text is, it is found."""
    assert where(PREFIX + b"s:ben", b"\x007\x00", customer="7") is None
    assert where(PREFIX + b"outbox", pack_outbox([Record("examples", 0, None, b"\x007\x00")]), customer="7") is None
    assert where(PREFIX + b"outbox", pack_outbox([Record("intents", 0, b"7", b"")]), customer="7") is not None
    assert where(PREFIX + b"s:7", b"", customer="7") == "the customer's state"


def test_every_key_is_seen(redis_url: str) -> None:
    """All keys of all types and partitions are walked through, ours with what they hold, others by name only."""
    with redis.Redis.from_url(redis_url) as raw:
        for n in range(2_500):
            raw.set(b"mi:{default:clickstream:%d}:v1:s:c%d" % (n % 8, n), b"\1")
        raw.zadd(PREFIX + b"deadlines", {"anna-4711": 5, "ben": 6})
        raw.hset(PREFIX + b"names", mapping={"h": "anna-4711"})
        raw.rpush(PREFIX + b"list", "of anna-4711")
        raw.set("cart:anna-4711", "1")
        raw.set("other", "anna-4711")
        seen = list(everything(redis_url))
        assert len({each.key for each in seen}) == 2_505 == seen[0].total
        found = {each.key: said for each, said in traces(seen, "anna-4711")}
        assert found == {
            PREFIX + b"deadlines": "a member or a field",
            PREFIX + b"names": "a member or a field",
            PREFIX + b"list": "a value",
            b"cart:anna-4711": "the key's name",
        }
        raw.flushdb()


def test_no_redis() -> None:
    """A Redis that does not answer is said, with what to do."""
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        list(everything("redis://127.0.0.1:1/0", timeout_s=1))
