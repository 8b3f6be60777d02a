"""Databases for tests: each a clone of one migrated template, so that a fresh one costs about 50 ms."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from support.postgrest import ANONYMOUS_KEY, SERVICE_KEY, serving_rest
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.supabase import open_supabase

TEMPLATE = "wingmanmatch_template"
TRANSPORTS = ("postgres", "rest")


def with_database(dsn: str, name: str) -> str:
    """Return `dsn` with another database's name."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def create_template(admin_dsn: str) -> None:
    """Create the migrated database that the others are cloned from.

    TEST_MIGRATIONS names a later version's folder of migrations, so that this version is tested on that schema.
    """
    folder = os.environ.get("TEST_MIGRATIONS")
    await execute(admin_dsn, f"create database {TEMPLATE}")
    await migrate(with_database(admin_dsn, TEMPLATE), read_migrations(Path(folder) if folder else None), baseline=True)


@asynccontextmanager
async def fresh_database(admin_dsn: str) -> AsyncIterator[str]:
    """Yield the superuser DSN of a new migrated database, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(admin_dsn, f"create database {name} template {TEMPLATE}")
    try:
        yield with_database(admin_dsn, name)
    finally:
        await execute(admin_dsn, f"drop database {name} with (force)")


@asynccontextmanager
async def open_database(dsn: str, transport: str) -> AsyncIterator[Database]:
    """Open the database of `dsn` over one of `TRANSPORTS`."""
    if transport == "postgres":
        async with open_postgres(dsn) as database:
            yield database
    else:
        async with serving_rest(dsn) as rest, open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY) as database:
            yield database


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
