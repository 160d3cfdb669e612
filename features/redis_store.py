"""The feature store in Redis: one script commits a chunk, everything of a partition lives in one slot of a cluster.

Keys, each behind `PartitionKey.prefix`; none expires:

    meta         hash        token, sequence, position, watermark, adopt_until, partitions (decimal strings), topic_id;
                             and complete_since, if the log that states were rebuilt from had lost its beginning
    deadlines    sorted set  customer id, by earliest deadline (UTC ms)
    names        hash        8-byte subject -> name
    forgotten    hash        keyed hash of a customer -> event time up to which they are forgotten (UTC ms)
    outbox       string      what the last commit has to publish
    s:CUSTOMER   string      a customer's state
"""

import hashlib
from collections.abc import Awaitable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Final, Literal, cast

from redis.asyncio import Redis

from features.redis_checkup import Checkup, Usage
from features.redis_link import RedisLink
from features.redis_together import Together
from features.store import Answer, Claimed, Commit, Cursor, NotOwner, PartitionKey, Verdict

META_FIELDS: Final = ["token", "sequence", "position", "watermark", "adopt_until", "complete_since"]
PAGE_KEYS: Final = 1000
"""Keys looked at in one call when a whole partition is measured."""

_SCRIPT: Final = files(__package__).joinpath("commit.lua").read_bytes()
_SCRIPT_HASH: Final = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()

_Read = tuple[PartitionKey, Sequence[str]]
_Scripted = tuple[PartitionKey, Sequence[str], Sequence[str | bytes | int]]


