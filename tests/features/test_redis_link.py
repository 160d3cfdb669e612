"""A Redis that cannot be used: the error says what to do next, and repeats no credentials."""

import asyncio
from collections.abc import Iterator

import pytest
from redis import exceptions as faults

from features.redis_link import RedisLink, advice_on, plain_address
from features.redis_store import RedisStore
from features.store import StoreUnavailable
from tests.features.driven_store import KEY


@pytest.mark.parametrize(
    ("error", "times"),
    [(faults.ConnectionError("cut"), 3), (faults.AuthenticationError("who?"), 1), (faults.TimeoutError(), 1)],
)
def test_repetitions(redis_url: str, error: Exception, times: int) -> None:
    """Only what a cut may have caused is asked again, twice at most."""
    asked = []

    async def question(_: object) -> None:
        asked.append(1)
        raise error

    async def ask() -> None:
        link = RedisLink(redis_url, timeout_s=5.0, protocol=2)
        with pytest.raises(StoreUnavailable):
            await link.ask("key", question)
        await link.close()

    asyncio.run(ask())
    assert len(asked) == times


@pytest.mark.parametrize(
    "error", [faults.TryAgainError("…"), faults.AskError("1 127.0.0.1:1"), faults.ClusterDownError("down")]
)
def test_a_changing_cluster_is_waited_for(redis_url: str, error: Exception) -> None:
    """What a cluster refuses while it changes is asked again within the time, which is no repetition."""
    answers: Iterator[Exception | bytes] = iter([error, error, error, b"there"])

    async def question(_: object) -> bytes:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> tuple[bytes, bool]:
        link = RedisLink(redis_url, timeout_s=5.0, protocol=2)
        try:
            return await link.ask("key", question)
        finally:
            await link.close()

    assert asyncio.run(ask()) == (b"there", False)


@pytest.mark.parametrize(
    ("error", "advice"),
    [(faults.TryAgainError("…"), "moving the partition's slot"), (faults.ClusterDownError("Hash slot…"), "is down")],
)
def test_a_cluster_that_stays_unsettled(redis_url: str, error: Exception, advice: str) -> None:
    """When the time is over the message says what the cluster said, not that it was silent."""

    async def question(_: object) -> None:
        raise error

    async def ask() -> None:
        link = RedisLink(redis_url, timeout_s=0.3, protocol=2)
        with pytest.raises(StoreUnavailable, match=advice):
            await link.ask("key", question)
        await link.close()

    asyncio.run(ask())


def test_a_question_that_hides_that_its_time_is_over(redis_url: str) -> None:
    """A client may answer that it was cut when it is told to stop; the time is over all the same."""
    asked = []

    async def question(_: object) -> None:
        asked.append(1)
        assert len(asked) == 1, "asked again"
        try:
            await asyncio.sleep(0.3)
        except asyncio.CancelledError as stop:
            raise faults.ConnectionError("cut") from stop
        raise faults.ClusterDownError("down")

    async def ask() -> None:
        link = RedisLink(redis_url, timeout_s=0.2, protocol=2)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await link.ask("key", question)
        await link.close()

    asyncio.run(ask())


def test_several_addresses_that_are_no_cluster(redis_url: str) -> None:
    """Two independent Redis would each have half of the truth: that is said, not guessed."""
    place = redis_url.removeprefix("redis://").removesuffix("/0")
    assert "several addresses are for a cluster" in unavailable(f"redis://{place},{place}/0")


def test_time_is_bounded(redis_url: str) -> None:
    """However slowly a call gets on, it ends when its time is over."""

    async def ask() -> None:
        link = RedisLink(redis_url, timeout_s=0.05, protocol=2)
        async with asyncio.timeout(5.0):
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await link.ask("key", lambda _: asyncio.Event().wait())
        await link.close()

    asyncio.run(ask())


def unavailable(url: str) -> str:
    """What a store at `url` says when it is asked."""

    async def ask() -> str:
        store = RedisStore.from_url(url, timeout_s=2.0)
        with pytest.raises(StoreUnavailable) as said:
            await store.cursor(KEY)
        await store.close()
        return str(said.value)

    return asyncio.run(ask())


def test_nobody_there() -> None:
    """A wrong address is named, without its password."""
    said = unavailable("redis://anna:secret@127.0.0.1:1/0")
    assert said.startswith("Redis at redis://127.0.0.1:1/0: it cannot be reached")
    assert "secret" not in said


def test_wrong_password(redis_url: str) -> None:
    """Refused credentials are called that, and not repeated in words."""
    said = unavailable(plain_address(redis_url).replace("://", "://nobody:secret@"))
    assert "it refuses this user" in said
    assert "secret" not in said


def test_not_redis() -> None:
    """Something else at the address is told from a Redis that is down."""

    async def answer(request: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        client.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await request.read()  # until the store hangs up
        client.close()

    async def scene() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(unavailable, f"redis://127.0.0.1:{port}/0")

    assert "does not speak Redis' protocol" in asyncio.run(scene())


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (faults.BusyLoadingError("Redis is loading the dataset in memory"), "still loading"),
        (faults.AuthenticationError("invalid username-password pair"), "refuses this user"),
        (faults.NoPermissionError("this user has no permissions to run the 'evalsha' command"), "ACL"),
        (faults.ReadOnlyError("You can't write against a read only replica."), "primary"),
        (faults.TryAgainError("Multiple keys request during rehashing of slot"), "moving the partition's slot"),
        (faults.ClusterDownError("The cluster is down"), "bring its nodes back"),
        (faults.ResponseError("The user executing the script can't run this command or subcommand script…"), "ACL"),
        (
            faults.ExecAbortError(
                "Transaction discarded because of: NOPERM this user has no permissions to run 'exec'"
            ),
            "ACL",
        ),
        (faults.ResponseError("SELECT is not allowed in cluster mode"), "/0"),
        (faults.ResponseError("MISCONF Redis is configured to save RDB snapshots, but…"), "free space"),
        (faults.ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas"),
        (
            faults.ResponseError(
                "Error running script (call to f_1): @user_script:43: @user_script: 43: -OOM command…"
            ),
            "maxmemory",
        ),
        (
            faults.ResponseError("Command # 1 (HSET k) of pipeline caused error: ('BUSY Redis is busy running…',)"),
            "another script",
        ),
        (faults.TimeoutError("Timeout reading from socket"), "in time"),
        (TimeoutError(), "in time"),
        (ConnectionResetError("reset by peer"), "cannot be reached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_advice(error: Exception, advice: str) -> None:
    """Each way in which Redis can be unavailable comes with what to do about it."""
    found = advice_on(error)
    assert found is not None and advice in found


@pytest.mark.parametrize(
    "error",
    [
        faults.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        faults.ResponseError("ERR value of customer OOM is not an integer"),
        faults.DataError("Invalid input of type: 'NoneType'"),
    ],
)
def test_no_advice(error: Exception) -> None:
    """Our own mistakes are not called an unavailable store: retrying would not help."""
    assert advice_on(error) is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:p%40ss@redis.example:6380/2?ssl_ca_certs=ca.pem", "rediss://redis.example:6380/2"),
        ("redis://user:p%2Css@one:6379,two:6380/0", "redis://one:6379,two:6380/0"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock"),
        ("unix://user:secret@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_plain_address(url: str, address: str) -> None:
    """Addresses in messages carry no credentials."""
    assert plain_address(url) == address
