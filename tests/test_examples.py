"""The examples as their readers run them, against a real Kafka."""

import json
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import msgspec
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from intents.catalog import Catalogue
from sinks.events import intent_json
from streams.partitioner import partition_for
from streams.wire import Decoder, Records
from tests.conftest import TopicFactory
from tests.services import Service
from tests.streams.test_words import intent

EXAMPLES = Path(__file__).parents[1] / "examples"
LAST = '4712 detected party_supplies {"party_supplies": 0.6412}\n'


def test_producer(kafka: Service, topic_factory: TopicFactory) -> None:
    """The producer's event arrives in its customer's partition, and a worker would take it."""
    topic = topic_factory("clickstream", partitions=5)
    arguments = [kafka.bootstrap, "4711", "view", "party_supplies", topic]
    subprocess.run([sys.executable, str(EXAMPLES / "producer.py"), *arguments], check=True, timeout=60)
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
    place = TopicPartition(topic, partition_for(b"4711", 5))
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    (record,) = consumer.poll(timeout_ms=10_000)[place]
    consumer.close()
    offsets, stamps = np.zeros(1, dtype=np.int64), np.array([record.timestamp])
    records = Records(topic, place.partition, 0, 1, [record.key], [record.value], offsets, stamps)
    chunk, refused = Decoder(Catalogue()).decode(records)
    assert refused == [] and chunk.customers == ["4711"]
    assert json.loads(record.value)["category"] == "party_supplies"


def test_consumer(kafka: Service, topic_factory: TopicFactory) -> None:
    """What is repeated, or older than what the consumer knows of an intent, is dropped."""
    topic = topic_factory("intents", partitions=2)
    first = intent()
    stronger = msgspec.structs.replace(first, sequence=1, status="strengthened", confidence=0.8)
    done = msgspec.structs.replace(first, sequence=2, status="fulfilled")
    ice = msgspec.structs.replace(first, intent_id="another", intent="ice_cream", confidence=0.3)
    last = msgspec.structs.replace(first, intent_id="the last one", customer_id="4712")
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for change in (first, stronger, first, ice, stronger, ice, done, stronger, last):
        producer.send(topic, value=intent_json(change), partition=0)
    producer.close()
    command = [sys.executable, str(EXAMPLES / "consumer.py"), kafka.bootstrap, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [line.rstrip() for line in takewhile(lambda line: line != LAST, process.stdout)]
        process.terminate()
    assert lines == [
        '4711 detected party_supplies {"party_supplies": 0.6412}',
        '4711 strengthened party_supplies {"party_supplies": 0.8}',
        '4711 detected ice_cream {"party_supplies": 0.8, "ice_cream": 0.3}',
        '4711 fulfilled party_supplies {"ice_cream": 0.3}',
    ]
