"""What is asked of a database before it is dumped or replaced."""

from dataclasses import dataclass

import asyncpg

from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migration_history import HISTORY_IS_READABLE, open_connection, read_status
from wingmanmatch_server.drivers.migrations import IS_SUPABASE
from wingmanmatch_server.drivers.schema_version import BASELINE

# As JSON, because another application's table may have other columns.
_HAS_BASELINE = """
select exists (select from supabase_migrations.schema_migrations h where to_jsonb(h) ->> 'version' = $1)
"""
_HOLDS_TABLES = """
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """`version` as `server_version_num` has it; `is_ours`: its history of migrations has our first."""

    version: int
    is_ours: bool
    is_supabase: bool


async def look_at(dsn: str) -> Found:
    """Ask a database what it is. Raises what asyncpg raises."""
    async with open_connection(dsn) as connection:
        return Found(
            version=int(await connection.fetchval("show server_version_num")),
            is_ours=await _is_ours(connection),
            is_supabase=await connection.fetchval(IS_SUPABASE),
        )


async def holds_tables(dsn: str) -> bool:
    """Return whether a database has tables of anybody's. Raises what asyncpg raises."""
    async with open_connection(dsn) as connection:
        return bool(await connection.fetchval(_HOLDS_TABLES))


async def settle(dsn: str) -> str | None:
    """Gather the planner's statistics of a restored database; return why this version cannot serve it, or None."""
    async with open_connection(dsn) as connection:
        await connection.execute("analyze")
    status = await read_status(dsn, read_migrations())
    if not status.problem and any(migration.version == BASELINE for migration in status.missing):
        return f"It holds no database of WingmanMatch: no history of migrations that includes {BASELINE}."
    return status.problem


async def _is_ours(connection: asyncpg.Connection) -> bool:
    readable = await connection.fetchval(HISTORY_IS_READABLE)
    if readable is None:
        return False
    # pg_dump reads the table too, and says which right a role lacks that may not read it.
    return not readable or bool(await connection.fetchval(_HAS_BASELINE, BASELINE))
