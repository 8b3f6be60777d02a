"""A fresh outbox for each test."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import structlog

from support.outbox import Journal, Outbox
from wingmanmatch_server.drivers.postgres import open_postgres


@pytest.fixture
async def outbox(fresh_database_dsn: str) -> AsyncIterator[Outbox]:
    """An empty outbox on a database of its own."""
    async with open_postgres(fresh_database_dsn, max_connections=8) as database:
        sql = await asyncpg.connect(fresh_database_dsn)
        try:
            yield await Outbox.open(database, sql)
        finally:
            await sql.close()


@pytest.fixture
def journal() -> Iterator[Journal]:
    """What the server logs."""
    journal = Journal()
    structlog.configure(processors=[journal])
    yield journal
    structlog.reset_defaults()
