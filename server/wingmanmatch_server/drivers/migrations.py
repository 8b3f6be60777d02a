"""Bring a database to the schema that this version expects.

Migrations are the files `<UTC>_<verb>_<noun>.sql` that Supabase's own CLI applies, recorded where it records them, so
either tool may apply the next one.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import asyncpg

CREATE_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
    version text primary key,
    statements text[],
    name text
);
"""
RECORD = "insert into supabase_migrations.schema_migrations (version, statements, name) values ($1, $2, $3)"
ADVISORY_LOCK = 7_460_911_823  # any number that no other tool locks


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is its time stamp, `name` the rest of its name."""

    version: str
    name: str
    sql: str


def read_migrations(directory: Path | None = None) -> list[Migration]:
    """Return the migrations of `directory`, by default those shipped with this version, oldest first."""
    return [_read(path) for path in sorted((directory or _shipped()).glob("*.sql"))]


async def migrate(dsn: str, migrations: list[Migration], *, baseline: bool) -> list[Migration]:
    """Apply those of `migrations` that `dsn` lacks, each in a transaction of its own, and return them.

    `baseline` first creates what Supabase itself would provide. Any number of processes may migrate at once: an
    advisory lock makes them wait for one another. Raises asyncpg.PostgresError and leaves the migrations before.
    """
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("select pg_advisory_lock($1)", ADVISORY_LOCK)
        if baseline:
            await connection.execute(files(__package__).joinpath("supabase_baseline.sql").read_text("utf-8"))
        return await _apply_missing(connection, migrations)
    finally:
        await connection.close()


async def _apply_missing(connection: asyncpg.Connection, migrations: list[Migration]) -> list[Migration]:
    await connection.execute(CREATE_HISTORY)
    rows = await connection.fetch("select version from supabase_migrations.schema_migrations")
    applied = {row["version"] for row in rows}
    missing = [migration for migration in migrations if migration.version not in applied]
    for migration in missing:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(RECORD, migration.version, [migration.sql], migration.name)
    return missing


def _read(path: Path) -> Migration:
    version, name = path.stem.split("_", 1)
    return Migration(version, name, path.read_text("utf-8"))


def _shipped() -> Path:
    """Return the folder in an installed wheel, or in a checkout the one that Supabase's CLI reads."""
    packaged = Path(str(files("wingmanmatch_server"))) / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "supabase" / "migrations"
