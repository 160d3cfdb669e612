"""Plain Faust: how many events each customer had within 30 minutes, kept in memory and nowhere else."""

import sys
from collections import defaultdict, deque

import faust
from stopwatch import Stopwatch

broker, topic, events, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
app = faust.App(group, broker=f"kafka://{broker}", value_serializer="json", web_enabled=False)
clickstream = app.topic(topic)
stopwatch = Stopwatch(events)
recent: defaultdict[str, deque[int]] = defaultdict(deque)


@app.agent(clickstream, name="count")
async def count(stream: faust.Stream) -> None:
    async for event in stream:
        times = recent[event["customer_id"]]
        times.append(event["time"])
        while times[0] <= event["time"] - 30 * 60_000:
            times.popleft()
        stopwatch.event()


faust.Worker(app, loglevel="WARNING").execute_from_commandline()
