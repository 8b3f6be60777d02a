"""A cluster that lost one of its nodes for good: the trouble of those whose keys were on it."""

from contextlib import suppress
from pathlib import Path

import redis.asyncio as redis

from support.limiters import Served, serving_limits
from support.redis_cluster import cluster_ports, redis_cluster
from support.server import roomy_limits
from support.session_load import Outcomes, changes, create, eventually, limited, read, unhealthy, write
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.session.keys import session_key

SESSIONS = 60
ROUNDS = 10


async def on_node(cluster: RedisServer, token: str, port: int) -> bool:
    """Return whether a session is on a node."""
    return bool(cluster.client.get_node_from_key(session_key(token)).port == port)


async def test_others_go_on(dsn: str, tmp_path: Path) -> None:
    """Calls whose keys are on other nodes are all served, and no breaker opens; the report says that a node is away."""
    async with (
        redis_cluster(tmp_path, cluster_require_full_coverage="no") as url,
        open_redis(url) as cluster,
        serving_limits(dsn, url, tmp_path, rate_limits_file=roomy_limits(tmp_path)) as served,
    ):
        await cluster.client.initialize()
        lost, *_ = reversed(await cluster_ports(url))
        tokens = [await create(served) for _ in range(SESSIONS)]
        theirs = [token for token in tokens if await on_node(cluster, token, lost)]
        others = [token for token in tokens if token not in theirs]
        assert len(theirs) > 3
        async with redis.Redis(port=lost) as node:
            with suppress(redis.ConnectionError):
                await node.shutdown(nosave=True)
        outcomes, outcomes_of_others = Outcomes(), Outcomes()
        for number in range(ROUNDS):
            for token in theirs:
                await outcomes.of(write(served, token))
            for token in others:
                await outcomes_of_others.of(read(served, token))
                await outcomes_of_others.of(write(served, token))
            await limited(served)
            assert number or set(outcomes.counts) == {"UNAVAILABLE REDIS_UNAVAILABLE"}
        assert outcomes.counts["OK"] == 0
        assert outcomes_of_others.failed == 0
        assert changes(served, "redis") == {}
        await eventually(lambda: is_unhealthy(served), 7)


async def is_unhealthy(served: Served) -> bool:
    """Return whether GetStatus says that Redis is."""
    return "redis" in await unhealthy(served)
