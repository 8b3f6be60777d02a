"""A failover behind one address: connections stay on the server that was demoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import redis.asyncio as redis

from support.edge import failure_of
from support.lateness import stopwatch
from support.limiters import Served, serving_limits
from support.redis_address import Address, one_address
from support.redis_cluster import free_ports
from support.redis_sentinel import start
from support.server import roomy_limits
from support.session_load import calling, changes, create, eventually, limited, read, unhealthy, write

OPTIONS = {"bind": "127.0.0.1", "save": "", "repl-diskless-sync-delay": "0"}
DEMOTED_FOR = 4.0  # seconds in which the address leads to the demoted server


class Pair(NamedTuple):
    """Two servers, one of which follows the other, and the address that leads to the primary."""

    first: "redis.Redis"
    second: "redis.Redis"
    ports: tuple[int, int]
    address: Address

    async def swap(self) -> None:
        """Make the second the primary, and the first its replica."""
        await self.first.set("marker", "", px=1)
        assert await self.first.wait(1, 5000) == 1  # the second has what was acknowledged before
        await self.second.execute_command("REPLICAOF", "NO", "ONE")
        await self.first.execute_command("REPLICAOF", "127.0.0.1", self.ports[1])


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two servers in step."""
    first, second = free_ports(2)
    processes = [
        start(tmp_path, first, OPTIONS),
        start(tmp_path, second, OPTIONS | {"replicaof": f"127.0.0.1 {first}"}),
    ]
    clients = redis.Redis(port=first), redis.Redis(port=second)
    try:
        await eventually(partial(in_step, clients[1]), 20)
        async with one_address(first) as address:
            yield Pair(*clients, (first, second), address)
    finally:
        for client, process in zip(clients, processes, strict=True):
            await client.aclose()
            process.kill()
            process.wait()


async def in_step(replica: "redis.Redis") -> bool:
    """Return whether a replica follows its primary."""
    try:
        return (await replica.info("replication"))["master_link_status"] == "up"
    except redis.ConnectionError:
        return False


@asynccontextmanager
async def serving(dsn: str, pair: Pair, folder: Path) -> AsyncIterator[Served]:
    """Serve on the address."""
    async with serving_limits(dsn, pair.address.url, folder, rate_limits_file=roomy_limits(folder)) as served:
        yield served


async def test_connections_leave_the_demoted_server(dsn: str, pair: Pair, tmp_path: Path) -> None:
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
            pair.address.port = pair.ports[1]
            await eventually(partial(works, served, token), 3)
            await eventually(partial(is_healthy, served), 3)
        assert changes(served, "redis") == {"open": 1, "closed": 1}
        assert int((await pair.second.info("stats"))["total_writes_processed"]) > 0


async def test_address_that_moves_at_once_costs_two_changes_at_most(dsn: str, pair: Pair, tmp_path: Path) -> None:
    """Where the address leads to the new primary before anybody writes, each user of Redis is back within a second."""
    async with serving(dsn, pair, tmp_path) as served:
        token = await create(served)
        pair.address.port = pair.ports[1]
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