class RedisStore:
    """The store contract on one Redis (6.2 or later) or a cluster; the partitions of one event loop may share it."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._reads = Together(self._read_together)
        self._commits = Together(self._commit_together)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 5.0, protocol: Literal[2, 3] = 2) -> "RedisStore":
        """A store at a `redis://`, `rediss://` or `unix://` address (ValueError for others); nothing connects yet.

        Of a cluster any node will do, or several by commas (`redis://one:6379,two:6379/0`).

        `timeout_s` bounds each call, its repetitions included; over it the call raises StoreUnavailable.
        """
        return cls(RedisLink(url, timeout_s=timeout_s, protocol=protocol))

    async def claim(self, key: PartitionKey, token: str, partitions: int = 0, topic_id: str = "") -> Claimed:
        """Write `token` and return cursor, outbox, names and tombstones, in one transaction."""
        if not token:
            raise ValueError("a claim needs a token")

        def question(redis: Redis) -> Awaitable[list[object]]:
            pipe = redis.pipeline(transaction=True)
            pipe.hset(f"{key.prefix}meta", "token", token)
            if partitions:
                pipe.hsetnx(f"{key.prefix}meta", "partitions", str(partitions))
            if topic_id:
                pipe.hsetnx(f"{key.prefix}meta", "topic_id", topic_id)
            pipe.hmget(f"{key.prefix}meta", [*META_FIELDS, "partitions", "topic_id"])
            pipe.get(f"{key.prefix}outbox")
            pipe.hgetall(f"{key.prefix}names")
            pipe.hgetall(f"{key.prefix}forgotten")
            return pipe.execute()

        answers, _ = await self._link.ask(key.prefix, question)
        *meta, count, made = cast(list[bytes | None], answers[-4])
        outbox, times = cast(bytes | None, answers[-3]), cast(dict[bytes, bytes], answers[-1])
        forgotten = {customer: int(time) for customer, time in times.items()}
        names = _names(answers[-2])
        return Claimed(_cursor(meta), outbox or b"", names, forgotten, int(count or 0), (made or b"").decode())

    async def due(self, key: PartitionKey, before_ms: int, limit: int) -> list[tuple[str, int]]:
        """Due customers; Redis keeps equal scores in order of the members' bytes."""
        deadlines, before = f"{key.prefix}deadlines", f"({before_ms}"
        found, _ = await self._link.ask(
            key.prefix,
            lambda redis: redis.zrangebyscore(deadlines, "-inf", before, start=0, num=limit, withscores=True),
        )
        return [(member.decode(), int(score)) for member, score in cast(list[tuple[bytes, float]], found)]

    async def read(self, key: PartitionKey, cursor: Cursor, customers: Sequence[str]) -> list[bytes | None]:
        """States and the cursor that they belong to, in one transaction."""
        if self._link.is_one:
            meta, states = await self._reads.call((key, customers))
        else:
            ((meta, states),) = await self._read_together([(key, customers)])
        found = _cursor(meta)
        if (found.token, found.sequence, found.position) != (cursor.token, cursor.sequence, cursor.position):
            raise NotOwner(f"{key}: read at {cursor}, found {found}")
        return states

    async def _read_together(self, reads: Sequence[_Read]) -> list[tuple[object, list[bytes | None]]]:
        """Meta and states of partitions, all on one node, in one transaction."""

        def question(redis: Redis) -> Awaitable[list[object]]:
            pipe = redis.pipeline(transaction=True)
            for key, customers in reads:
                pipe.hmget(f"{key.prefix}meta", META_FIELDS)
                if customers:
                    pipe.mget(_state_keys(key, customers))
            return pipe.execute()

        answers = iter((await self._link.ask(reads[0][0].prefix, question))[0])
        return [(next(answers), cast(list[bytes | None], next(answers)) if some else []) for _, some in reads]

    async def commit(self, key: PartitionKey, commit: Commit) -> Answer:
        """Run the commit script; after a cut, run it again with the same arguments.

        A repetition that finds the commit applied answers OK, not ALREADY: the token is this worker's alone, so what it
        found is what this call did before it was cut (or an earlier call for the same commit: it stands just the same).
        """
        keys, arguments = _script_input(key, commit)
        answer: Any = None
        repeated = False
        if self._link.is_one:
            answer, repeated = await self._commits.call((key, keys, arguments))
        if answer is None or isinstance(answer, Exception):  # by itself, Redis says what is wrong, or gets the script
            answer, again = await self._link.ask(
                key.prefix, lambda redis: redis.register_script(_SCRIPT)(keys, arguments)
            )
            repeated |= again
        verdict = Verdict(answer[0].decode())
        if repeated and verdict is Verdict.ALREADY:
            verdict = Verdict.OK
        return Answer(verdict, _cursor(answer[1:]))

    async def _commit_together(self, commits: Sequence[_Scripted]) -> list[tuple[Any, bool]]:
        """What the script says to each commit, all on one node, or its error; and whether they were run again."""

        def question(redis: Redis) -> Awaitable[list[Any]]:
            pipe = redis.pipeline(transaction=False)
            for _, keys, arguments in commits:
                pipe.evalsha(_SCRIPT_HASH, len(keys), *keys, *arguments)
            return pipe.execute(raise_on_error=False)

        answers, repeated = await self._link.ask(commits[0][0].prefix, question)
        return [(answer, repeated) for answer in answers]

    async def peek(self, key: PartitionKey, customers: Sequence[str]) -> list[bytes | None]:
        """States as they are."""
        if not customers:
            return []
        states, _ = await self._link.ask(key.prefix, lambda redis: redis.mget(_state_keys(key, customers)))
        return cast(list[bytes | None], states)

    async def cursor(self, key: PartitionKey) -> Cursor:
        """The partition's cursor."""
        meta, _ = await self._link.ask(key.prefix, lambda redis: redis.hmget(f"{key.prefix}meta", META_FIELDS))
        return _cursor(meta)

    async def names(self, key: PartitionKey) -> dict[bytes, str]:
        """The partition's subjects."""
        names, _ = await self._link.ask(key.prefix, lambda redis: redis.hgetall(f"{key.prefix}names"))
        return _names(names)

    async def memory_usage(self, key: PartitionKey) -> Usage:
        """Measure every key of a partition; walks through the whole database, so not for the hot path."""
        keys: set[bytes] = set()
        total, at = 0, 0
        while True:
            (at, page), _ = await self._link.ask(key.prefix, partial(_page, at, key.prefix))
            new = cast(set[bytes], set(page)) - keys  # a scan may give a key twice
            keys |= new
            total += await self._sum_of_memory(key, sorted(new))
            if at == 0:
                break
        states = f"{key.prefix}s:".encode()
        return Usage(customers=sum(name.startswith(states) for name in keys), keys=len(keys), bytes=total)

    async def _sum_of_memory(self, key: PartitionKey, keys: Sequence[bytes]) -> int:
        if not keys:
            return 0

        def question(redis: Redis) -> Awaitable[list[int | None]]:
            pipe = redis.pipeline(transaction=False)
            for name in keys:
                pipe.memory_usage(name, samples=0)
            return pipe.execute()

        sizes, _ = await self._link.ask(key.prefix, question)
        return sum(size or 0 for size in sizes)

    async def check(self) -> list[Checkup]:
        """How this Redis is set up, or each node of a cluster that holds keys, with what to change."""
        found = await self._link.ask_all(lambda redis: redis.info())
        return [
            Checkup(
                version=str(told["redis_version"]),
                maxmemory_policy=str(told.get("maxmemory_policy", "unknown")),
                aof_enabled=bool(int(told.get("aof_enabled", 1))),
                used_bytes=int(told["used_memory"]),
                max_bytes=int(told.get("maxmemory", 0)),
                address=address,
            )
            for address, told in found
        ]

    async def close(self) -> None:
        """Let go of connections."""
        await self._link.close()


