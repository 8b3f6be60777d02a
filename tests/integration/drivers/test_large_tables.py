"""Migrations of tables that are in use: they wait for locks in short tries, and may run outside a transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.databases import execute
from support.installations import empty_database
from wingmanmatch_server.drivers.migration_files import Migration, split_statements
from wingmanmatch_server.drivers.migrations import MigrationFailed, migrate

ROWS = 5000
TABLE = Migration(
    "20300101000000",
    "create_people",
    f"create table public.people (id integer primary key, name text, initial text);\n"
    f"insert into public.people select n, 'name ' || n from generate_series(1, {ROWS}) n;\n",
)
ADD_COLUMN = Migration("20300102000000", "add_height", "alter table public.people add column height integer;\n")
BACKFILL = """
-- In batches: each commits by itself, and a run that was interrupted goes on where it stopped.
do $$
begin
    loop
        update public.people set initial = left(name, 1)
        where id in (select id from public.people where initial is null limit 1000);
        exit when not found;
        commit;
    end loop;
end
$$;
"""
BUILD = "create index concurrently if not exists people_by_name on public.people (name);\n"
OUTSIDE = Migration(
    "20300103000000", "backfill_initials", f"-- oldest-server: 20300102000000\n-- transaction: none\n{BACKFILL}{BUILD}"
)


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database with a table of people."""
    async with empty_database(admin_dsn) as dsn:
        await migrate(dsn, [TABLE], baseline=False)
        yield dsn


@asynccontextmanager
async def reading(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Read the table in a transaction that stays open for the length of the context, as a long report does."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetchval("select count(*) from public.people")
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def scalar(dsn: str, query: str) -> object:
    """Return the first value of a query on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_lock_that_is_held_is_waited_for(dsn: str) -> None:
    """A migration steps back from a lock and tries again until it gets it; it says once that it waits."""
    waited: list[Migration] = []
    waiting = asyncio.Event()

    def on_wait(migration: Migration) -> None:
        waited.append(migration)
        waiting.set()

    async with reading(dsn):
        work = asyncio.create_task(migrate(dsn, [TABLE, ADD_COLUMN], baseline=False, on_wait=on_wait))
        await waiting.wait()
        # Between two tries nobody queues behind it.
        assert await scalar(dsn, "select count(*) from public.people") == ROWS
        assert not work.done()
    assert await work == [ADD_COLUMN]
    assert waited == [ADD_COLUMN]


async def test_statements_run_outside_a_transaction(dsn: str) -> None:
    """A file that says so may build indexes concurrently and commit in batches; it is recorded once it is through."""
    assert await migrate(dsn, [TABLE, OUTSIDE], baseline=False) == [OUTSIDE]
    assert await migrate(dsn, [TABLE, OUTSIDE], baseline=False) == []
    assert await scalar(dsn, "select count(*) from public.people where initial = 'n'") == ROWS
    assert await scalar(dsn, "select indisvalid from pg_index where indexrelid = 'public.people_by_name'::regclass")


async def test_interrupted_build_is_begun_again(dsn: str) -> None:
    """After a crash in the middle the next run keeps the batches, drops the unusable index and builds it anew."""
    async with reading(dsn):
        work = asyncio.create_task(migrate(dsn, [TABLE, OUTSIDE], baseline=False))
        # The build waits for the reader's transaction; by then the batches are committed.
        killing = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'create index%'"
        while not await scalar(dsn, f"{killing} and wait_event_type = 'Lock'"):
            await asyncio.sleep(0.01)
        with pytest.raises((MigrationFailed, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await work
    assert await scalar(dsn, "select count(*) from public.people where initial = 'n'") == ROWS
    assert not await scalar(dsn, "select indisvalid from pg_index where indexrelid = 'public.people_by_name'::regclass")
    assert await migrate(dsn, [TABLE, OUTSIDE], baseline=False) == [OUTSIDE]
    assert await scalar(dsn, "select indisvalid from pg_index where indexrelid = 'public.people_by_name'::regclass")


async def test_unusable_indexes_of_others_are_left(dsn: str) -> None:
    """An index that somebody else is building is not the migration's to drop."""
    async with reading(dsn):
        others = asyncio.create_task(execute(dsn, "create index concurrently others on public.people (initial)"))
        while not await scalar(dsn, "select to_regclass('public.others') is not null"):
            await asyncio.sleep(0.01)
        work = asyncio.create_task(migrate(dsn, [TABLE, OUTSIDE], baseline=False))
    await asyncio.gather(others, work)
    assert await scalar(dsn, "select indisvalid from pg_index where indexrelid = 'public.others'::regclass")


async def test_many_at_once_run_it_once(dsn: str) -> None:
    """Servers that start together take turns with a file outside a transaction too."""
    answers = await asyncio.gather(*(migrate(dsn, [TABLE, OUTSIDE], baseline=False) for _ in range(4)))
    assert [migration for answer in answers for migration in answer] == [OUTSIDE]


async def test_transaction_pooler_is_refused(dsn: str) -> None:
    """What needs a session of its own is not tried through a transaction pooler."""
    with pytest.raises(MigrationFailed, match=r"backfill_initials\.sql cannot run through a transaction pooler"):
        await migrate(f"{dsn}&pooler=transaction", [TABLE, OUTSIDE], baseline=False)


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';';\n-- a ; b\nselect \";\"", ["select ';'", '-- a ; b\nselect ";"']),
        ("do $$ begin; end $$;\nselect $a$ ; $$ ; $a$", ["do $$ begin; end $$", "select $a$ ; $$ ; $a$"]),
        ("/* ; */ select 1;\n-- the end\n", ["/* ; */ select 1"]),
    ],
)
def test_statements_are_split_at_their_ends(sql: str, statements: list[str]) -> None:
    """A semicolon in a text, a name, a comment or a function's body ends nothing."""
    assert split_statements(sql) == statements
