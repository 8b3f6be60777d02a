"""Bring a database to the schema that this version expects.

Migrations are the files `<UTC>_<verb>_<noun>.sql` that Supabase's own CLI applies, recorded where it records them, so
either tool may apply the next one. They only go forward: an applied file never changes, what it got wrong is put right
by a new one.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import asyncpg

from wingmanmatch_server.drivers.postgres import without_pooler

CONNECT_TIMEOUT = 10.0
# Taken in each transaction and not for a session, which a transaction pooler would not keep together.
LOCK = "select pg_advisory_xact_lock(7460911823)"
# A change of a table queues for its lock, and everybody else queues behind it.
IMPATIENCE = "set local lock_timeout = '4s'"
CREATE_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""
HISTORY_EXISTS = "select to_regclass('supabase_migrations.schema_migrations') is not null"
# As JSON, because the first versions of Supabase's CLI made the table without the other columns.
READ_HISTORY = "select to_jsonb(h)::text from supabase_migrations.schema_migrations h order by version"
RECORD = "insert into supabase_migrations.schema_migrations (version, statements, name) values ($1, $2, $3)"
# Supabase Auth keeps its people there; the baseline makes the schema, but never this table.
IS_SUPABASE = """
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'auth' and c.relname = 'users'
)
"""
_BETWEEN_STATEMENTS = "; \t\r\n"


class MigrationError(Exception):
    """The database was not brought to this version's schema. The text is a sentence for whoever runs it."""


class MigrationRefused(MigrationError):
    """What was applied to the database is not what this version knows; nothing was changed."""


class MigrationFailed(MigrationError):
    """A migration raised an error; nothing of it was applied, and those before it stay."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` is its time stamp, `name` the rest of its name."""

    version: str
    name: str
    sql: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.version}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has of the migrations, each list oldest first. `unknown` are versions that have no file here."""

    applied: Sequence[Migration]
    missing: Sequence[Migration]
    changed: Sequence[Migration]
    unknown: Sequence[str]

    @property
    def problem(self) -> str | None:
        """A sentence on why nothing may be applied, or None."""
        if self.changed:
            return (
                f"{self.changed[0].file} is not what was applied to this database: restore the file and put the change "
                "into a new migration (a database without worthwhile data may be dropped instead)."
            )
        if self.unknown:
            return (
                f"The database is ahead: this version does not know its migration {', '.join(self.unknown)}. Run the "
                "version that applied it, or choose a database that no other project migrates."
            )
        return None


def read_migrations(directory: Path | None = None) -> list[Migration]:
    """Return the migrations of `directory`, by default those shipped with this version, oldest first."""
    return [_read(path) for path in sorted((directory or _shipped()).glob("*.sql"))]


async def read_status(dsn: str, migrations: Sequence[Migration]) -> Status:
    """Compare `dsn` with `migrations` and change nothing. Raises what asyncpg raises."""
    async with open_connection(dsn) as connection, connection.transaction(readonly=True):
        return await compare(connection, migrations)


async def migrate(dsn: str, migrations: Sequence[Migration], *, baseline: bool) -> list[Migration]:
    """Apply those of `migrations` that `dsn` lacks, each in a transaction of its own, and return them.

    `baseline` first creates what Supabase itself would provide, unless the database is Supabase's. Any number of
    processes may migrate at once: an advisory lock makes them take turns. A process that dies leaves nothing half
    applied. Raises MigrationRefused, MigrationFailed, and what asyncpg raises when it cannot connect.
    """
    async with open_connection(dsn) as connection:
        async with connection.transaction():
            await _prepare(connection, baseline=baseline)
        applied = []
        while migration := await _apply_next(connection, migrations):
            applied.append(migration)
        return applied


async def rehearse(dsn: str, migrations: Sequence[Migration], *, baseline: bool) -> list[Migration]:
    """Do as `migrate` in one transaction, undo it, and return what would have been applied.

    For as long as it takes, it holds the locks that the migrations take. Raises as `migrate` does.
    """
    async with open_connection(dsn) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await _prepare(connection, baseline=baseline)
            missing = await _missing(connection, migrations)
            for migration in missing:
                await _apply(connection, migration)
            return missing
        finally:
            await transaction.rollback()


async def compare(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Status:
    """Compare the database that `connection` leads to with `migrations` and change nothing."""
    rows = await connection.fetch(READ_HISTORY) if await connection.fetchval(HISTORY_EXISTS) else []
    recorded = {row["version"]: row.get("statements") for row in (json.loads(row[0]) for row in rows)}
    present = [migration for migration in migrations if migration.version in recorded]
    return Status(
        applied=present,
        missing=[migration for migration in migrations if migration.version not in recorded],
        changed=[migration for migration in present if not _is_recorded(migration, recorded[migration.version])],
        unknown=sorted(recorded.keys() - {migration.version for migration in migrations}),
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


async def _prepare(connection: asyncpg.Connection, *, baseline: bool) -> None:
    await connection.execute(LOCK)
    if baseline and not await connection.fetchval(IS_SUPABASE):
        await connection.execute(files(__package__).joinpath("supabase_baseline.sql").read_text("utf-8"))
    await connection.execute(CREATE_HISTORY)


async def _apply_next(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Migration | None:
    async with connection.transaction():
        await connection.execute(LOCK)
        missing = await _missing(connection, migrations)
        if not missing:
            return None
        await _apply(connection, missing[0])
        return missing[0]


async def _missing(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    status = await compare(connection, migrations)
    if status.problem:
        raise MigrationRefused(status.problem)
    return list(status.missing)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(IMPATIENCE)
    try:
        await connection.execute(migration.sql)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{migration.file} failed, nothing of it was applied: {error.message}") from error
    await connection.execute(RECORD, migration.version, [migration.sql], migration.name)


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


def _read(path: Path) -> Migration:
    version, name = path.stem.split("_", 1)
    return Migration(version, name, path.read_text("utf-8"))


def _shipped() -> Path:
    """Return the folder in an installed wheel, or in a checkout the one that Supabase's CLI reads."""
    packaged = Path(str(files("wingmanmatch_server"))) / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "supabase" / "migrations"
