"""Fixtures shared by all tests: the real engines, and databases on them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.databases import create_template, fresh_database
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.postgres import PostgresDatabase, open_postgres


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngines]:
    """PostgreSQL and Valkey, started once for all tests."""
    engines = EmbeddedEngines(Path(tmp_path_factory.mktemp("engines")))
    engines.start()
    try:
        engines.wait()
        yield engines
    finally:
        engines.stop()


@pytest.fixture(scope="session")
async def admin_dsn(engines: EmbeddedEngines) -> str:
    """The superuser's DSN of a cluster that has the migrated template."""
    await create_template(engines.postgres_dsn)
    return engines.postgres_dsn


@pytest.fixture
async def fresh_database_dsn(admin_dsn: str) -> AsyncIterator[str]:
    """The superuser's DSN of a new migrated database."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def database(admin_dsn: str) -> AsyncIterator[PostgresDatabase]:
    """A pool on a migrated database that a module's tests share."""
    async with fresh_database(admin_dsn) as dsn, open_postgres(dsn) as database:
        yield database
