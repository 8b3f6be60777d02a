"""Fixtures shared by all tests: the real engines, and databases on them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.databases import TRANSPORTS, create_template, fresh_database, open_database
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.embedded import EmbeddedEngines


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


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """How the database is reached: whatever depends on it runs once for each way."""
    return str(request.param)


@pytest.fixture(scope="module")
async def database(admin_dsn: str, transport: str) -> AsyncIterator[Database]:
    """A migrated database that a module's tests share, over each transport."""
    async with fresh_database(admin_dsn) as dsn, open_database(dsn, transport) as database:
        yield database
