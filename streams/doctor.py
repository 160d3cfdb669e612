"""Is the installation well? Each check finds one thing to be well, worth a note, or a problem, and says what to do."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from features.core_bundle import CORE
from features.redis_store import Checkup, RedisStore
from features.store import StoreUnavailable
from intents.catalog import CatalogueError
from intents.model import NEEDED_NEGATIVE, NEEDED_POSITIVE, Model
from intents.snapshots import ModelStore, UnusableSnapshot, decode
from streams.broker import Broker, BrokerFailed, find_broker
from streams.doctor_kafka import Finding, check_kafka, problem, well, worth_noting
from streams.models import load_model
from streams.settings import PUBLIC_HASH_KEY, Settings
