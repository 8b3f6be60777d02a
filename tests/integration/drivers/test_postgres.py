"""What is particular to the direct way to the database: connections, roles on them, and poolers in between."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.probes import sleeping
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import CallFailed
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.migration_files import read_migrations
from wingmanmatch_server.drivers.migrations import migrate
from wingmanmatch_server.drivers.postgres import PostgresDatabase, open_postgres
from wingmanmatch_server.drivers.postgres_address import behind_transaction_pooler
from wingmanmatch_server.drivers.postgres_connections import is_open
from wingmanmatch_server.resilience.deadline import set_deadline

KILL_OTHERS = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name = 'wingmanmatch'
"""


@pytest.fixture
async def sql(probed_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection."""
    connection = await asyncpg.connect(probed_dsn)
    yield connection
    await connection.close()


@pytest.fixture(params=["direct", "pooled"])
async def single(request: pytest.FixtureRequest, probed_dsn: str) -> AsyncIterator[PostgresDatabase]:
    """A driver with one connection, so that every call meets what the one before left; as behind a pooler too."""
    dsn = probed_dsn if request.param == "direct" else f"{probed_dsn}&pooler=transaction"
    async with open_postgres(dsn, max_connections=1, acquire_timeout=0.2) as database:
        yield database


async def test_cancelled_call_ends_in_the_database(
    single: PostgresDatabase, probed_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled call's statement is ended by the server, and its connection serves the next call."""
    call = asyncio.create_task(single.call("probe_sleep", p_seconds=30))
    await sleeping(probed_dsn, at_least=1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(2):
        await sleeping(probed_dsn, at_most=0)
        assert await single.call("probe_role") == "service_role"
    assert caplog.text == ""


async def test_deadline_ends_a_call_in_the_database(single: PostgresDatabase, probed_dsn: str) -> None:
    """A deadline around a call is a cancellation like any other."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await single.call("probe_sleep", p_seconds=30)
    async with asyncio.timeout(2):
        await sleeping(probed_dsn, at_most=0)


async def test_connections_run_out(single: PostgresDatabase, probed_dsn: str) -> None:
    """With the only connection busy another call is told so after its time to wait: that is no outage."""
    busy = asyncio.create_task(single.call("probe_sleep", p_seconds=0.5))
    await sleeping(probed_dsn, at_least=1)
    with pytest.raises(errors.ResourceExhausted) as refused:
        await single.call("probe_role")
    assert (refused.value.reason, refused.value.retry_after) == ("OVERLOADED", 1)
    await busy
    assert await single.call("probe_role") == "service_role"


async def test_waiting_calls_are_served(probed_dsn: str) -> None:
    """More calls than connections are all served, each in its turn."""
    async with open_postgres(probed_dsn, max_connections=2) as database:
        served = await asyncio.gather(*(database.call("probe_role") for _ in range(200)))
    assert served == ["service_role"] * 200


async def test_roles_do_not_stick(single: PostgresDatabase) -> None:
    """On one connection an anonymous call, a failed one too, leaves the next call to the service role."""
    assert await single.call_as_anonymous("probe_role") == "anon"
    assert await single.call("probe_role") == "service_role"
    with pytest.raises(CallFailed, match="42501"):
        await single.call_as_anonymous("probe_count")
    assert await single.call("probe_role") == "service_role"


async def test_failed_call_holds_nothing(
    single: PostgresDatabase, sql: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """After calls that raised no transaction stays open on their connection, and asyncpg had nothing to clear up."""
    with pytest.raises(errors.FailedPrecondition):
        await single.call("probe_write", p_name="never", p_fail=True)
    with pytest.raises(CallFailed):
        await single.call_as_anonymous("probe_count")
    assert caplog.text == ""
    states = await sql.fetch("select state from pg_stat_activity where application_name = 'wingmanmatch'")
    assert {row["state"] for row in states} == {"idle"}


async def test_closed_connections_are_replaced(probed_dsn: str, sql: asyncpg.Connection) -> None:
    """Connections that the server closed while idle are replaced without anybody noticing."""
    async with open_postgres(probed_dsn, max_connections=3) as database:
        await asyncio.gather(*(database.call("probe_role") for _ in range(3)))
        assert len(await sql.fetch(KILL_OTHERS)) == 3
        while any(holder._con and is_open(holder._con) for holder in database._connections._pool._holders):
            await asyncio.sleep(0)  # the news of it is still on its way
        assert await asyncio.gather(*(database.call("probe_role") for _ in range(3))) == ["service_role"] * 3


async def test_connection_lost_in_a_call_is_unavailable(single: PostgresDatabase, sql: asyncpg.Connection) -> None:
    """A call whose connection breaks is Unavailable, and the next one gets a new connection."""
    call = asyncio.create_task(single.call("probe_sleep", p_seconds=30))
    while not await sql.fetch(KILL_OTHERS.replace("'wingmanmatch'", "'wingmanmatch' and query like '%probe_sleep%'")):
        await asyncio.sleep(0.01)
    with pytest.raises(errors.Unavailable):
        await call
    assert await single.call("probe_role") == "service_role"


@pytest.mark.parametrize(("sqlstate", "all_of_them"), [("25006", True), ("57P01", True), ("55P03", False)])
async def test_connections_are_replaced_together(
    probed_dsn: str,
    sql: asyncpg.Connection,
    sqlstate: str,
    all_of_them: bool,  # noqa: FBT001
) -> None:
    """What shows that a server cannot serve closes all connections to it at once; being busy closes none."""
    query = "select pid from pg_stat_activity where datname = current_database() and application_name = 'wingmanmatch'"

    async def processes() -> set[int]:
        return {row["pid"] for row in await sql.fetch(query)}

    async with open_postgres(probed_dsn, max_connections=3) as database:
        await asyncio.gather(*(database.call("probe_sleep", p_seconds=0.1) for _ in range(3)))
        before = await processes()
        assert len(before) == 3
        with pytest.raises(errors.DomainError):
            await database.call("probe_raise", p_sqlstate=sqlstate, p_message="m")
        await asyncio.gather(*(database.call("probe_sleep", p_seconds=0.1) for _ in range(3)))
        assert (not before & await processes()) == all_of_them


async def ping_until_it_fails(database: PostgresDatabase) -> None:
    """Ping for ten seconds at most: the backends of a killed postmaster end when they notice, a moment later."""
    async with asyncio.timeout(10):
        while True:
            await database.ping()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_server_restarts(tmp_path: Path, how: signal.Signals) -> None:
    """A call during which PostgreSQL stops, or is killed, is Unavailable, as are others until it is back."""
    engines = start_postgres(tmp_path)
    try:
        await migrate(engines.postgres_dsn, read_migrations(), baseline=True)
        async with open_postgres(engines.postgres_dsn, max_connections=2) as database:
            await database.ping()
            call = asyncio.create_task(database.call("health"))
            if how is signal.SIGKILL:
                os.kill(engines.pids["PostgreSQL"], how)
            engines.stop()
            await asyncio.gather(call, return_exceptions=True)
            with pytest.raises(errors.Unavailable):
                await ping_until_it_fails(database)
            engines = start_postgres(tmp_path)
            assert await database.ping() > 0
    finally:
        engines.stop()


async def test_every_connection_has_limits(probed_dsn: str, sql: asyncpg.Connection) -> None:
    """The server ends a statement and a wait for a lock before the client would, behind a transaction pooler too."""
    await sql.execute(
        "create or replace function probe_limits() returns jsonb language sql as $$"
        " select jsonb_build_array(current_setting('statement_timeout'), current_setting('lock_timeout')) $$"
    )
    for dsn in (probed_dsn, f"{probed_dsn}&pooler=transaction"):
        async with open_postgres(dsn, max_connections=1) as database:
            assert await database.call("probe_limits") == ["4s", "1500ms"]
            assert await database.call_as_anonymous("probe_limits") == ["4s", "1500ms"]


async def test_limits_follow_the_deadline(single: PostgresDatabase, sql: asyncpg.Connection) -> None:
    """A caller who has little time waits a third of it for a lock, and what follows on the connection has its own."""
    await sql.execute(
        "create or replace function probe_lock() returns jsonb language sql as $$"
        " select to_jsonb(extract(epoch from current_setting('lock_timeout')::interval)) $$"
    )

    async def lock_timeout_of(seconds: float) -> float:
        set_deadline(time.monotonic() + seconds)
        return float(await single.call("probe_lock"))

    # Each in a task, and so with a deadline, of its own.
    assert await asyncio.create_task(lock_timeout_of(0.9)) == pytest.approx(0.3, abs=0.05)
    assert await asyncio.create_task(lock_timeout_of(60)) == 1.5
    assert await single.call("probe_lock") == 1.5


async def test_slow_statement_is_told_from_a_server_that_is_gone(single: PostgresDatabase) -> None:
    """A statement that takes too long is ended by the server, and its connection serves the next call."""
    with pytest.raises(errors.DeadlineExceeded):
        await single.call("probe_sleep", p_seconds=30)
    assert await single.call("probe_role") == "service_role"


async def test_parameter_without_a_place_in_its_type(single: PostgresDatabase) -> None:
    """A number that is too large for its type is a defect of ours, no outage, and is not quoted."""
    with pytest.raises(CallFailed) as caught:
        await single.call("probe_types", p_id=None, p_at=None, p_count=2**70, p_ratio=0.0, p_on=True, p_names=[])
    assert str(2**70) not in f"{caught.value}{caught.value.__cause__}"


async def test_nothing_answers() -> None:
    """Opening a database that is not there is Unavailable."""
    with pytest.raises(errors.Unavailable):
        async with open_postgres("postgresql://nobody@127.0.0.1:1/nothing"):
            pass


@pytest.mark.parametrize(
    ("dsn", "pooled"),
    [
        ("postgresql://u:p@db.example.test:5432/postgres", False),
        ("postgresql://u:p@db.example.test/postgres?sslmode=require", False),
        ("postgresql://u:p@db.example.test:6543/postgres", True),
        ("postgresql://u@/postgres?host=db.example.test&port=6543", True),
        ("postgresql://u:p@db.example.test:5432/postgres?pooler=transaction", True),
        ("postgresql://u:p@db.example.test:5432/postgres?pooler=session", False),
    ],
)
def test_poolers_are_told_apart(dsn: str, pooled: bool) -> None:  # noqa: FBT001
    """Supabase's port or the parameter tells a transaction pooler from what behaves as the database itself."""
    assert behind_transaction_pooler(dsn) is pooled


async def test_nothing_stays_on_a_pooled_connection(probed_dsn: str, sql: asyncpg.Connection) -> None:
    """As a transaction pooler needs it, a session keeps no role and no prepared statement, and nothing listens."""
    async with open_postgres(f"{probed_dsn}&pooler=transaction", max_connections=1) as database:
        for value in range(3):
            await database.call("probe_echo", p_value=value)
        await sql.execute(
            "create or replace function probe_session() returns jsonb language sql security definer as $$"
            " select jsonb_build_array(session_user, (select count(*) from pg_prepared_statements)) $$"
        )
        user, prepared = await database.call("probe_session")
        assert (user, prepared) == ("postgres", 0)
        assert await database.listen("notifications", lambda: None) is None


def start_postgres(folder: Path) -> EmbeddedEngines:
    """Start a PostgreSQL that is this test's alone."""
    engines = EmbeddedEngines(folder, valkey=False)
    engines.start()
    engines.wait()
    return engines
