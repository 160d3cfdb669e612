"""Options that override settings, and how a command fails: with one line that says what to do."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from intents.evidence import Fold

Function = Callable[..., None]

RECORDING = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there."""
OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)
"""A file that will be written."""
WARM_START = click.option("--warm-start", type=RECORDING, help="A snapshot whose model is where learning begins.")
"""The option of that name."""

_OVERRIDES: Final[dict[str, Callable[[Function], Function]]] = {
    "broker": click.option("--broker", metavar="HOST:PORT", help="Kafka's address (several by commas, or a URL)."),
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


def option_of(name: str) -> str:
    """The option of the running command that fills the parameter of this name, as people type it."""
    return next(each.opts[0] for each in click.get_current_context().command.params if each.name == name)


class _FoldType(click.ParamType):
    """A fold of the customers: 1/4 to 4/4."""

    name = "fold"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "Fold":
        """Number and count of the folds."""
        from intents.evidence import Fold

        number, _, parts = str(value).partition("/")
        if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            self.fail(f"{value!r} is no fold: 1/4 is the first of four, 4/4 the last", param, ctx)
        return Fold(int(number), int(parts))


def customers_fold(what: str) -> Callable[[Function], Function]:
    """The option for a fold of the customers, the same split everywhere; `what` is its help."""
    return click.option("--customers-fold", "fold", type=_FoldType(), metavar="K/N", help=what)


def with_settings(*names: str) -> Callable[[Function], Function]:
    """Give a command `settings`, with an option for each of `names`; what it cannot mend it raises as a Failure."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def command(**given: object) -> None:
            from streams.plain_text import hide_in_tracebacks
            from streams.settings import Settings, SettingsError

            overrides = {name: str(value) for name in names if (value := given.pop(name)) is not None}
            _refuse_passwords(overrides)
            try:
                settings = replace(Settings.load(), **overrides)  # type: ignore[arg-type]  # all of them are strings
            except SettingsError as error:
                raise WrongSetting(str(error)) from error
            hide_in_tracebacks(settings.secrets)
            with plain_failures(settings.secrets):
                function(settings=settings, **given)

        decorated: Function = command
        for name in reversed(names):
            decorated = _OVERRIDES[name](decorated)
        return decorated

    return decorate


def _refuse_passwords(overrides: Mapping[str, str]) -> None:
    from streams.plain_text import secrets_in

    for name, value in overrides.items():
        if secrets_in(value):
            variable = f"MICRO_INTENTS_{name.upper()}"
            raise WrongSetting(
                f"a password on the command line is seen by everybody on this machine: set {variable}, "
                "or the file that MICRO_INTENTS_FILE names"
            )


@contextmanager
def plain_failures(secrets: Iterable[str] = ()) -> Iterator[None]:
    """Turn errors that say what to do into a Failure, without the secrets."""
    from features.store import StoreUnavailable
    from intents.catalog import CatalogueError
    from intents.snapshot_layout import UnusableSnapshot
    from streams.broker import BrokerFailed
    from streams.children import ServiceFailed
    from streams.endpoints import CannotListen
    from streams.plain_text import Hiding, one_line
    from streams.recordings import BrokenRecording, UnknownFormat

    hiding = Hiding(secrets)

    def plain(text: str) -> str:
        return "\n".join(map(one_line, hiding.hide(text).splitlines()))

    try:
        yield
    except (BrokerFailed, StoreUnavailable, ServiceFailed, CannotListen) as error:
        raise Failure(plain(str(error))) from error
    except (CatalogueError, BrokenRecording, UnknownFormat) as error:
        raise Failure(plain(str(error))) from error
    except UnusableSnapshot as error:
        again = "learn one that fits: micro-intents train --from RECORDING"
        raise Failure(plain(f"{error}; {again}")) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise Failure(plain(f"{error.filename}: {error.strerror}")) from error
