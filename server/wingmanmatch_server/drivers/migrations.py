"""Bring a database to the schema that this version expects.

Migrations are recorded where Supabase's own CLI records them, so either tool may apply the next one. They only go
forward: an applied file never changes, what it got wrong is put right by a new one.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import takewhile

import asyncpg
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from wingmanmatch_server.drivers.migration_files import DECIDE, Migration, split_statements
from wingmanmatch_server.drivers.migration_history import compare, open_connection, read_status
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler

# Taken in each transaction and not for a session, which a transaction pooler would not keep together. Polled, because a
# statement that waits has a snapshot, for which an index that is built concurrently would wait.
TRY_LOCK = "select pg_try_advisory_xact_lock(7460911823)"
TRY_SESSION_LOCK = "select pg_try_advisory_lock(7460911823)"
LOCK_INTERVAL = 0.1  # seconds
# A change of a table queues for its lock, and every caller queues behind it: better to step back and come again, before
# callers' own limits on waiting for a lock are reached.
LOCK_TIMEOUT = "1s"
LOCK_PATIENCE = 600.0  # seconds for which a migration tries to get its locks
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between two tries
CREATE_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""
HISTORY_IS_COMPLETE = """
select count(*) = 2
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations' and a.attname in ('statements', 'name')
"""
RECORD = "insert into supabase_migrations.schema_migrations (version, statements, name) values ($1, $2, $3)"
# Supabase Auth keeps its people there; the baseline makes the schema, but never this table.
IS_SUPABASE = """
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'auth' and c.relname = 'users'
)
"""
INVALID_INDEXES = """
select c.relname, format('drop index concurrently if exists %I.%I', n.nspname, c.relname)
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and n.nspname in ('public', 'internal')
"""

# What Supabase itself provides before the first migration.
BASELINE_OF_SUPABASE = files(__package__).joinpath("supabase_baseline.sql")

# Called once for a migration that has to wait for a lock.
OnWait = Callable[[Migration], None]


class MigrationError(Exception):
    """The database was not brought to this version's schema. The text is a sentence for whoever runs it."""


class MigrationRefused(MigrationError):
    """What was applied to the database is not what this version knows; nothing was changed."""


class MigrationFailed(MigrationError):
    """A migration raised an error.

    Nothing of it was applied, unless it runs outside a transaction, and those before it stay.
    """


async def migrate(
    dsn: str, migrations: Sequence[Migration], *, baseline: bool, on_wait: OnWait = lambda _migration: None
) -> list[Migration]:
    """Apply those of `migrations` that `dsn` lacks, each in a transaction of its own unless it says otherwise.

    Return them. `baseline` first creates what Supabase itself would provide, unless the database is Supabase's. Any
    number of processes may migrate at once: an advisory lock makes them take turns. A process that dies leaves nothing
    half applied; a migration outside a transaction is begun again by the next run. A lock that is held elsewhere is
    waited for up to `LOCK_PATIENCE` in short tries, and `on_wait` is called at the first wait.

    A database that lacks nothing is only read. Raises MigrationRefused, MigrationFailed, and what asyncpg raises.
    """
    status = await read_status(dsn, migrations)
    if status.problem:
        raise MigrationRefused(status.problem)
    if undecided := next((each for each in status.missing if DECIDE in each.sql), None):
        raise MigrationRefused(f"{undecided.file} has a line that begins with `-- DECIDE:`; decide, and remove it.")
    if not status.missing:
        return []
    async with open_connection(dsn) as connection:
        async with connection.transaction():
            await _prepare(connection, baseline=baseline)
        applied: list[Migration] = []
        while missing := await _missing(connection, migrations):
            if await _apply_patiently(connection, dsn, missing[0], on_wait):
                applied.append(missing[0])
        # PostgREST keeps the schema in memory, and answers PGRST202 for functions that it has not seen.
        await connection.execute("notify pgrst, 'reload schema'")
        return applied


async def rehearse(dsn: str, migrations: Sequence[Migration], *, baseline: bool) -> list[Migration]:
    """Do as `migrate` in one transaction, undo it, and return what would have been applied.

    For as long as it takes, it holds the locks that the migrations take. One that runs outside a transaction, and what
    follows it, is listed and not tried. Raises as `migrate` does.
    """
    async with open_connection(dsn) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await _prepare(connection, baseline=baseline)
            missing = await _missing(connection, migrations)
            await _try_all(connection, missing)
            return missing
        finally:
            await transaction.rollback()


async def _try_all(connection: asyncpg.Connection, missing: Sequence[Migration]) -> None:
    await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
    for migration in takewhile(lambda each: each.in_transaction, missing):
        try:
            await _apply(connection, migration)
        except asyncpg.LockNotAvailableError:
            raise MigrationFailed(
                f"{migration.file} needs a lock that another session holds; a migration would wait for it. Try again."
            ) from None
        except asyncpg.PostgresError as error:
            raise MigrationFailed(_failure(migration, error)) from error


