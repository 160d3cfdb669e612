"""Whatever is asked of them, in whatever order, the memory store and the Redis store give the same answers."""

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import count
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from features.memory_store import MemoryStore
from features.redis_store import RedisStore
from features.store import Answer, Commit, Cursor, NotOwner, PartitionKey, Store, Verdict

T = TypeVar("T")

CUSTOMERS = ["anna", "ben", "Zoë", "🎈", "\uffee", ""]
EXAMPLES, STEPS = 80, 25

customers = st.sampled_from(CUSTOMERS)
tokens = st.sampled_from(["mine", "theirs"])
states = st.dictionaries(customers, st.none() | st.binary(max_size=8))
deadlines = st.dictionaries(customers, st.none() | st.integers(-2, 6) | st.sampled_from([2**53, -(2**53)]))
names = st.dictionaries(st.binary(min_size=8, max_size=8), st.text(max_size=4), max_size=2)
steps = st.sampled_from([*[0] * 12, -1, 1])
holders = st.sampled_from([*[None] * 6, "mine", "theirs"])
"""How far a commit or read is off the cursor, and whose it is instead of the holder's: mostly not at all."""

serials = count()


async def outcome(call: Coroutine[Any, Any, T]) -> T | str:
    """A call's result, or the name of its refusal."""
    try:
        return await call
    except NotOwner as refusal:
        return type(refusal).__name__


class Twins(RuleBasedStateMachine):
    """Two stores that are asked the same; `loop` and `redis` are given by the test."""

    loop: asyncio.Runner
    redis: RedisStore

    def __init__(self) -> None:
        super().__init__()
        self.key = PartitionKey("twins", "clickstream", next(serials))
        self.memory = MemoryStore()
        self.last: Commit | None = None

    def both(self, call: str, *arguments: Any) -> Any:
        """What both stores answer to one call, which must be the same."""

        def ask(store: Store) -> Any:
            return self.loop.run(outcome(getattr(store, call)(self.key, *arguments)))

        answer = ask(self.memory)
        assert ask(self.redis) == answer
        return answer

    @initialize()
    def look(self) -> None:
        """Before any claim there is nothing, and nothing is accepted."""
        self.both("commit", Commit("mine", 0, 0, 1, 1, {"anna": b"1"}))
        self.both("read", Cursor("", 0, -1, -1), CUSTOMERS)
        self.both("claim", "mine")

    @rule(token=tokens)
    def claim(self, token: str) -> None:
        """One of two workers claims."""
        self.both("claim", token)

    @rule(
        other=holders,
        sequence=steps,
        start=steps,
        length=st.integers(0, 2),
        effects=st.tuples(states, deadlines, names, st.binary(max_size=4)),
    )
    def commit(self, other: str | None, sequence: int, start: int, length: int, effects: tuple[Any, ...]) -> None:
        """A commit, most often one that continues, of whoever holds the partition or of the other."""
        at: Cursor = self.loop.run(self.memory.cursor(self.key))
        begin = at.position + start
        token = other or at.token or "mine"
        commit = Commit(token, at.sequence + sequence, begin, begin + length, at.watermark_ms + 1, *effects)
        answer: Answer = self.both("commit", commit)
        if answer.verdict is Verdict.OK:
            self.last = commit

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        """The last commit that was applied, again."""
        self.both("commit", self.last)

    @rule(asked=st.lists(customers, max_size=4), token=holders, sequence=steps, position=steps)
    def read(self, asked: Sequence[str], token: str | None, sequence: int, position: int) -> None:
        """A read, most often at the cursor."""
        at: Cursor = self.loop.run(self.memory.cursor(self.key))
        self.both("read", Cursor(token or at.token, at.sequence + sequence, at.position + position, 0), asked)

    @rule(before_ms=st.integers(-3, 7) | st.just(2**53 + 2), limit=st.integers(0, 7))
    def due(self, before_ms: int, limit: int) -> None:
        """The first few due."""
        self.both("due", before_ms, limit)

    @invariant()
    def same_content(self) -> None:
        """After every step both hold the same."""
        self.both("cursor")
        self.both("names")
        self.both("peek", CUSTOMERS)
        self.both("due", 2**53 + 2, 100)


def test_stores_agree(redis_url: str) -> None:
    """Random claims, right and wrong commits, repetitions, reads and dues: equal answers, equal content after each."""
    with asyncio.Runner() as loop:
        Twins.loop, Twins.redis = loop, RedisStore.from_url(redis_url)
        try:
            run_state_machine_as_test(
                Twins, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
            )
        finally:
            loop.run(Twins.redis.close())
