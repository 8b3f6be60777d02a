"""What is asked of a database before it is dumped or replaced."""

from dataclasses import dataclass

from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migration_history import open_connection, read_status
from wingmanmatch_server.drivers.migrations import IS_SUPABASE

_HAS_HISTORY = "select to_regclass('supabase_migrations.schema_migrations') is not null"
_HOLDS_TABLES = """
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """`version` as `server_version_num` has it; `is_ours`: it has a history of migrations."""

    version: int
    is_ours: bool
    is_supabase: bool


async def look_at(dsn: str) -> Found:
    """Ask a database what it is. Raises what asyncpg raises."""
    async with open_connection(dsn) as connection:
        return Found(
            version=int(await connection.fetchval("show server_version_num")),
            is_ours=await connection.fetchval(_HAS_HISTORY),
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
    return (await read_status(dsn, read_migrations())).problem
