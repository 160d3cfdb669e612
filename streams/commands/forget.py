"""`micro-intents forget`: a customer erased, and proof of it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from streams.commands.options import Failure, with_settings

if TYPE_CHECKING:
    from features.store import PartitionKey
    from streams.broker import Broker
    from streams.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES_MS = 30 * 86_400_000


@click.command("forget", short_help="Erase a customer, and verify it.")
@click.argument("customer", metavar="CUSTOMER")
@click.option("--verify", is_flag=True, help="Erase nothing: search all of Redis for the id, and say what stays where.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long to wait for a worker, in seconds.",
)
@click.option("--time", "time_ms", type=int, metavar="MS", help="Event time of the forget event (UTC ms); now.")
@with_settings("broker", "redis_url", "namespace", "partitioner")
def command(customer: str, verify: bool, timeout_s: float, time_ms: int | None, settings: "Settings") -> None:
    """Erase what is kept of CUSTOMER: their state and open intents; what comes of them late or again is dropped.

    \b
    micro-intents forget 4711            produces the event, waits for its effect, says what was erased
    micro-intents forget --verify 4711   searches all of Redis; exit code 1 if the id is found anywhere

    It is an event like any other, worked in its turn. Kafka's topics keep their records for as long as they are set to:
    --verify says for how long. A customer who comes back later begins a new life.
    """
    from streams.broker import find_broker

    if not customer or len(customer) > 256:
        raise click.UsageError("CUSTOMER must have 1 to 256 characters")
    now_ms = time.time_ns() // 1_000_000  # noqa: TID251  # when somebody asks to be forgotten
    broker = find_broker(settings.broker)
    if verify:
        _verify(broker, settings, customer, now_ms)
    else:
        asyncio.run(_forget(broker, settings, customer, now_ms, time_ms, timeout_s))


async def _forget(
    broker: "Broker", settings: "Settings", customer: str, now_ms: int, time_ms: int | None, timeout_s: float
) -> None:
    from uuid import uuid4

    from features.redis_store import RedisStore
    from streams.commands.console import progress
    from streams.erasure import NotWorked, ask, held, wait_for
    from streams.trace_text import counted

    store = RedisStore.from_url(settings.redis_url)
    try:
        key = _place(broker, settings, customer)
        events, intents, cursor = await held(store, key, customer)
        if time_ms is None and 0 <= cursor.watermark_ms < now_ms - _STATES_MS:
            raise Failure(
                f"{key.topic}/{key.partition} is at {_day(cursor.watermark_ms)}: an event of now would move its time "
                f"on, and end every state in it; --time {cursor.watermark_ms + 1_000 * settings.lateness_s} would not"
            )
        asked = ask(broker, settings, customer, now_ms if time_ms is None else time_ms, f"forget-{uuid4()}")
        with progress("waiting for a worker", "records ahead") as told:
            try:
                await wait_for(store, asked, told, timeout_s, asyncio.sleep)
            except NotWorked as late:
                raise Failure(str(late)) from late
    finally:
        await store.close()
    click.echo(f"forgotten: {events} events and {intents} open intents of {customer} were erased from Redis")
    days = counted(settings.rebuild_days, "day")
    click.echo(f"{key.topic}/{key.partition}, offset {asked.offset}: duplicates and late events are dropped for {days}")
    click.echo("what Kafka still holds, and for how long: micro-intents forget --verify")


def _place(broker: "Broker", settings: "Settings", customer: str) -> "PartitionKey":
    from features.store import PartitionKey
    from streams.partitioner import PARTITIONERS
    from streams.topics import found_topics

    if not broker.creates_topics:
        raise Failure(f"{settings.broker} is the embedded broker, whose topics cannot be looked at: use Apache Kafka")
    with broker.admin() as admin:
        found = found_topics(admin, [settings.clickstream])
    if settings.clickstream not in found:
        raise Failure(f"there is no topic {settings.clickstream!r} at {settings.broker}: micro-intents topics create")
    place = PARTITIONERS[settings.partitioner](customer.encode(), found[settings.clickstream].partitions)
    return PartitionKey(settings.namespace, settings.clickstream, place)


def _verify(broker: "Broker", settings: "Settings", customer: str, now_ms: int) -> None:
    from features.redis_search import Held, everything
    from streams.commands.console import progress
    from streams.erasure import remains, trace
    from streams.words import plain

    found: dict[bytes, str] = {}
    count = 0
    with progress("searching Redis", "keys") as told:
        each: Held
        for each in everything(settings.redis_url):
            count = each.number
            if where := trace(each, customer):
                found[each.key] = where
            told(min(1.0, each.number / max(1, each.total)), each.number)
    for key, where in sorted(found.items()):
        click.echo(f"found in Redis: {where}: {plain(key.decode(errors='replace'))}")
    if not found:
        click.echo(f"Redis: {count:,} keys searched, nothing holds {plain(customer)}")
    for topic in remains(broker, settings):
        until = (
            "for ever: set retention.ms"
            if topic.for_ms is None
            else f"until {_day(now_ms + topic.for_ms)} at the latest"
        )
        held = "nothing to erase" if topic.topic == settings.examples else until
        click.echo(f"Kafka: {topic.topic}: {topic.what}; {held}")
    click.echo("backups of Redis and of Kafka hold what they held: delete them, or let them expire")
    if found:
        raise Failure(f"{len(found)} keys still hold it: micro-intents forget {plain(customer)}")


def _day(ms: int) -> str:
    return f"{_EPOCH + timedelta(milliseconds=ms):%Y-%m-%d %H:%M} UTC"
