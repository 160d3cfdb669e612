"""Settings of Faust's that are the same for every app of ours, each with its reason where Faust's own is not safe."""

from typing import Any, Final

import mode

QUEUED_FETCHES: Final = 4
"""Fetches waiting for the agent, who takes them all at once: a full queue stops the fetching, which bounds the memory.

With fewer, what came while the agent worked waits at Kafka for one more round.
"""

PARTITION_FETCH_BYTES: Final = 1 << 20

REQUEST_TIMEOUT_S: Final = 40.0

FAUST_SETTINGS: Final[dict[str, Any]] = {
    "env": {},  # else BROKER_URL, PRODUCER_ACKS and a hundred more from the environment override what is said here
    "broker_rebalance_timeout": 30.0,
    "broker_request_timeout": REQUEST_TIMEOUT_S,
    "broker_max_poll_interval": 300.0,  # an agent that hangs for longer gives its partitions to others
    "consumer_auto_offset_reset": "earliest",
    "consumer_metadata_max_age_ms": 30_000,  # how soon new topics and partitions are noticed
    "consumer_max_fetch_size": PARTITION_FETCH_BYTES,
    "producer_max_batch_size": 256 << 10,
    "producer_threaded": False,
    "processing_guarantee": "at_least_once",  # exactly_once has open bugs: effects are idempotent instead
    "stream_buffer_maxsize": QUEUED_FETCHES,
    "stream_wait_empty": False,  # it has no time-out
    "table_standby_replicas": 0,  # more would switch the partition assignor, tables or not
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "web_enabled": False,
    "web_tables_enabled": False,
    "worker_redirect_stdouts": False,
    "cython_optimizations": False,
    "agent_supervisor": mode.CrashingSupervisor,  # a restarted agent would go on behind the chunk that it failed on
}
