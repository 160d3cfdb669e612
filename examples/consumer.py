"""Keep every customer's open intents up to date: `python examples/consumer.py 127.0.0.1:9092 [SECONDS]`.

Each change of an intent may arrive more than once: keep the highest `sequence` of each `intent_id`, drop the rest.
Prints what changed, and ends when nothing came for SECONDS (default: never).
"""

import json
import sys

from kafka import KafkaConsumer

OPEN = ("detected", "strengthened", "weakened")

quiet_ms = float(sys.argv[2]) * 1000 if len(sys.argv) > 2 else float("inf")
consumer = KafkaConsumer(
    "intents",
    bootstrap_servers=sys.argv[1],
    group_id="recommender",
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    consumer_timeout_ms=quiet_ms,
)
highest: dict[str, int] = {}  # of every intent_id; forget those whose end is long past in a real one
wants: dict[str, dict[str, float]] = {}  # customer: what they want now, and how likely

for record in consumer:
    intent = json.loads(record.value)
    if intent["sequence"] <= highest.get(intent["intent_id"], -1):
        continue
    highest[intent["intent_id"]] = intent["sequence"]
    wanted = wants.setdefault(intent["customer_id"], {})
    if intent["status"] in OPEN:
        wanted[intent["intent"]] = intent["confidence"]
    else:
        wanted.pop(intent["intent"], None)
    print(intent["customer_id"], intent["status"], intent["intent"], json.dumps(wanted), flush=True)
consumer.close()
