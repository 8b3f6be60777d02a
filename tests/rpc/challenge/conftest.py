"""A server whose database the tests reach into, over each transport."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.databases import fresh_database
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import open_redis


@pytest.fixture(scope="module")
async def dsn(admin_dsn: str, transport: str) -> AsyncIterator[str]:
    """The database of the module's server."""
    del transport
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A way into it that may do anything."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def own_redis_url(engines: EmbeddedEngines) -> str:
    """An empty database of Redis: nobody was charged for anything there."""
    url = f"{engines.redis_url}?db=13"
    async with open_redis(url) as redis:
        await redis.client.flushdb()
    return url


@pytest.fixture(scope="module")
async def client(dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of a server that a module's tests share; each test runs once for each transport."""
    async with serving_application(
        dsn, engines.redis_url, data_dir, transport=transport, rate_limits_file=roomy_limits(data_dir)
    ) as client:
        yield client
