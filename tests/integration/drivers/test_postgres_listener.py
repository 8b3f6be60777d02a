"""NOTIFY on one connection for all channels, which is replaced when it is lost or says nothing any more."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from wingmanmatch_server.drivers.postgres import AWAY, open_postgres
from wingmanmatch_server.drivers.postgres_listener import Listener

BACKENDS = """
select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and query <> ''
    and backend_type = 'client backend' order by backend_start
"""


class Heard:
    """What was said on a channel."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[str | None] = asyncio.Queue()

    def __call__(self, payload: str | None) -> None:
        """Note it."""
        self._said.put_nowait(payload)

    async def next(self) -> str | None:
        """Return what is said next."""
        async with asyncio.timeout(10):
            return await self._said.get()

    @property
    def is_silent(self) -> bool:
        """Whether nothing was said that was not asked for yet."""
        return self._said.empty()


@pytest.fixture
async def sql(fresh_database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who notifies."""
    connection = await asyncpg.connect(fresh_database_dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def listener(fresh_database_dsn: str) -> Listener:
    """One that gives up a connection soon."""

    async def connect() -> Any:
        return await asyncpg.connect(fresh_database_dsn, command_timeout=0.5)

    return Listener(connect, AWAY, heartbeat=0.05, reconnect_delay=0.01)


async def backends(sql: asyncpg.Connection) -> list[int]:
    """Return the processes of PostgreSQL that serve others."""
    return [row["pid"] for row in await sql.fetch(BACKENDS)]


async def test_channels_share_a_connection(fresh_database_dsn: str, sql: asyncpg.Connection) -> None:
    """Each hears its own channel; who joins later is told at once that the connection is there."""
    async with open_postgres(fresh_database_dsn, max_connections=1) as database:
        ones, others = Heard(), Heard()
        stop = await database.follow("ones", ones)
        assert stop is not None
        assert await ones.next() is None
        before = await backends(sql)
        stop_others = await database.follow("others", others)
        assert stop_others is not None
        assert await others.next() is None
        assert await backends(sql) == before
        await sql.execute("select pg_notify('ones', '1'), pg_notify('others', '2')")
        assert (await ones.next(), await others.next()) == ("1", "2")
        await stop()
        await sql.execute("select pg_notify('ones', '3'), pg_notify('others', '4')")
        assert await others.next() == "4"
        assert ones.is_silent
        await stop_others()


async def test_two_on_one_channel(listener: Listener, sql: asyncpg.Connection) -> None:
    """Both hear everything, even if they are the same listener twice, until each stops."""
    heard = Heard()
    stops = [listener.follow("ones", heard) for _ in range(2)]
    assert [await heard.next(), await heard.next()] == [None, None]
    await sql.execute("select pg_notify('ones', '1')")
    assert [await heard.next(), await heard.next()] == ["1", "1"]
    await stops[0]()
    await sql.execute("select pg_notify('ones', '2')")
    assert await heard.next() == "2"
    await stops[1]()
    assert heard.is_silent


async def test_connection_that_is_cut(listener: Listener, sql: asyncpg.Connection) -> None:
    """Everybody is told of the new connection, and hears what is said on it."""
    ones, others = Heard(), Heard()
    stops = [listener.follow("ones", ones), listener.follow("others", others)]
    assert (await ones.next(), await others.next()) == (None, None)
    for pid in await backends(sql):
        await sql.execute("select pg_terminate_backend($1)", pid)
    assert (await ones.next(), await others.next()) == (None, None)
    await sql.execute("select pg_notify('ones', '1'), pg_notify('others', '2')")
    assert (await ones.next(), await others.next()) == ("1", "2")
    for stop in stops:
        await stop()


async def test_connection_that_falls_silent(listener: Listener, sql: asyncpg.Connection) -> None:
    """A connection whose other end is stopped, as if the net between swallowed it, is replaced without being closed."""
    heard = Heard()
    stop = listener.follow("ones", heard)
    assert await heard.next() is None
    (pid,) = await backends(sql)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await heard.next() is None
        await sql.execute("select pg_notify('ones', '1')")
        assert await heard.next() == "1"
    finally:
        os.kill(pid, signal.SIGCONT)
    await stop()


async def test_ended_listener_holds_nothing(listener: Listener, sql: asyncpg.Connection) -> None:
    """Once nobody follows, the connection is gone; who follows again gets a new one."""
    for _ in range(2):
        heard = Heard()
        stop = listener.follow("ones", heard)
        assert await heard.next() is None
        await stop()
        async with asyncio.timeout(10):
            while await backends(sql):
                await asyncio.sleep(0.01)


async def test_reconnect(listener: Listener, sql: asyncpg.Connection) -> None:
    """A connection is replaced on demand, as after a failover that left it where it was."""
    heard = Heard()
    stop = listener.follow("ones", heard)
    assert await heard.next() is None
    before = await backends(sql)
    listener.reconnect()
    assert await heard.next() is None
    assert await backends(sql) != before
    await sql.execute("select pg_notify('ones', '1')")
    assert await heard.next() == "1"
    await stop()
