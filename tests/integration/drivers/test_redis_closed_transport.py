"""A node of a cluster that went away between two commands."""

import asyncio
import gc
import warnings
from pathlib import Path

import pytest
import uvloop

from support.redis_cluster import redis_cluster
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.errors import Evidence


async def write_to_a_lost_node(folder: Path) -> errors.Unavailable:
    """Return how a write ends after every connection was reset, seen by the event loop and not yet by redis-py."""
    async with redis_cluster(folder) as url, open_redis(url) as redis:
        await redis.client.set("key", "1")
        for node in redis.client.get_nodes():
            for connection in node._connections:
                if connection._writer:
                    connection._writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(errors.Unavailable) as caught, redis.calling():
            await redis.client.set("key", "2")
        return caught.value


def test_closed_transport_is_unavailable(tmp_path: Path) -> None:
    """On the server's event loop too it is an outage, and counts as one."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ended = runner.run(write_to_a_lost_node(tmp_path))
    assert (ended.reason, ended.evidence) == ("REDIS_UNAVAILABLE", Evidence.ABSENT)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()
