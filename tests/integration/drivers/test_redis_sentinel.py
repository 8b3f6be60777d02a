"""How a change of the primary that sentinels name is noticed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis.asyncio as redis

from support.redis_sentinel import PASSWORD, SENTINEL_PASSWORD, SERVICE, Watched, watched_servers
from wingmanmatch_server.drivers.redis import open_redis
from wingmanmatch_server.drivers.redis_sentinel import ANNOUNCED_FOR, Sentinels


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A primary, a replica and their sentinel."""
    async with watched_servers(tmp_path) as watched:
        yield watched


async def callers_of(port: int) -> int:
    """Return how many connections of clients a server has, besides the one that asks."""
    async with redis.Redis(port=port, password=PASSWORD) as server:
        clients = await server.client_list(_type="normal")
    return len(clients) - 1


async def within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds; fail if it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_announced_change_closes_connections_to_the_old_primary(watched: Watched) -> None:
    """The old primary, which lives and still calls itself one, loses its connections to the new one."""
    old, new, _ = watched.ports
    async with open_redis(watched.url, seconds=2) as server:
        await asyncio.gather(*(server.probe(f"key{number}") for number in range(8)))
        assert await callers_of(old) > 0
        await watched.fail_over_as_planned()

        async def has_moved() -> bool:
            with suppress(Exception):  # those under way when the connections were closed
                await server.probe("key")
            return await callers_of(new) > 0

        await within(2, has_moved)
        async with redis.Redis(port=old, password=PASSWORD) as demoted:
            assert (await demoted.role())[0] == b"master"  # as yet
        assert server.client.connection_pool.master_address == ("127.0.0.1", new)
        assert not any(
            connection.is_connected and connection.port == old
            for connection in server.client.connection_pool._get_in_use_connections()
        )


async def test_change_that_was_missed_is_noticed_with_the_next_subscription(watched: Watched) -> None:
    """A sentinel that could not be heard during the change is asked as soon as it can."""
    sentinel = redis.Redis(port=watched.ports[2], password=SENTINEL_PASSWORD)
    async with sentinel, open_redis(watched.url, seconds=2) as server:
        await server.probe("key")
        pool = server.client.connection_pool
        (before,) = pool._get_in_use_connections()
        switching = asyncio.create_task(watched.fail_over_as_planned())
        name = (await sentinel.sentinel_get_master_addr_by_name(SERVICE))[1]
        async with asyncio.timeout(20):
            while (await sentinel.sentinel_get_master_addr_by_name(SERVICE))[1] == name:
                await drop_subscribers(sentinel)
                await asyncio.sleep(0.05)
        switching.cancel()

        async def is_closed() -> bool:
            return not before.is_connected

        await within(4, is_closed)
        await server.probe("key")
        assert pool.master_address == ("127.0.0.1", watched.ports[1])


async def drop_subscribers(sentinel: "redis.Redis") -> None:
    """Close every connection that listens to a sentinel."""
    await sentinel.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def test_sentinel_that_has_not_heard_yet_is_not_believed(watched: Watched) -> None:
    """For half a minute an announced primary is taken for the one that a sentinel still names; then no longer."""
    now = time.monotonic()
    old, announced = ("127.0.0.1", watched.ports[0]), ("127.0.0.1", watched.ports[1])
    sentinels = Sentinels(
        [("127.0.0.1", watched.ports[2])], sentinel_kwargs={"password": SENTINEL_PASSWORD}, clock=lambda: now
    )
    try:
        assert await sentinels.discover_master(SERVICE) == old
        sentinels.note(old, announced)
        assert await sentinels.discover_master(SERVICE) == announced
        now += ANNOUNCED_FOR
        assert await sentinels.discover_master(SERVICE) == old
    finally:
        await sentinels.aclose()
