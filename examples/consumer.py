"""Keep every customer's open intents up to date: `python examples/consumer.py 127.0.0.1:9092`.

Each change of an intent may arrive more than once: keep the highest `sequence` of each `intent_id`, drop the rest.
A second argument names another topic than `intents`. For a Kafka with TLS and users see docs/security.md.
"""

import json
import sys

from kafka import KafkaConsumer

broker, topic = [*sys.argv[1:], "intents"][:2]
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=broker,
    group_id="recommender",
    auto_offset_reset="earliest",
    isolation_level="read_committed",
)
highest: dict[str, int] = {}  # by intent_id; a real one keeps them over a restart, and forgets those long ended
wants: dict[str, dict[str, float]] = {}  # what each customer wants now, and how likely

for record in consumer:
    intent = json.loads(record.value)
    if intent["sequence"] <= highest.get(intent["intent_id"], -1):
        continue
    highest[intent["intent_id"]] = intent["sequence"]
    wanted = wants.setdefault(intent["customer_id"], {})
    if intent["status"] in ("detected", "strengthened", "weakened"):
        wanted[intent["intent"]] = intent["confidence"]
    else:
        wanted.pop(intent["intent"], None)
    print(intent["customer_id"], intent["status"], intent["intent"], json.dumps(wanted), flush=True)
