"""An address with several hosts, of which some do not answer, refuse or only read."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from support.databases import execute
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.postgres import open_postgres
from wingmanmatch_server.drivers.postgres_address import CONNECT_TIMEOUT, Connector, parse_address

REFUSING = 1  # a port at which nobody listens


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a host that takes connections and never answers."""
    over = asyncio.Event()

    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    over.set()
    server.close()
    await server.wait_closed()


def behind(dsn: str, port: int, more: str = "") -> str:
    """Return the address of a database whose first host is another one, on this port."""
    parts = urlsplit(dsn)
    socket = parse_qs(parts.query)["host"][0]
    return f"postgresql://postgres@{parts.path}?host=127.0.0.1,{socket}&port={port},5432{more}"


async def test_silent_host_costs_one_connection_half_a_second(fresh_database_dsn: str, silent: int) -> None:
    """The others are tried beside a host that does not answer, and the one that did is tried first from then on."""
    connector = Connector(parse_address(behind(fresh_database_dsn, silent)), timeout=CONNECT_TIMEOUT)
    took = []
    for _ in range(2):
        started = time.monotonic()
        connection = await connector.connect()
        took.append(time.monotonic() - started)
        await connection.close()
    assert took[0] < 1.5
    assert took[1] < 0.5


async def test_refusing_host_is_passed_over(fresh_database_dsn: str) -> None:
    """A host that refuses connections keeps nobody from the next."""
    async with open_postgres(behind(fresh_database_dsn, REFUSING)) as database:
        assert await database.ping() > 0


async def test_no_host_answers() -> None:
    """Where no host answers it is an outage."""
    with pytest.raises(errors.Unavailable):
        async with open_postgres(f"postgresql://nobody@127.0.0.1:{REFUSING},127.0.0.1:{REFUSING}/nothing"):
            pass


async def test_read_only_hosts_are_not_taken(fresh_database_dsn: str) -> None:
    """Of several hosts only one that takes changes will do, unless the address says that any will."""
    name = fresh_database_dsn.partition("?")[0].rpartition("/")[2]
    await execute(fresh_database_dsn, f"alter database {name} set default_transaction_read_only = on")
    with pytest.raises(errors.Unavailable):
        async with open_postgres(behind(fresh_database_dsn, REFUSING)):
            pass
    async with open_postgres(behind(fresh_database_dsn, REFUSING, "&target_session_attrs=any")) as database:
        assert await database.ping() > 0
        with pytest.raises(errors.Unavailable) as caught:
            await database.probe()
    assert caught.value.evidence is errors.Evidence.REFUSES_WRITES


async def test_abandoned_attempts_are_closed(fresh_database_dsn: str, silent: int) -> None:
    """Of the hosts that answer, only the connection that is returned stays open."""
    address = behind(fresh_database_dsn, silent)
    sql = await asyncpg.connect(fresh_database_dsn)
    try:
        connection = await Connector(parse_address(address), timeout=CONNECT_TIMEOUT).connect()
        count = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        assert await sql.fetchval(count) == 1
        await connection.close()
    finally:
        await sql.close()
