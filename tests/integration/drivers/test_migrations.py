"""Migrations on every PostgreSQL at hand: clean, alone or many at once, whole or not at all, and never over a drift."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.databases import execute
from support.installations import EMBEDDED, cluster_of, empty_database, supabase_database
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migration_history import read_status
from wingmanmatch_server.drivers.migrations import CREATE_HISTORY, MigrationFailed, MigrationRefused, migrate, rehearse

FIRST = Migration("20300101000000", "create_first", "create table public.first (id integer);\n")
SECOND = Migration("20300102000000", "create_second", "create table public.second (id integer);\n")

# Everything in public that a role other than the owner could notice.
SCHEMA = """
select 'grant', c.oid::regclass::text, coalesce(r.rolname, 'public'), a.privilege_type
from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a left join pg_roles r on r.oid = a.grantee
where c.relnamespace = 'public'::regnamespace and a.grantee <> c.relowner
union all
select 'execute', p.oid::regprocedure::text, coalesce(r.rolname, 'public'), p.proconfig::text
from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a left join pg_roles r on r.oid = a.grantee
where p.pronamespace = 'public'::regnamespace and a.grantee <> p.proowner
union all
select 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod)
from pg_attribute join pg_class c on c.oid = attrelid
where c.relnamespace = 'public'::regnamespace and attnum > 0
union all
select 'policy', polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid) from pg_policy
order by 1, 2, 3, 4
"""


@pytest.fixture(params=[15, 16, 17, EMBEDDED], scope="module")
async def cluster(request: pytest.FixtureRequest, engines: EmbeddedEngines) -> AsyncIterator[str]:
    """The superuser's DSN on each version; those that this machine lacks are skipped by name."""
    with cluster_of(request.param, engines.postgres_dsn) as dsn:
        yield dsn


@pytest.fixture
async def empty(admin_dsn: str) -> AsyncIterator[str]:
    """The superuser's DSN of an empty database on the embedded engine."""
    async with empty_database(admin_dsn) as dsn:
        yield dsn


async def fetch(dsn: str, query: str) -> list[asyncpg.Record]:
    """Run one query on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def exists(dsn: str, table: str) -> bool:
    """Return whether the table is there."""
    [(oid,)] = await fetch(dsn, f"select to_regclass('{table}')")
    return oid is not None


async def test_empty_database_becomes_current(cluster: str) -> None:
    """All migrations apply to an empty database, and a second run finds nothing to do."""
    async with empty_database(cluster) as dsn:
        shipped = read_migrations()
        assert await migrate(dsn, shipped, baseline=True) == shipped
        assert await migrate(dsn, shipped, baseline=True) == []
        status = await read_status(dsn, shipped)
        assert (list(status.applied), status.missing, status.problem) == (shipped, [], None)


async def test_database_of_supabase_becomes_the_same(cluster: str) -> None:
    """Beside Supabase's own roles, grants, schemas and search_path the result is the same, by no superuser."""
    async with empty_database(cluster) as plain:
        await migrate(plain, read_migrations(), baseline=True)
        async with supabase_database(cluster) as theirs:
            before = await fetch(theirs, "select prosrc from pg_proc where proname = 'uid'")
            await migrate(theirs, read_migrations(), baseline=True)
            assert await fetch(theirs, SCHEMA) == await fetch(plain, SCHEMA)
            assert await fetch(theirs, "select prosrc from pg_proc where proname = 'uid'") == before


async def test_seed_runs_on_the_migrated_schema(fresh_database_dsn: str) -> None:
    """What `supabase db reset` runs after the migrations leaves two people who find each other."""
    seed = Path(__file__).resolve().parents[3] / "supabase" / "seed.sql"
    await execute(fresh_database_dsn, seed.read_text("utf-8"))
    assert await fetch(fresh_database_dsn, "select count(*) from public.match_pool") == [(2,)]


async def test_many_at_once_apply_each_migration_once(empty: str) -> None:
    """Of servers that start together each migration is applied by exactly one, and all end up current."""
    shipped = read_migrations()
    answers = await asyncio.gather(*(migrate(empty, shipped, baseline=True) for _ in range(5)))
    assert sorted(migration.version for answer in answers for migration in answer) == [each.version for each in shipped]