async def _prepare(connection: asyncpg.Connection, *, baseline: bool) -> None:
    try:
        await _take_turn(connection)
        await _prepare_as_owner(connection, baseline=baseline)
    except asyncpg.InsufficientPrivilegeError:
        raise MigrationFailed(
            "DATABASE_URL's role may not migrate: run `wingmanmatch migrate` with the address of the schema's owner."
        ) from None


async def _prepare_as_owner(connection: asyncpg.Connection, *, baseline: bool) -> None:
    if baseline and not await connection.fetchval(IS_SUPABASE):
        await connection.execute(BASELINE_OF_SUPABASE.read_text("utf-8"))
    # To alter the table, even without effect, waits for whoever reads it, and everybody else behind it.
    if not await connection.fetchval(HISTORY_IS_COMPLETE):
        await connection.execute(CREATE_HISTORY)


async def _apply_patiently(connection: asyncpg.Connection, dsn: str, migration: Migration, on_wait: OnWait) -> bool:
    """Return whether it was applied here, and not by somebody else in the meantime."""
    tries = AsyncRetrying(
        retry=retry_if_exception_type((asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)),
        stop=stop_after_delay(LOCK_PATIENCE),
        wait=wait_random_exponential(min=SHORTEST_WAIT, max=LONGEST_WAIT),
        before_sleep=lambda state: _announce_first(state, migration, on_wait),
        reraise=True,
    )
    attempt = _in_transaction if migration.in_transaction else _outside_transaction
    try:
        return await tries(attempt, connection, dsn, migration)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(_failure(migration, error)) from error


def _announce_first(state: RetryCallState, migration: Migration, on_wait: OnWait) -> None:
    if state.attempt_number == 1:
        on_wait(migration)


def _failure(migration: Migration, error: asyncpg.PostgresError) -> str:
    if isinstance(error, asyncpg.LockNotAvailableError):
        return (
            f"{migration.file} could not get its locks within {LOCK_PATIENCE:.0f} s: end the transactions that hold "
            "them (pg_stat_activity shows them), and migrate again."
        )
    kept = "nothing of it was applied" if migration.in_transaction else "its next run begins it again"
    return f"{migration.file} failed, {kept}: {error.message}"


async def _missing(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    async with connection.transaction():
        status = await compare(connection, migrations)
    if status.problem:
        raise MigrationRefused(status.problem)
    return list(status.missing)


async def _in_transaction(connection: asyncpg.Connection, _dsn: str, migration: Migration) -> bool:
    async with connection.transaction():
        await _take_turn(connection)
        if await _is_applied(connection, migration):
            return False
        await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        await _apply(connection, migration)
        return True


async def _outside_transaction(_connection: asyncpg.Connection, dsn: str, migration: Migration) -> bool:
    """Run the statements one by one, on a connection of its own that keeps other migrators out for as long as it lives.

    So a statement that outlives a killed migrator keeps the next one waiting until it has ended.
    """
    if behind_transaction_pooler(dsn):
        raise MigrationFailed(f"{migration.file} cannot run through a transaction pooler: use the direct address.")
    async with open_connection(dsn) as connection:
        await _take_turn(connection, TRY_SESSION_LOCK)
        if await _is_applied(connection, migration):
            return False
        await _drop_interrupted_indexes(connection, migration)
        for statement in split_statements(migration.sql):
            # A concurrent build waits for others and blocks none of them; interrupted, it would start over.
            patience = 0 if "concurrently" in statement.lower() else LOCK_TIMEOUT
            await connection.execute(f"set lock_timeout = '{patience}'")
            await connection.execute(statement)
        await _record(connection, migration)
        return True


async def _drop_interrupted_indexes(connection: asyncpg.Connection, migration: Migration) -> None:
    """Drop what an interrupted `create index concurrently` of this file left: written to, and never used."""
    for name, statement in await connection.fetch(INVALID_INDEXES):
        if re.search(rf"\b{re.escape(name)}\b", migration.sql):
            await connection.execute(statement)


async def _take_turn(connection: asyncpg.Connection, try_lock: str = TRY_LOCK) -> None:
    """Keep other migrators out until the transaction ends, or the session for `TRY_SESSION_LOCK`."""
    while True:
        taken = await connection.fetchval(try_lock)
        # The portal of that query keeps its snapshot until the next statement; a simple query opens none.
        await connection.execute("select")
        if taken:
            return
        await asyncio.sleep(LOCK_INTERVAL)


async def _is_applied(connection: asyncpg.Connection, migration: Migration) -> bool:
    query = "select exists (select from supabase_migrations.schema_migrations where version = $1)"
    return bool(await connection.fetchval(query, migration.version))


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    if split_statements(migration.sql):
        await connection.execute(migration.sql)
    await _record(connection, migration)


async def _record(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(RECORD, migration.version, [migration.sql], migration.name)
