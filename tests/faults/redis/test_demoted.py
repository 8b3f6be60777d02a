"""A failover behind one address: connections stay on the server that was demoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest

from support.edge import failure_of
from support.lateness import stopwatch
from support.limiters import Served, serving_limits
from support.redis_pair import RedisPair, redis_pair
from support.server import roomy_limits
from support.session_load import calling, changes, create, eventually, limited, read, unhealthy, write

DEMOTED_FOR = 4.0  # seconds in which the address leads to the demoted server


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[RedisPair]:
    """Two servers in step."""
    async with redis_pair(tmp_path) as pair:
        yield pair


@asynccontextmanager
async def serving(dsn: str, pair: RedisPair, folder: Path) -> AsyncIterator[Served]:
    """Serve on the address."""
    async with serving_limits(dsn, pair.url, folder, rate_limits_file=roomy_limits(folder)) as served:
        yield served


async def test_connections_leave_the_demoted_server(dsn: str, pair: RedisPair, tmp_path: Path) -> None:
    """Writes are unavailable and reported so, with one change of the breaker, and work 3 s after the address moved."""
    async with serving(dsn, pair, tmp_path) as served, stopwatch() as watch:
        token = await create(served)
        await asyncio.gather(*(create(served) for _ in range(20)))  # many pooled connections
        async with calling(*(partial(each, served, token) for each in (read, write, write)), partial(limited, served)):
            await pair.swap()
            await eventually(partial(is_unhealthy, served), 2)
            await eventually(partial(is_open, served), 2)
            until = watch.now() + DEMOTED_FOR
            while watch.now() < until:
                failure = await failure_of(write(served, token))
                assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
                assert await is_unhealthy(served)
                await asyncio.sleep(0.1)
            assert changes(served, "redis") == {"open": 1}
            pair.move_address()
            await eventually(partial(works, served, token), 3)
            await eventually(partial(is_healthy, served), 3)
        assert changes(served, "redis") == {"open": 1, "closed": 1}
        assert int((await pair.second.info("stats"))["total_writes_processed"]) > 0


async def test_address_that_moves_at_once_costs_two_changes_at_most(dsn: str, pair: RedisPair, tmp_path: Path) -> None:
    """Where the address leads to the new primary before anybody writes, each user of Redis is back within a second."""
    async with serving(dsn, pair, tmp_path) as served:
        token = await create(served)
        pair.move_address()
        await pair.swap()
        await eventually(partial(works, served, token), 2)
        assert changes(served, "redis") in ({}, {"open": 1, "closed": 1})


async def is_open(served: Served) -> bool:
    """Return whether the breaker of sessions is."""
    return served.sample("wingmanmatch_circuit_open", dependency="redis") == 1


async def is_unhealthy(served: Served) -> bool:
    """Return whether GetStatus says that Redis is."""
    return "redis" in await unhealthy(served)


async def is_healthy(served: Served) -> bool:
    """Return whether GetStatus says that Redis is."""
    return not await is_unhealthy(served)


async def works(served: Served, token: str) -> bool:
    """Return whether a write is served."""
    try:
        await write(served, token)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True
