"""CPU by stage of the way, for `micro-intents worker --profile`: functions are wrapped from outside.

It costs nothing when it is off. A stage's time is its own: what a stage calls that is a stage itself counts there. A
coroutine's is the CPU between its awaits, on the thread that runs it; what is left of the process (Faust, aiokafka and
its thread, the loop) is `loop`.
"""

import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import wraps
from typing import Any, Final, TextIO

from features import bundle, redis_store
from intents import detect, head, model, reports
from streams import engine, steps, wire
from streams.observer import Observer

STAGES: Final[tuple[tuple[str, Any, str], ...]] = (
    ("decode", wire.Decoder, "decode"),
    ("cut", engine.Engine, "cut"),
    ("read", redis_store.RedisStore, "read"),
    ("read", redis_store.RedisStore, "_read_together"),
    ("read", engine, "decode"),
    ("merge", detect, "waves"),
    ("candidates", detect, "Pairs"),
    ("candidates", detect, "choose"),
    ("features", bundle.Bundle, "vectors"),
    ("score", model.Model, "columns"),
    ("score", head.Head, "probability"),
    ("score", detect, "_score"),
    ("life", engine, "detect"),
    ("intents", engine.Engine, "_report"),
    ("examples", reports.Packer, "records"),
    ("encode", engine.Engine, "_commits"),
    ("commit", redis_store.RedisStore, "commit"),
    ("commit", redis_store.RedisStore, "_commit_together"),
    ("publish", steps, "publish"),
)
"""Names of stages, and what belongs to each: a module or class, and what in it."""
NAMES: Final = tuple(dict.fromkeys(stage for stage, _, _ in STAGES))
LOOP: Final = "loop"


class StageProfile:
    """CPU seconds by stage since `begin`, and how many events were worked; clocks of this thread, and of all."""

    def __init__(
        self, clock: Callable[[], float] = time.thread_time, whole: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._whole = clock, whole
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.events = 0
        self._open: list[str] = []
        self._since, self._began = 0.0, -1.0

    def install(self) -> None:
        """Wrap the stages' functions in this process, for good; called before they are used."""
        for stage, owner, name in STAGES:
            setattr(owner, name, self.wrapped(stage, getattr(owner, name)))
        worked = Observer.worked

        def counted(observer: Observer, step: Any, pieces: Any) -> None:
            worked(observer, step, pieces)
            if self._began < 0:  # what came before the first chunk's end is the start
                self.begin()
            else:
                self.events += sum(len(step.pieces[number].chunk) for number, _ in pieces)

        setattr(Observer, "worked", counted)  # noqa: B010  # assigning to a method is no error where it is meant

    def begin(self) -> None:
        """Count from now on."""
        self.seconds.clear()
        self._began = self._whole()

    def lines(self) -> list[tuple[str, float]]:
        """Each stage with its µs an event, the loop last."""
        spent = self._whole() - self._began
        each = 1e6 / max(self.events, 1)
        stages = [(stage, self.seconds[stage] * each) for stage in NAMES]
        return [*stages, (LOOP, (spent - sum(self.seconds.values())) * each)]

    def print(self, out: TextIO = sys.stderr) -> None:
        """A table of the stages, with bars."""
        lines = self.lines()
        total = sum(cost for _, cost in lines) or 1.0
        out.write(f"{self.events:,} events, µs of CPU an event by stage:\n")
        for stage, cost in lines:
            out.write(f"  {stage:<10} {cost:8.2f}  {cost / total:5.1%}  {'█' * round(40 * cost / total)}\n")
        out.write(f"  {'all':<10} {total:8.2f}\n")
        out.flush()

    def _enter(self, stage: str) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._open.append(stage)
        self._since = now

    def _leave(self) -> None:
        now = self._clock()
        self.seconds[self._open.pop()] += now - self._since
        self._since = now

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, a coroutine's or a generator's too, whose own time is the stage's."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*arguments: Any, **named: Any) -> Any:
                return await _Driven(self, stage, function(*arguments, **named))

            return awaited
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def generated(*arguments: Any, **named: Any) -> Iterator[Any]:
                steps = function(*arguments, **named)
                while True:
                    self._enter(stage)
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                    finally:
                        self._leave()
                    yield step

            return generated

        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            self._enter(stage)
            try:
                return function(*arguments, **named)
            finally:
                self._leave()

        return called


class _Driven:
    """A coroutine whose steps are timed."""

    def __init__(self, profile: StageProfile, stage: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._profile, self._stage, self._coroutine = profile, stage, coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            self._profile._enter(self._stage)
            try:
                asked = self._coroutine.send(sent) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as done:
                return done.value
            finally:
                self._profile._leave()
            sent, thrown = None, None
            try:
                sent = yield asked
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is the coroutine's to see
                thrown = error
