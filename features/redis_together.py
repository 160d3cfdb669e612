"""Calls that are made in the same turn of the loop, put to Redis as one: what a call costs is mostly its round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answered = TypeVar("Answered")


@dataclass(slots=True)
class _Turn(Generic[Item, Answered]):
    """Calls of one turn of a loop, and the task that will put them."""

    loop: asyncio.AbstractEventLoop
    calls: list[tuple[Item, "asyncio.Future[Answered]"]] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None


class Together(Generic[Item, Answered]):
    """Gathers calls, and puts those of a turn with `ask`, which answers each; its error is everybody's."""

    def __init__(self, ask: Callable[[Sequence[Item]], Awaitable[Sequence[Answered]]]) -> None:
        self._ask = ask
        self._turn: _Turn[Item, Answered] | None = None

    async def call(self, item: Item) -> Answered:
        """The answer to one call."""
        loop, turn = asyncio.get_running_loop(), self._turn
        if turn is None or turn.loop is not loop or (turn.task is not None and turn.task.done()):
            turn = self._turn = _Turn(loop)
            turn.task = loop.create_task(self._put(turn))
        answer: asyncio.Future[Answered] = loop.create_future()
        turn.calls.append((item, answer))
        return await answer

    async def _put(self, turn: _Turn[Item, Answered]) -> None:
        if self._turn is turn:
            self._turn = None
        try:
            answers = await self._ask([item for item, _ in turn.calls])
        except BaseException as error:  # of a call that is cancelled, too, nobody may be left waiting
            for _, waiting in turn.calls:
                if isinstance(error, asyncio.CancelledError):
                    waiting.cancel()
                elif not waiting.done():
                    waiting.set_exception(error)  # it is raised where the call was made
            if isinstance(error, Exception):
                return
            raise
        for (_, waiting), answer in zip(turn.calls, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
