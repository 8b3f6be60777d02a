"""What a database has of the migrations, compared with the files of this version."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from wingmanmatch_server.drivers.migration_files import Migration
from wingmanmatch_server.drivers.postgres import SERVICE_ROLE
from wingmanmatch_server.drivers.postgres_address import without_pooler
from wingmanmatch_server.drivers.schema_version import FUNCTION, AppliedMigration, exclusion, parse_applied

CONNECT_TIMEOUT = 10.0
# Without a row there is no history.
HISTORY_IS_READABLE = """
select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations'
"""
# As JSON, because the first versions of Supabase's CLI made the table without the other columns.
READ_HISTORY = """
select to_jsonb(h)::text as entry, substring(to_jsonb(h) -> 'statements' ->> 0 from '^-- oldest-server: ([0-9]{14})\\s')
    as oldest_server
from supabase_migrations.schema_migrations h order by version
"""
_BETWEEN_STATEMENTS = "; \t\r\n"


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has of the migrations, each list oldest first.

    `unknown` have no file here; `excluded` is a sentence on why this version must not touch the schema.
    """

    applied: Sequence[Migration]
    missing: Sequence[Migration]
    changed: Sequence[Migration]
    unknown: Sequence[str]
    excluded: str | None

    @property
    def problem(self) -> str | None:
        """A sentence on why nothing may be applied, or None."""
        if self.changed:
            return (
                f"{self.changed[0].file} is not what was applied to this database: restore the file and put the change "
                "into a new migration (a database without worthwhile data may be dropped instead; the embedded one is "
                "the folder postgres below DATA_DIR)."
            )
        return self.excluded


async def read_status(dsn: str, migrations: Sequence[Migration]) -> Status:
    """Compare `dsn` with `migrations` and change nothing. Raises what asyncpg raises."""
    async with open_connection(dsn) as connection, connection.transaction(readonly=True):
        return await compare(connection, migrations)


async def compare(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Status:
    """Compare the database that `connection` leads to with `migrations` and change nothing.

    It must be in a transaction. A role that only serves cannot tell whether a file was changed.
    """
    history = await _read_history(connection)
    recorded = {each.version: each.statements for each in history}
    versions = [migration.version for migration in migrations]
    present = [migration for migration in migrations if migration.version in recorded]
    return Status(
        applied=present,
        missing=[migration for migration in migrations if migration.version not in recorded],
        changed=[migration for migration in present if not _is_recorded(migration, recorded[migration.version])],
        unknown=sorted(recorded.keys() - set(versions)),
        excluded=exclusion(history, versions),
    )


@asynccontextmanager
async def open_connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of its own to `dsn`. Raises what asyncpg raises.

    Statements go in transactions, since the address may be a transaction pooler's.
    """
    connection = await asyncpg.connect(without_pooler(dsn), timeout=CONNECT_TIMEOUT, statement_cache_size=0)
    try:
        yield connection
    finally:
        # A farewell would wait for a server that may have stalled.
        connection.terminate()


async def _read_history(connection: asyncpg.Connection) -> list[AppliedMigration]:
    readable = await connection.fetchval(HISTORY_IS_READABLE)
    if readable is None:
        return []
    if not readable:
        return await _read_history_as_server(connection)
    rows = [(json.loads(row["entry"]), row["oldest_server"]) for row in await connection.fetch(READ_HISTORY)]
    return [AppliedMigration(entry["version"], oldest, entry.get("statements")) for entry, oldest in rows]


async def _read_history_as_server(connection: asyncpg.Connection) -> list[AppliedMigration]:
    await connection.execute(f"set local role {SERVICE_ROLE}")
    answer = await connection.fetchval(f"select public.{FUNCTION}()::text")
    await connection.execute("set local role none")
    return parse_applied(json.loads(answer))


def _is_recorded(migration: Migration, statements: Sequence[str] | None) -> bool:
    """Return whether the file holds exactly `statements`, in order, and nothing else but blanks and semicolons.

    Supabase's CLI splits a file into statements and records each without the semicolon and the blanks around it; we
    record the file whole. `supabase migration repair` may record a version alone, with which nothing can be compared.
    """
    if statements is None:
        return True
    rest = migration.sql
    for statement in statements:
        expected = statement.replace("\r\n", "\n").strip(_BETWEEN_STATEMENTS)
        rest = rest.lstrip(_BETWEEN_STATEMENTS)
        if not rest.startswith(expected):
            return False
        rest = rest[len(expected) :]
    return not rest.strip(_BETWEEN_STATEMENTS)
