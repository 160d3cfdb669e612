"""Options that override settings, and how a command fails: with one line that says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Final

import click

Function = Callable[..., None]

RECORDING = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there."""
OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)
"""A file that will be written."""

_OVERRIDES: Final[dict[str, Callable[[Function], Function]]] = {
    "broker": click.option("--broker", metavar="HOST:PORT", help="Kafka's address (several by commas)."),
    "redis_url": click.option(
        "--redis", "redis_url", metavar="URL", help="Redis' address: redis://, rediss:// or unix://."
    ),
    "namespace": click.option("--namespace", metavar="NAME", help="Keeps installations apart that share a Redis."),
    "model": click.option("--model", type=RECORDING, help="A snapshot to use, frozen, instead of the store's latest."),
    "model_store": click.option(
        "--model-store", metavar="URL", help="Where the model snapshots are (a folder, s3://…)."
    ),
    "catalogue": click.option(
        "--catalog", "catalogue", type=RECORDING, help="TOML catalogue of intents; without one, each category is one."
    ),
    "partitioner": click.option(
        "--partitioner", type=click.Choice(["murmur2", "crc32"]), help="How keys are placed (librdkafka's is crc32)."
    ),
}


class Failure(click.ClickException):
    """What went wrong and what to do; exit code 1."""


class WrongSetting(click.ClickException):
    """A setting that cannot be used; exit code 2, as for wrong options."""

    exit_code = 2


def with_settings(*names: str) -> Callable[[Function], Function]:
    """Give a command `settings`, with an option for each of `names`; what it cannot mend it raises as a Failure."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def command(**given: object) -> None:
            from streams.settings import Settings, SettingsError

            overrides = {name: str(value) for name in names if (value := given.pop(name)) is not None}
            try:
                settings = replace(Settings.load(), **overrides)  # type: ignore[arg-type]  # all of them are strings
            except SettingsError as error:
                raise WrongSetting(str(error)) from error
            with plain_failures():
                function(settings=settings, **given)

        decorated: Function = command
        for name in reversed(names):
            decorated = _OVERRIDES[name](decorated)
        return decorated

    return decorate


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn errors that say what to do into a Failure."""
    from features.store import StoreUnavailable
    from intents.catalog import CatalogueError
    from streams.broker import BrokerFailed
    from streams.children import ServiceFailed
    from streams.endpoints import CannotListen
    from streams.recordings import BrokenRecording, UnknownFormat

    try:
        yield
    except (BrokerFailed, StoreUnavailable, ServiceFailed, CannotListen) as error:
        raise Failure(str(error)) from error
    except (CatalogueError, BrokenRecording, UnknownFormat) as error:
        raise Failure(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise Failure(f"{error.filename}: {error.strerror}") from error