def _page(at: int, prefix: str, redis: Redis) -> Awaitable[tuple[int, list[bytes]]]:
    return cast(Awaitable[tuple[int, list[bytes]]], redis.scan(at, match=f"{prefix}*", count=PAGE_KEYS))


def _state_keys(key: PartitionKey, customers: Sequence[str]) -> list[str]:
    prefix = f"{key.prefix}s:"
    return [prefix + customer for customer in customers]


def _cursor(meta: object) -> Cursor:
    """A cursor from the fields of meta, each absent until it is first written."""
    token, sequence, position, watermark, adopt_until, since = cast(Sequence[bytes | None], meta)
    return Cursor(
        token=(token or b"").decode(),
        sequence=int(sequence or 0),
        position=_or_minus_one(position),
        watermark_ms=_or_minus_one(watermark),
        adopt_until=_or_minus_one(adopt_until),
        complete_since=_or_minus_one(since),
    )


def _or_minus_one(number: bytes | None) -> int:
    return -1 if number is None else int(number)


def _names(names: object) -> dict[bytes, str]:
    return {subject: name.decode() for subject, name in cast(dict[bytes, bytes], names).items()}


def _script_input(key: PartitionKey, commit: Commit) -> tuple[list[str], list[str | bytes | int]]:
    """Keys and arguments of the commit script, in the order that its head states."""
    kept = {customer: state for customer, state in commit.states.items() if state is not None}
    erased = [customer for customer, state in commit.states.items() if state is None]
    due, undue = commit.deadline_changes()
    buried, raised = commit.tombstone_changes()
    keys = [f"{key.prefix}{name}" for name in ("meta", "deadlines", "names", "forgotten", "outbox")]
    keys += _state_keys(key, list(kept)) + _state_keys(key, erased)
    arguments: list[str | bytes | int] = [commit.token, commit.sequence, commit.start]
    arguments += [commit.sequence + 1, commit.position, commit.watermark_ms, commit.adopt_until]
    arguments += [commit.complete_since, commit.outbox]
    arguments += [len(kept), len(due), len(undue), len(commit.names), len(buried), len(raised)]
    arguments += kept.values()
    for customer, deadline in due.items():
        arguments += (deadline, customer)
    arguments += undue
    for subject, name in commit.names.items():
        arguments += (subject, name)
    for customer_hash, time in buried.items():
        arguments += (customer_hash, time)
    arguments += raised
    return keys, arguments
