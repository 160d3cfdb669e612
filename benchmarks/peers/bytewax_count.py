"""Bytewax: how many events each customer had in each half hour, by its windows. `python -m bytewax.run` starts it."""

import os
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as windows
import orjson
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from confluent_kafka import OFFSET_BEGINNING
from stopwatch import Stopwatch

stopwatch = Stopwatch(int(os.environ["EVENTS"]))
BEGINNING = datetime(2017, 1, 1, tzinfo=UTC)


def parsed(message: KafkaSourceMessage) -> dict:
    return orjson.loads(message.value)


def time_of(event: dict) -> datetime:
    stopwatch.event()
    return datetime.fromtimestamp(event["time"] / 1000, UTC)


flow = Dataflow("bytewax_count")
source = KafkaSource([os.environ["BROKER"]], [os.environ["TOPIC"]], starting_offset=OFFSET_BEGINNING, batch_size=1_000)
events = op.map("parsed", op.input("clickstream", flow, source), parsed)
clock = windows.EventClock(time_of, wait_for_system_duration=timedelta(minutes=2))
half_hours = windows.TumblingWindower(length=timedelta(minutes=30), align_to=BEGINNING)
counts = windows.count_window("count", events, clock, half_hours, key=lambda event: event["customer_id"])
op.output("out", op.filter("none", counts.down, lambda _: False), StdOutSink())