async def test_failing_migration_is_named_and_leaves_nothing(empty: str) -> None:
    """The one before stays, of the failing one nothing does, and putting it right goes on from there."""
    broken = Migration(SECOND.version, SECOND.name, SECOND.sql + "select 1 / 0;")
    with pytest.raises(MigrationFailed, match=r"20300102000000_create_second\.sql failed.*division by zero"):
        await migrate(empty, [FIRST, broken], baseline=False)
    assert await exists(empty, "public.first")
    assert not await exists(empty, "public.second")
    assert await migrate(empty, [FIRST, SECOND], baseline=False) == [SECOND]


async def test_lost_connection_leaves_nothing_half_applied(empty: str) -> None:
    """A connection that dies in mid-file leaves neither its table nor its record, and the next run works."""
    slow = Migration(SECOND.version, SECOND.name, SECOND.sql + "select pg_sleep(60);")
    running_migration = asyncio.create_task(migrate(empty, [FIRST, slow], baseline=False))
    killing = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> "
    while not await fetch(empty, f"{killing} pg_backend_pid() and wait_event = 'PgSleep'"):
        await asyncio.sleep(0.01)
    with pytest.raises((MigrationFailed, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await running_migration
    assert not await exists(empty, "public.second")
    assert await migrate(empty, [FIRST, SECOND], baseline=False) == [SECOND]


async def test_changed_file_is_refused_by_name(empty: str) -> None:
    """A file that is not what was applied stops everything, and the sentence names it."""
    await migrate(empty, [FIRST], baseline=False)
    edited = Migration(FIRST.version, FIRST.name, FIRST.sql.replace("integer", "bigint"))
    with pytest.raises(MigrationRefused, match=r"20300101000000_create_first\.sql is not what was applied"):
        await migrate(empty, [edited, SECOND], baseline=False)
    assert not await exists(empty, "public.second")
    assert (await read_status(empty, [edited, SECOND])).changed == [edited]


FILE = "-- why\ncreate table a (b text default ';');\n\n-- then\ncreate table c ();\n"


@pytest.mark.parametrize(
    ("statements", "same"),
    [
        (["-- why\ncreate table a (b text default ';')", "-- then\ncreate table c ()"], True),
        ([FILE], True),
        ([FILE.replace("\n", "\r\n")], True),
        (None, True),
        (["-- why\ncreate table a (b text default '')", "-- then\ncreate table c ()"], False),
        (["-- then\ncreate table c ()", "-- why\ncreate table a (b text default ';')"], False),
        (["-- why\ncreate table a (b text default ';')"], False),
        (["-- why\ncreate table a (b text default ';')", "-- then\ncreate table c ()", "drop table a"], False),
        ([], False),
    ],
)
async def test_record_of_supabases_cli_is_understood(empty: str, statements: list[str] | None, *, same: bool) -> None:
    """The CLI records a file split at its semicolons: that is the same file, and any other difference is a drift."""
    await execute(empty, CREATE_HISTORY)
    connection = await asyncpg.connect(empty)
    record = "insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, 'a', $2)"
    await connection.execute(record, "20300101000000", statements)
    await connection.close()
    status = await read_status(empty, [Migration("20300101000000", "a", FILE)])
    assert (status.problem is None) == same


async def test_history_of_the_first_cli_is_understood(empty: str) -> None:
    """A history of nothing but versions is taken as it is, and completed."""
    await execute(empty, "create schema supabase_migrations")
    await execute(empty, "create table supabase_migrations.schema_migrations (version text primary key)")
    await execute(empty, f"insert into supabase_migrations.schema_migrations values ('{FIRST.version}')")
    assert (await read_status(empty, [FIRST])).problem is None
    assert await migrate(empty, [FIRST, SECOND], baseline=False) == [SECOND]


async def test_rehearsal_applies_and_undoes_everything(empty: str) -> None:
    """It says what would be applied, finds a file that fails, and leaves not even the history."""
    assert await rehearse(empty, [FIRST, SECOND], baseline=True) == [FIRST, SECOND]
    broken = Migration(SECOND.version, SECOND.name, "select 1 / 0;")
    with pytest.raises(MigrationFailed, match="create_second"):
        await rehearse(empty, [FIRST, broken], baseline=True)
    for table in ("public.first", "supabase_migrations.schema_migrations"):
        assert not await exists(empty, table)


async def test_status_changes_nothing(empty: str) -> None:
    """Looking at an untouched database leaves it untouched."""
    assert (await read_status(empty, [FIRST])).missing == [FIRST]
    assert not await exists(empty, "supabase_migrations.schema_migrations")
