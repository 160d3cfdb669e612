"""Keys land where Kafka's own clients put them."""

import logging
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner
from kafka.partitioner import murmur2 as their_murmur2

from streams.partitioner import PARTITIONERS, crc32_partition_for, murmur2, partition_for, partitions_for

KEYS = [b"", b"a", b"ab", b"abc", b"abcd", "größer".encode(), *(str(1_000_000 + n).encode() for n in range(200))]


@given(st.binary(max_size=64))
def test_murmur2_is_kafka_pythons(key: bytes) -> None:
    """Every key has the same hash here as in kafka-python, a translation of the Java client's."""
    assert murmur2(key) == their_murmur2(key)


@given(st.binary(max_size=40), st.integers(1, 200))
def test_partition_is_the_one_kafka_python_chooses(key: bytes, partitions: int) -> None:
    """kafka-python's whole DefaultPartitioner sends the key to the same partition."""
    every = set(range(partitions))
    cluster = SimpleNamespace(
        topics=lambda: {"clickstream"},
        partitions_for_topic=lambda topic: every,
        available_partitions_for_topic=lambda topic: every,
    )
    theirs = DefaultPartitioner().partition("clickstream", key, key, b"", b"", cluster)
    assert partition_for(key, partitions) == theirs


def test_known_values_of_the_java_client() -> None:
    """The Java client's own test vectors hold (UtilsTest.testMurmur2, signed there)."""
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {key: murmur2(key) for key in vectors} == {key: hashed & 0xFFFFFFFF for key, hashed in vectors.items()}


@pytest.mark.parametrize("name", sorted(PARTITIONERS))
@given(keys=st.lists(st.binary(max_size=20), max_size=30), partitions=st.integers(1, 64))
def test_many_keys_at_once_equal_one_by_one(name: str, keys: list[bytes], partitions: int) -> None:
    """The vectorised version answers as the single one does, for keys of mixed lengths."""
    at_once = partitions_for(keys, partitions, name)
    assert at_once.dtype == np.int64
    assert at_once.tolist() == [PARTITIONERS[name](key, partitions) for key in keys]


def test_the_two_partitioners_disagree() -> None:
    """Most customers land elsewhere under the other partitioner, so a wrong setting cannot hide."""
    apart = sum(partition_for(key, 8) != crc32_partition_for(key, 8) for key in KEYS)
    assert apart > len(KEYS) * 0.7


def test_unknown_partitioner_is_refused() -> None:
    """A name that is not in PARTITIONERS is an error, not a silent default."""
    with pytest.raises(KeyError):
        partitions_for([b"a"], 8, "md5")


@pytest.mark.parametrize(("theirs", "ours"), [("consistent", "crc32"), ("murmur2", "murmur2")])
def test_librdkafka_sends_keys_where_we_say(theirs: str, ours: str) -> None:
    """A real librdkafka producer, on its embedded broker, delivers every key to the partition computed here."""
    quiet = logging.getLogger("tests.librdkafka")
    quiet.setLevel(logging.CRITICAL)
    producer = Producer({"test.mock.num.brokers": 1, "partitioner": theirs, "linger.ms": 0}, logger=quiet)
    landed: dict[bytes, int | None] = {}

    def delivered(key: bytes) -> Callable[[KafkaError | None, Message], None]:
        def remember(error: KafkaError | None, message: Message) -> None:
            assert error is None
            landed[key] = message.partition()

        return remember

    for key in KEYS[1:]:
        producer.produce("clickstream", key=key, value=b"{}", on_delivery=delivered(key))
    assert producer.flush(30) == 0
    partitions = len(producer.list_topics("clickstream", timeout=10).topics["clickstream"].partitions)
    assert partitions > 1
    assert landed == {key: PARTITIONERS[ours](key, partitions) for key in KEYS[1:]}
