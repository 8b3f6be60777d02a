"""A server at the shipped limits, with buckets that nobody else uses."""

import uuid
from collections.abc import AsyncIterator

import pytest

from support.databases import fresh_database
from support.target import Target, serving_target
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="module")
async def running(
    admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    """A server that a module's tests share."""
    folder = tmp_path_factory.mktemp("attacked")
    async with fresh_database(admin_dsn) as dsn, serving_target(dsn, f"{engines.redis_url}?db=6", folder) as target:
        yield target


@pytest.fixture
async def target(running: Target) -> Target:
    """The server, with every bucket full. It remembers denials: a subject that was denied is of one test only."""
    await running.redis.flushdb()
    return running


@pytest.fixture
def victim() -> str:
    """A user whom only one test knows."""
    return str(uuid.uuid4())


@pytest.fixture
def attacker() -> str:
    """Another user."""
    return str(uuid.uuid4())


@pytest.fixture
def address(running: Target) -> str:
    """An address of IPv4 that only one test knows."""
    running.addresses += 1
    return f"203.0.113.{running.addresses}"
