"""Fixtures of the tests of the session store."""

from collections.abc import AsyncIterator

import pytest

from support.sessions import create_store
from wingmanmatch_server.drivers.redis import RedisServer, open_redis
from wingmanmatch_server.session.store import SessionStore


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[RedisServer]:
    """An empty database of a real server."""
    async with open_redis(f"{any_redis_url}?db=9") as redis:
        await redis.client.flushdb()
        yield redis


@pytest.fixture
def store(redis: RedisServer) -> SessionStore:
    """A store on the empty database."""
    return create_store(redis)
