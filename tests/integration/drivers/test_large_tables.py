"""Migrations of tables that are in use: they wait for locks in short tries, and may run outside a transaction."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from support.databases import execute
from support.installations import empty_database
from wingmanmatch_server.drivers.migration_files import Migration, split_statements
from wingmanmatch_server.drivers.migrations import MigrationFailed, MigrationRefused, migrate, rehearse

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


SLEEP = Migration(
    "20300104000000",
    "take_time",
    "-- oldest-server: 20300102000000\n-- transaction: none\ndo $$ begin perform pg_sleep(2); end $$;\n",
)
SLEEPING = """
select count(*) from pg_stat_activity
where query like '%perform pg_sleep(2)%' and state = 'active' and pid <> pg_backend_pid()
"""
MIGRATE = """
import asyncio, sys
from wingmanmatch_server.drivers.migration_files import Migration
from wingmanmatch_server.drivers.migrations import migrate
asyncio.run(migrate(sys.argv[1], [Migration(*sys.argv[2:5]), Migration(*sys.argv[5:8])], baseline=False))
"""


async def test_statement_that_outlives_its_migrator_is_waited_for(dsn: str) -> None:
    """After a migrator is killed the next one begins once the statement under way has ended, not beside it."""
    arguments = [part for each in (TABLE, SLEEP) for part in (each.version, each.name, each.sql)]
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, dsn, *arguments)
    while not await scalar(dsn, SLEEPING):
        await asyncio.sleep(0.01)
    killed.kill()
    await killed.wait()
    assert await scalar(dsn, SLEEPING) == 1
    work = asyncio.create_task(migrate(dsn, [TABLE, SLEEP], baseline=False))
    beside = []
    while not work.done():
        beside.append(await scalar(dsn, SLEEPING))
        await asyncio.sleep(0.05)
    assert set(beside) <= {0, 1}
    assert await work == [SLEEP]


async def test_impatience_with_idle_transactions_changes_nothing(dsn: str) -> None:
    """A database that ends idle transactions soon does not end a migrator's turn in the middle of a statement."""
    name = dsn.partition("?")[0].rpartition("/")[2]
    await execute(dsn, f"alter database {name} set idle_in_transaction_session_timeout = '500ms'")
    answers = await asyncio.gather(*(migrate(dsn, [TABLE, SLEEP], baseline=False) for _ in range(2)))
    assert [migration for answer in answers for migration in answer] == [SLEEP]


async def test_migration_without_a_statement_is_recorded(dsn: str) -> None:
    """Comments alone are no error."""
    nothing = Migration("20300105000000", "do_nothing", "-- oldest-server: 20300101000000\n-- Nothing to do.\n")
    assert await migrate(dsn, [TABLE, nothing], baseline=False) == [nothing]
    assert await migrate(dsn, [TABLE, nothing], baseline=False) == []


async def test_reader_of_the_history_holds_nothing_up(dsn: str) -> None:
    """A transaction that has read the history, as a backup does, is not waited for."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.fetch("select * from supabase_migrations.schema_migrations")
        async with asyncio.timeout(5):
            assert await migrate(dsn, [TABLE, ADD_COLUMN], baseline=False) == [ADD_COLUMN]
    await connection.close()


async def test_rehearsal_does_not_queue_for_a_lock(dsn: str) -> None:
    """A dry run gives up after a moment and says which file would have to wait."""
    async with reading(dsn):
        with pytest.raises(MigrationFailed, match=r"add_height\.sql needs a lock that another session holds"):
            await rehearse(dsn, [TABLE, ADD_COLUMN], baseline=False)


async def test_undecided_migration_is_refused(dsn: str) -> None:
    """What `make migration` left to a person is not applied, so that the file may still change."""
    undecided = Migration(ADD_COLUMN.version, ADD_COLUMN.name, "-- DECIDE: why\n" + ADD_COLUMN.sql)
    with pytest.raises(MigrationRefused, match=r"add_height\.sql has a line that begins with `-- DECIDE:`"):
        await migrate(dsn, [TABLE, undecided], baseline=False)


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
