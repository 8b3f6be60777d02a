"""A server for the tests of sessions, which do not care how its database is reached."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.databases import fresh_database
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.redis import RedisServer, open_redis


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the module's server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def redis_url(engines: EmbeddedEngines) -> str:
    """A database of Redis that holds nothing but what these tests put there."""
    return f"{engines.redis_url}?db=8"


@pytest.fixture(scope="module")
async def redis(redis_url: str) -> AsyncIterator[RedisServer]:
    """The same database, to look inside."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture(scope="module")
async def client(admin_dsn: str, redis: RedisServer, redis_url: str, data_dir: Path) -> AsyncIterator[Stubs]:
    """A client of a server that a module's tests share."""
    assert redis.client
    async with (
        fresh_database(admin_dsn) as dsn,
        serving_application(dsn, redis_url, data_dir, rate_limits_file=roomy_limits(data_dir)) as client,
    ):
        yield client
