"""The store through TLS and as an ACL user, with the lines of docs/security-redis.md, on a real Redis."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from features import redis_search
from features.redis_store import RedisStore
from features.store import NotAllowed, PartitionKey, StoreUnavailable, Verdict
from tests.certificates import Authority
from tests.features.driven_store import KEY, Driven, after, first
from tests.features.secured_redis import PASSWORD, QUOTED, Secured, documented, start_secured
from tests.features.store_contract import SHIRTS, SHOES, StoreContract

PLACES = ("test:clickstream", "test:clicks", "production:clickstream")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A Redis with TLS and users."""
    yield from start_secured(tmp_path_factory.mktemp("secured"), *PLACES)


@pytest.fixture
def store(secured: Secured) -> Iterator[Driven]:
    """A worker's store on the emptied Redis."""
    secured.admin.flushall()

    def dump() -> object:
        return {key: (secured.admin.pttl(key), secured.admin.dump(key)) for key in secured.admin.scan_iter(count=1000)}

    with asyncio.Runner() as loop:
        kept = RedisStore.from_url(secured.url("worker"))
        yield Driven(kept, loop, dump)
        loop.run(kept.close())


class TestSecuredRedisStore(StoreContract):
    """The contract, through TLS, as the documented worker."""


def said_to(url: str, call: Callable[[RedisStore], Coroutine[Any, Any, object]]) -> StoreUnavailable:
    """What a store at `url` says instead of doing as asked."""

    async def ask() -> StoreUnavailable:
        kept = RedisStore.from_url(url, timeout_s=2.0)
        with pytest.raises(StoreUnavailable) as said:
            await call(kept)
        await kept.close()
        return said.value

    return asyncio.run(ask())


def test_a_worker_sees_how_redis_is_set_up(store: Driven) -> None:
    """The worker's user may look whether Redis evicts."""
    kept = store.store
    assert isinstance(kept, RedisStore)
    (found,) = store.run(kept.check())
    assert found.maxmemory_policy == "noeviction"


def test_an_eraser_searches_everything(store: Driven, secured: Secured) -> None:
    """The user who runs `forget` sees every key of ours and what it holds, of others' keys the names; no more."""
    store.claim()
    store.done(first(states={"anna": b"1"}, deadlines={"anna": 7}, names={SHOES: "shoes"}, forgotten={SHIRTS: 9}))
    secured.admin.set("other:anna", "secret")
    found = {held.key: held.parts for held in redis_search.everything(secured.url("eraser"))}
    prefix = KEY.prefix.encode()
    assert found[prefix + b"s:anna"] == [b"1"] and found[prefix + b"deadlines"] == [b"anna"]
    assert SHIRTS in found[prefix + b"forgotten"] and b"shoes" in found[prefix + b"names"]
    assert found[b"other:anna"] == []

    async def write() -> None:
        kept = RedisStore.from_url(secured.url("eraser"))
        with pytest.raises(NotAllowed):
            await kept.claim(KEY, "mine")
        await kept.close()

    asyncio.run(write())


def test_a_reader_reads(store: Driven, secured: Secured) -> None:
    """The reader sees states, names and cursors, and how Redis is set up; it can claim and commit nothing."""
    store.claim()
    at = store.done(first(states={"anna": b"1"}, names={SHOES: "shoes"}))
    before = store.dump()

    async def look() -> None:
        kept = RedisStore.from_url(secured.url("reader"))
        assert await kept.peek(KEY, ["anna", "ben"]) == [b"1", None]
        assert (await kept.cursor(KEY), await kept.names(KEY)) == (at, {SHOES: "shoes"})
        assert (await kept.check())[0].maxmemory_policy == "noeviction"
        for call in (kept.claim(KEY, "mine"), kept.commit(KEY, after(at))):
            with pytest.raises(NotAllowed, match="correct the user, the password or the user's rights"):
                await call
        await kept.close()

    asyncio.run(look())
    assert store.dump() == before


@pytest.mark.parametrize("user", ["worker", "reader"])
def test_other_namespaces(store: Driven, secured: Secured, user: str) -> None:
    """Keys of a namespace that is not theirs are closed to both."""
    elsewhere = PartitionKey("theirs", "clickstream", 0)
    said = said_to(secured.url(user), lambda kept: kept.peek(elsewhere, ["anna"]))
    assert isinstance(said, NotAllowed)
    assert "rights (ACL)" in str(said)
    assert isinstance(said_to(secured.url(user), lambda kept: kept.claim(elsewhere, "mine")), NotAllowed)


