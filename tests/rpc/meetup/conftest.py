"""A server whose database tests can reach behind its back, to let days pass."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.databases import fresh_database
from support.server import roomy_limits, serving_application
from support.stubs import Stubs
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


@pytest.fixture(scope="module")
async def database_dsn(admin_dsn: str, transport: str) -> AsyncIterator[str]:
    """The database of the module's server over one transport."""
    assert transport
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def client(database_dsn: str, engines: EmbeddedEngines, data_dir: Path, transport: str) -> AsyncIterator[Stubs]:
    """A client of the module's server."""
    limits = roomy_limits(data_dir)
    async with serving_application(
        database_dsn, engines.redis_url, data_dir, transport=transport, rate_limits_file=limits
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def sql(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection to the database."""
    connection = await asyncpg.connect(database_dsn)
    try:
        yield connection
    finally:
        await connection.close()
