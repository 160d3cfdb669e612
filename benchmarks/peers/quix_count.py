"""Quix Streams: how many events each customer had in each half hour, by its windows, in state with its changelog."""

import sys
from datetime import timedelta

from quixstreams import Application
from stopwatch import Stopwatch

broker, topic, events, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
app = Application(
    broker_address=broker,
    consumer_group=group,
    auto_offset_reset="earliest",
    state_dir=sys.argv[5],
    loglevel="WARNING",
)
stopwatch = Stopwatch(events)
clickstream = app.topic(
    topic, value_deserializer="json", timestamp_extractor=lambda event, headers, timestamp, kind: event["time"]
)
counts = app.dataframe(clickstream).tumbling_window(timedelta(minutes=30), grace_ms=timedelta(minutes=2)).count()
counts.current().update(lambda _: stopwatch.event())
app.run()
