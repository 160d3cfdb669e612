"""Is the installation well? Every part is looked at, and each finding that is not good says what to do."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from features.core_bundle import CORE
from features.redis_checkup import Checkup
from features.redis_store import RedisStore
from features.store import PartitionKey, StoreUnavailable
from intents.catalog import CatalogueError
from intents.head import NEEDED_NEGATIVE, NEEDED_POSITIVE
from intents.model import Model
from intents.model_store import ModelStore
from intents.progress import LOSES
from intents.snapshot_layout import UnusableSnapshot
from intents.snapshots import decode
from streams.broker import BrokerFailed, BrokerRefused, find_broker
from streams.checkup_kafka import check_kafka
from streams.findings import Finding, note, problem, well
from streams.models import load_model
from streams.plain_text import Hiding
from streams.settings import PUBLIC_HASH_KEY, Settings
from streams.trace_text import day_and_time


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that a worker and a trainer need; what does not answer is a finding too.

    No finding shows a secret.
    """
    hide = Hiding(settings.secrets).hide
    for finding in _findings(settings):
        yield replace(finding, found=hide(finding.found), advice=hide(finding.advice))


def _findings(settings: Settings) -> Iterator[Finding]:
    yield _settings(settings)
    yield _catalogue(settings)
    try:
        yield from check_kafka(find_broker(settings.broker), settings)
    except BrokerRefused as error:
        yield problem("broker", "refuses us", str(error))
    except BrokerFailed as error:
        yield problem("broker", "does not answer", str(error))
    yield from _redis(settings)
    yield _model(settings)


def _settings(settings: Settings) -> Finding:
    try:
        PartitionKey(settings.namespace, settings.clickstream, 0)
    except ValueError as error:
        return problem("settings", str(error), "correct MICRO_INTENTS_NAMESPACE or MICRO_INTENTS_CLICKSTREAM")
    if settings.hash_key == PUBLIC_HASH_KEY:
        found = "the hash key is the public one, which hides no customer in the examples"
        return note("settings", found, "set MICRO_INTENTS_HASH_KEY, the same for all workers (openssl rand -hex 32)")
    return well("settings", f"namespace {settings.namespace}, a hash key of your own")


def _catalogue(settings: Settings) -> Finding:
    if not settings.catalogue:
        return well("catalogue", "none: each category is an intent of its own")
    try:
        catalogue = settings.load_catalogue()
    except CatalogueError as error:
        return problem("catalogue", str(error), "correct that line")
    except (OSError, UnicodeDecodeError) as error:
        return problem("catalogue", f"{settings.catalogue} cannot be read ({error})", "correct MICRO_INTENTS_CATALOGUE")
    return well("catalogue", f"{len(catalogue.rules)} intents and {len(catalogue.journeys)} journeys")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        store = RedisStore.from_url(settings.redis_url, timeout_s=settings.redis_timeout_s)
    except ValueError as error:
        yield problem("Redis", str(error), "correct MICRO_INTENTS_REDIS_URL or --redis")
        return

    async def ask() -> tuple[list[Checkup], dict[int, int]]:
        try:
            return await store.check(), await _not_whole(store, settings)
        finally:
            await store.close()

    try:
        checkups, since = asyncio.run(ask())
    except StoreUnavailable as error:
        yield problem(
            "Redis", str(error), "start it (docker compose up redis), or name yours with MICRO_INTENTS_REDIS_URL"
        )
        return
    for checkup in checkups:
        where = f"{checkup.address}: " if len(checkups) > 1 else ""
        for each in checkup.problems:
            found, _, advice = each.partition(": ")
            yield problem("Redis", where + found, advice)
        if not checkup.problems:
            yield well("Redis", f"{where}version {checkup.version}, evicts nothing, writes every change down")
    for number, time in since.items():
        found = (
            f"were rebuilt from a log that had lost its beginning: whole only since {day_and_time(time)} (event time)"
        )
        advice = "nothing: windows lack what was before, until they no longer reach back so far"
        yield note(f"states of {settings.clickstream}/{number}", found, advice)


async def _not_whole(store: RedisStore, settings: Settings) -> dict[int, int]:
    """By partition, since when its states are whole (UTC ms), where something before is missing."""
    found: dict[int, int] = {}
    for number in count():
        try:
            key = PartitionKey(settings.namespace, settings.clickstream, number)
        except ValueError:  # told as a problem of the settings
            return found
        cursor = await store.cursor(key)
        if not cursor.token:  # workers claim all partitions that there are
            return found
        if cursor.complete_since >= 0:
            found[number] = cursor.complete_since
    return found


def _model(settings: Settings) -> Finding:
    if settings.model:
        try:
            return _readiness(load_model(settings.model, CORE), settings.model, settings, frozen=True)
        except (UnusableSnapshot, OSError) as error:
            return problem("model", str(error), "correct MICRO_INTENTS_MODEL or --model, or leave it out")
    try:
        store = ModelStore(settings.model_store)
        newest = store.latest()
        if newest is None:
            return note(
                "model", f"no snapshot in {settings.model_store} yet", "micro-intents train (and events to learn from)"
            )
        if newest.disputed:
            found = f"two snapshots claim the offset of {newest.name}: two trainers disagree"
            return problem("model", found, "see that all trainers read the same examples topic with the same settings")
        return _readiness(decode(store.load(newest.name), CORE).model, newest.name, settings)
    except (OSError, ValueError, ImportError) as error:  # what fsspec raises for places that it does not know
        return problem(
            "model", f"{settings.model_store}: {error}", "correct MICRO_INTENTS_MODEL_STORE or --model-store"
        )
    except UnusableSnapshot as error:
        return problem("model", str(error), "delete that snapshot; the trainer writes another one")


def _readiness(model: Model, name: str, settings: Settings, *, frozen: bool = False) -> Finding:
    name += " (frozen)" if frozen else ""
    labels = f"{model.now.positives:,} positive and {model.now.negatives:,} negative labels"
    if model.losing:
        again = "name another --model" if frozen else "it is served again when it has won for six hours"
        advice = f"see docs/operations.md, When the model loses; {again}"
        return problem("model", f"{name} {LOSES}: {labels}", advice)
    if model.ready:
        threshold, why = model.threshold(settings.threshold)
        return well("model", f"{name} is ready: {labels}; threshold {threshold:.2f}, {why}")
    needed = f"{NEEDED_POSITIVE} and {NEEDED_NEGATIVE} are needed before anything is emitted"
    return note("model", f"{name} is not ready: {labels}", f"wait for more events with carts and purchases: {needed}")
