"""A database with functions that only tests have."""

from collections.abc import AsyncIterator

import pytest

from support.databases import fresh_database, open_database
from support.probes import add_probes
from wingmanmatch_server.drivers.database import Database


@pytest.fixture(scope="module")
async def probed_dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The superuser's DSN of a migrated database with probes, shared by a module's tests."""
    async with fresh_database(admin_dsn) as dsn:
        await add_probes(dsn)
        yield dsn


@pytest.fixture(scope="module")
async def probed(probed_dsn: str, transport: str) -> AsyncIterator[Database]:
    """That database as the server reaches it, over each transport."""
    async with open_database(probed_dsn, transport) as database:
        yield database