def test_nobody_without_a_name(secured: Secured) -> None:
    """The default user is off, a wrong password is refused; neither is repeated in words."""
    for url in (secured.url("worker", password="guessed"), secured.url("").replace(f":{QUOTED}@", "")):
        said = said_to(url, lambda kept: kept.cursor(KEY))
        assert isinstance(said, NotAllowed)
        assert "guessed" not in str(said)


RULES = documented(*PLACES).splitlines()[0].split()[2:]
RIGHTS = [rule[1:] for rule in RULES if rule.startswith("+")]
NOT_NEEDED_TO_WORK = {"info", "cluster|slots", "discard"}


async def everything(kept: RedisStore) -> None:
    """Whatever a worker asks of a store."""
    await kept.claim(KEY, "mine", partitions=8)
    states = {"anna": b"1", "ben": b"2"}
    commit = first(states=states, deadlines=dict.fromkeys(states, 5), names={SHOES: "s"}, forgotten={SHIRTS: 5})
    at = (await kept.commit(KEY, commit)).found
    await kept.due(KEY, 10, 10)
    await kept.read(KEY, at, ["anna"])
    await kept.peek(KEY, ["anna"])
    await kept.cursor(KEY)
    await kept.names(KEY)
    change = after(at, states={"ben": None}, deadlines={"anna": None}, forgotten={SHIRTS: None})
    assert (await kept.commit(KEY, change)).verdict is Verdict.OK


def set_user(secured: Secured, *rules: str) -> None:
    """Make the user `poorer` anew."""
    secured.admin.execute_command("ACL", "SETUSER", "poorer", "reset", *rules)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_is_needed(secured: Secured, right: str) -> None:
    """Without any one of them the worker is told so, and a commit leaves nothing half-written."""
    secured.admin.flushall()
    secured.admin.script_flush()
    set_user(secured, *RULES, f"-{right}")
    url = secured.url("poorer")
    if right in NOT_NEEDED_TO_WORK:

        async def work() -> None:
            kept = RedisStore.from_url(url)
            await everything(kept)
            await kept.close()

        asyncio.run(work())
        return
    said = said_to(url, everything)
    assert isinstance(said, NotAllowed)
    assert "rights (ACL)" in str(said)
    meta = "mi:{test:clickstream:0}:v1:meta"
    assert secured.admin.hget(meta, "sequence") in (None, b"1", b"2")
    if secured.admin.hget(meta, "sequence") is None:
        assert secured.admin.dbsize() <= 1  # the claim


def test_missing_rights_of_the_script(store: Driven, secured: Secured) -> None:
    """A right that only the script's later writes need is missed before its first one."""
    store.claim()
    at = store.done(first(states={"anna": b"1"}, deadlines={"anna": 5}))
    before = store.dump()
    for right in ("set", "mset", "unlink", "zadd", "zrem", "hdel"):
        set_user(secured, *RULES, f"-{right}")
        said = said_to(secured.url("poorer"), lambda kept: kept.commit(KEY, after(at, states={"ben": b"2"})))
        assert isinstance(said, NotAllowed) and right.upper() in str(said)
        assert store.dump() == before


@pytest.mark.parametrize("options", ["ssl_cert_reqs=required", "ssl_ca_certs={other}"])
def test_a_certificate_that_nobody_vouches_for(secured: Secured, tmp_path: Path, options: str) -> None:
    """Verification is on by default: another authority's server is not spoken to, and the message says what to name."""
    other = Authority(tmp_path, "other").ca
    said = said_to(secured.url("worker", options.format(other=other)), lambda kept: kept.cursor(KEY))
    assert "ssl_ca_certs=" in str(said)
    assert PASSWORD not in str(said) and QUOTED not in str(said)


def test_a_name_that_is_not_in_the_certificate(secured: Secured) -> None:
    """The host's name is verified too."""
    said = said_to(secured.url("worker", host="localhost"), lambda kept: kept.cursor(KEY))
    assert "the host's name is in it" in str(said)


def test_without_tls_where_it_is_wanted(secured: Secured) -> None:
    """Speaking plainly to a port with TLS is answered by a hint at rediss://."""
    plain = secured.url("worker").replace("rediss://", "redis://").partition("?")[0]
    assert "rediss://" in str(said_to(plain, lambda kept: kept.cursor(KEY)))


def test_client_certificates(tmp_path: Path) -> None:
    """A Redis that wants a certificate of its clients gets it from the address."""
    for secured in start_secured(tmp_path, *PLACES, client_certificates=True):
        said_to(secured.url("worker"), lambda kept: kept.cursor(KEY))

        async def work(url: str) -> None:
            kept = RedisStore.from_url(url)
            await everything(kept)
            await kept.close()

        asyncio.run(work(secured.url("worker", secured.with_client_certificate())))
