"""The whole job by hand: Faust, River and Redis, one GET and one SET an event, six candidates each scored by River.

It does less than ours: ten features instead of 31, nothing that survives a crash without loss or repetition, no
journeys, no examples to learn from, no deadlines: an intent is sent when it is found, and that is all.
"""

import sys

import faust
import orjson
import redis.asyncio
from river import compose, linear_model, preprocessing
from stopwatch import Stopwatch

broker, topic, events, group, redis_url = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
app = faust.App(group, broker=f"kafka://{broker}", value_serializer="json", web_enabled=False)
clickstream, intents = app.topic(topic), app.topic("by-hand-intents")
store = redis.asyncio.Redis.from_url(redis_url)
stopwatch = Stopwatch(events)
model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
WINDOWS = (("5m", 300_000), ("30m", 1_800_000), ("1d", 86_400_000), ("7d", 604_800_000))


def features(log: list[list], subject: str, now: int) -> dict[str, float]:
    mine = [(now - time, kind) for time, kind, of in log if of == subject]
    found = {f"events_{name}": float(sum(age < length for age, _ in mine)) for name, length in WINDOWS}
    found |= {f"all_{name}": float(sum(now - entry[0] < length for entry in log)) for name, length in WINDOWS}
    found["since_last"] = float(min(age for age, _ in mine))
    found["carts"] = float(sum(kind == "cart_add" for _, kind in mine))
    return found


@app.agent(clickstream, name="detect")
async def detect(stream: faust.Stream) -> None:
    async for event in stream:
        customer, now = event["customer_id"], event["time"]
        blob = await store.get(f"by-hand:{customer}")
        log = orjson.loads(blob) if blob else []
        log = [*log[-63:], [now, event["kind"], event.get("category", "")]]
        await store.set(f"by-hand:{customer}", orjson.dumps(log))
        for subject in list(dict.fromkeys(of for _, _, of in reversed(log)))[:6]:
            x = features(log, subject, now)
            p = model.predict_proba_one(x)[True]
            if event["kind"] == "cart_add" or stopwatch.seen < 500:
                model.learn_one(x, event["kind"] == "cart_add" and subject == event.get("category"))
            if p >= 0.15 and stopwatch.seen > 500:
                await intents.send(key=customer, value={"customer_id": customer, "intent": subject, "confidence": p})
        stopwatch.event()


faust.Worker(app, loglevel="WARNING").execute_from_commandline()
