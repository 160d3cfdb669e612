"""Send one event to the clickstream: `python examples/producer.py 127.0.0.1:9092 4711 view party_supplies`.

The key is the customer_id, and the partitioner Kafka's own (murmur2), so that a customer's events stay in order.
Against librdkafka's mock cluster give kafka-python `api_version=(2, 3)`. A fifth argument names another topic.
A Kafka with TLS and users needs more options: docs/security.md has them.
"""

import json
import sys
import time
import uuid

from kafka import KafkaProducer

broker, customer_id, kind, category, topic = [*sys.argv[1:], "clickstream"][:5]
event = {
    "event_id": str(uuid.uuid4()),  # the same id twice is the same event
    "customer_id": customer_id,
    "kind": kind,  # view, search, cart_add, purchase…: `micro-intents schemas clickstream` lists them
    "time": time.time_ns() // 1_000_000,  # noqa: TID251 - when it happened, UTC milliseconds
    "category": category,
}
producer = KafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
producer.send(topic, key=customer_id.encode(), value=json.dumps(event).encode()).get(timeout=30)
producer.close()
