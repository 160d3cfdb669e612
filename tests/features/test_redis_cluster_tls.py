"""A Redis Cluster whose nodes speak TLS only: each of them is reached, verified, and slots may move."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.crc import key_slot

from features.redis_store import RedisStore
from features.store import PartitionKey, StoreUnavailable, Verdict
from streams.children import ServiceFailed
from tests.certificates import Authority
from tests.conftest import missing
from tests.features.driven_store import after, first
from tests.features.redis_cluster import Cluster

KEYS = [PartitionKey("test", "clickstream", number) for number in range(12)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters that speak TLS, to each other too."""
    try:
        started = Cluster(tls=Authority(tmp_path_factory.mktemp("tls")))
    except ServiceFailed as failed:
        missing(f"no Redis Cluster with TLS: {failed}")
    with started:
        yield started


def test_every_node_is_reached_through_tls(cluster: Cluster) -> None:
    """The address of one node, and its authority, lead to partitions on all of them, also when their slots move."""
    assert len({cluster.owner(key_slot(key.prefix.encode())).port for key in KEYS}) == 3

    async def scene() -> None:
        kept = RedisStore.from_url(cluster.url_of(0))
        for key in KEYS:
            await kept.claim(key, "mine")
            done = await kept.commit(key, first(states={"c1": b"one"}))
            assert done.verdict is Verdict.OK
        slot = key_slot(KEYS[0].prefix.encode())
        target = next(node for node in cluster.nodes if node is not cluster.owner(slot))
        await asyncio.get_running_loop().run_in_executor(None, partial(cluster.move, slot, target))
        assert cluster.owner(slot) is target
        assert (await kept.commit(KEYS[0], after(done.found))).verdict is Verdict.OK
        assert [await kept.peek(key, ["c1"]) for key in KEYS] == [[b"one"]] * len(KEYS)
        assert len(await kept.check()) == 3
        await kept.close()

    asyncio.run(scene())


def test_a_cluster_that_nobody_vouches_for(cluster: Cluster, tmp_path: Path) -> None:
    """Nodes whose certificates are another authority's get nothing from us."""
    stranger = Authority(tmp_path).ca

    async def scene() -> None:
        kept = RedisStore.from_url(f"{cluster.url.partition('?')[0]}?ssl_ca_certs={stranger}")
        with pytest.raises(StoreUnavailable, match="certificate"):
            await kept.claim(KEYS[0], "mine")
        await kept.close()

    asyncio.run(scene())
