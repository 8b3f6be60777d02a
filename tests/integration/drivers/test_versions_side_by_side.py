"""Which servers start on which schema: the first line of each migration decides, whoever applied it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from support.databases import TRANSPORTS, execute, open_database
from support.installations import empty_database
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.migration_files import Migration, read_migrations
from wingmanmatch_server.drivers.migration_history import read_status
from wingmanmatch_server.drivers.migrations import MigrationRefused, migrate
from wingmanmatch_server.drivers.schema_version import SchemaRefused, require_usable_schema

SHIPPED = read_migrations()
KNOWN = [migration.version for migration in SHIPPED]
NEWEST = KNOWN[-1]
LATER = "20990101000000"
LATEST = "20990102000000"


def made(version: str, oldest_server: str | None) -> Migration:
    """Return a migration that changes nothing, with the header, or without one."""
    header = f"-- oldest-server: {oldest_server}\n" if oldest_server else "-- says nothing\n"
    return Migration(version, "change_nothing", f"{header}select 1;\n")


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database of its own at this version's schema."""
    async with empty_database(admin_dsn) as dsn:
        await migrate(dsn, SHIPPED, baseline=True)
        yield dsn


@pytest.fixture(params=[*TRANSPORTS, "pooler"])
async def database(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Database]:
    """The same database as a server reaches it: directly, by REST, and as through a transaction pooler."""
    pooled = request.param == "pooler"
    async with open_database(
        f"{dsn}&pooler=transaction" if pooled else dsn, "postgres" if pooled else request.param
    ) as opened:
        yield opened


async def test_own_schema_is_usable(database: Database) -> None:
    """A server starts on the schema that it ships."""
    await require_usable_schema(database, KNOWN)


@pytest.mark.parametrize("oldest_server", [KNOWN[0], NEWEST])
async def test_newer_schema_that_allows_it_is_usable(dsn: str, database: Database, oldest_server: str) -> None:
    """A server starts on a newer schema whose migrations name it, or an older one than it, as the oldest server."""
    await migrate(dsn, [*SHIPPED, made(LATER, oldest_server)], baseline=True)
    await require_usable_schema(database, KNOWN)
    status = await read_status(dsn, SHIPPED)
    assert (status.problem, status.missing, status.unknown) == (None, [], [LATER])
    assert await migrate(dsn, SHIPPED, baseline=True) == []


@pytest.mark.parametrize(
    ("oldest_server", "sentence"),
    [
        (LATER, f"too new for this version: migration {LATER} needs a server that knows {LATER}.*a newer version"),
        (None, f"has migration {LATER}, which does not say which servers work after it"),
    ],
    ids=["excluded", "without a header"],
)
async def test_newer_schema_that_excludes_it_is_refused(
    dsn: str, database: Database, oldest_server: str | None, sentence: str
) -> None:
    """A server that a migration excludes neither starts nor migrates, and one sentence says why."""
    await migrate(dsn, [*SHIPPED, made(LATER, oldest_server)], baseline=True)
    with pytest.raises(SchemaRefused, match=sentence):
        await require_usable_schema(database, KNOWN)
    with pytest.raises(MigrationRefused, match=sentence):
        await migrate(dsn, SHIPPED, baseline=True)


async def test_exclusion_outlasts_a_later_compatible_migration(dsn: str, database: Database) -> None:
    """After a contracting migration, one that is compatible with its predecessor lets no older server back in."""
    await migrate(dsn, [*SHIPPED, made(LATER, LATER), made(LATEST, NEWEST)], baseline=True)
    with pytest.raises(SchemaRefused, match=f"migration {LATER} needs"):
        await require_usable_schema(database, KNOWN)


async def test_older_schema_is_refused(database: Database) -> None:
    """A server that needs a migration which is not there says how to apply it."""
    with pytest.raises(SchemaRefused, match=f"lacks migration {LATER}.*`wingmanmatch migrate`"):
        await require_usable_schema(database, [*KNOWN, LATER])


async def test_branches_are_refused(dsn: str, database: Database) -> None:
    """A database that has another branch's migration and lacks one of ours is left alone."""
    await migrate(dsn, [*SHIPPED, made(LATER, NEWEST)], baseline=True)
    with pytest.raises(SchemaRefused, match=f"{LATER}, unknown to this version, but lacks {LATEST}"):
        await require_usable_schema(database, [*KNOWN, LATEST])


async def test_headers_recorded_by_supabases_cli_count(dsn: str, database: Database) -> None:
    """The CLI records the statements with their comments, so what it applied is understood as what we applied."""
    connection = await asyncpg.connect(dsn)
    record = "insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, 'x', $2)"
    await connection.execute(record, LATER, [f"-- oldest-server: {NEWEST}\n--\n-- Why.\n\nselect 1", "select 2"])
    await require_usable_schema(database, KNOWN)
    await connection.execute(record, LATEST, [f"-- oldest-server: {LATEST}\nselect 1", "select 2"])
    await connection.close()
    with pytest.raises(SchemaRefused, match=LATEST):
        await require_usable_schema(database, KNOWN)


async def test_files_before_the_baseline_are_refused(dsn: str, database: Database) -> None:
    """A database from before the first release is told to start afresh."""
    await execute(dsn, "insert into supabase_migrations.schema_migrations (version) values ('20261122090000')")
    with pytest.raises(SchemaRefused, match=r"20261122090000, from before the first release.*Start afresh"):
        await require_usable_schema(database, KNOWN)


async def test_role_that_only_serves_reads_the_versions(dsn: str, admin_dsn: str) -> None:
    """A role that may act as the service role, and no more, finds a current schema current and cannot migrate."""
    role = f"server_{dsn.partition('?')[0].rpartition('_')[2]}"
    await execute(admin_dsn, f"create role {role} login in role anon, service_role")
    try:
        lesser = dsn.replace("postgres@", f"{role}@", 1)
        assert await migrate(lesser, SHIPPED, baseline=True) == []
        async with open_database(lesser, "postgres") as database:
            await require_usable_schema(database, KNOWN)
        with pytest.raises(Exception, match="role may not migrate"):
            await migrate(lesser, [*SHIPPED, made(LATER, NEWEST)], baseline=True)
    finally:
        await execute(admin_dsn, f"drop role {role}")
