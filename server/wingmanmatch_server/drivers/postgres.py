"""The database over PostgreSQL's own protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from wingmanmatch_server.drivers.database import HEALTH
from wingmanmatch_server.drivers.database_errors import (
    CallFailed,
    call_error,
    costs_the_connection,
    overloaded,
    read_only,
    unavailable,
)
from wingmanmatch_server.drivers.guarded_database import reads
from wingmanmatch_server.drivers.postgres_address import (
    CONNECT_TIMEOUT,
    Connector,
    parse_address,
)
from wingmanmatch_server.drivers.postgres_connections import Connections, NoConnectionFree
from wingmanmatch_server.drivers.postgres_listener import Listener
from wingmanmatch_server.drivers.postgres_probe import Probe
from wingmanmatch_server.resilience.deadline import seconds_left

# How a database that is away shows itself besides an SQLSTATE. asyncpg answers a connection that dies in mid-reply with
# InternalClientError, an Exception of its own.
AWAY = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
# The server ends a statement, and a wait for a lock, before the client gives up on the server: a server that is slow is
# told from one that does not answer. Seconds.
LOCK_TIMEOUT = 1.5
STATEMENT_TIMEOUT = 4.0
COMMAND_TIMEOUT = 5.0
# One row may cost two such waits: for the turn to wait, and for the row. A caller who has less time than three of them
# gets a third of it for each, so that the answer still reaches it.
WAITS = 3
SHORT_PATIENCE = WAITS * LOCK_TIMEOUT
LEAST_LOCK_TIMEOUT = 0.02
# What reaches a function must be what the REST transport would send, so JSON's types stand for PostgreSQL's.
JSON_TEXT_TYPES = ("uuid", "timestamptz")
SERVICE_ROLE = "service_role"


class PostgresDatabase:
    """`drivers.database.Database` on a pool of connections, each set to the service role.

    Behind a transaction pooler a session's role would reach other clients, so there each call is a transaction that
    sets its own, at three round trips instead of one, and nothing can listen.
    """

    def __init__(self, connections: Connections, probe: Probe, listener: Listener, *, pooled: bool) -> None:
        """`pooled` says that a transaction pooler is between."""
        self._connections = connections
        self._probe = probe
        self._listener = listener
        self._pooled = pooled

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        left = seconds_left(time.monotonic())
        with _domain_errors(function):
            if self._pooled:
                return await self._connections.run(_call_as, SERVICE_ROLE, function, parameters, left)
            if left < SHORT_PATIENCE and not reads(function):
                return await self._connections.run(_call_soon, function, parameters, left)
            return await self._connections.run(_call, function, parameters)

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        left = seconds_left(time.monotonic())
        with _domain_errors(function):
            return await self._connections.run(_call_as, "anon", function, parameters, left)

    async def ping(self) -> float:
        """See `Database.ping`."""
        return await self._ping(SERVICE_ROLE)

    async def ping_as_anonymous(self) -> float:
        """See `Database.ping_as_anonymous`."""
        return await self._ping("anon")

    async def probe(self) -> None:
        """See `Database.probe`."""
        with _domain_errors(HEALTH):
            writable = await self._probe.accepts_changes()
        if not writable:
            raise read_only()

    async def replace_connections(self) -> None:
        """See `Database.replace_connections`."""
        self._listener.reconnect()
        await self._connections.replace_all()

    async def _ping(self, role: str) -> float:
        async def ask(connection: asyncpg.Connection) -> float:
            started = time.perf_counter()
            if role == SERVICE_ROLE and not self._pooled:
                await _call(connection, HEALTH, {})
            else:
                await _call_as(connection, role, HEALTH, {}, COMMAND_TIMEOUT)
            return time.perf_counter() - started

        with _domain_errors(HEALTH):
            return await self._probe.ask(ask)

    async def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
        """See `Database.listen`."""
        return await self.follow(channel, lambda _payload: callback())

    async def follow(
        self, channel: str, callback: Callable[[str | None], None]
    ) -> Callable[[], Awaitable[None]] | None:
        """See `Database.follow`; all channels are heard on one connection outside the pool."""
        if self._pooled:
            return None
        return self._listener.follow(channel, callback)


@asynccontextmanager
async def open_postgres(
    dsn: str,
    *,
    max_connections: int = 20,
    acquire_timeout: float = COMMAND_TIMEOUT,
    password_file: Path | None = None,
) -> AsyncIterator[PostgresDatabase]:
    """Open a pool of at most `max_connections` on `dsn`, whose user must be able to become the service role.

    A call waits `acquire_timeout` seconds for one of them to come free. Two more connections listen and probe. The
    password is that of `password_file`, if it is given. Raises errors.Unavailable if nothing answers there, OSError if
    the file cannot be read, and asyncpg.PostgresError if it is no database of ours.
    """
    address = parse_address(dsn)
    connector = Connector(address, password_file, **_options(pooled=address.pooled))
    init = _speak_json if address.pooled else _become_service
    try:
        pool = await asyncpg.create_pool(
            min_size=1, max_size=max_connections, connect=connector.connect, init=init, reset=_keep
        )
    except AWAY as error:
        raise unavailable() from error
    connections = Connections(pool, size=max_connections, acquire_timeout=acquire_timeout, is_lost=_is_lost)

    async def connect_and_prepare() -> asyncpg.Connection:
        connection = await connector.connect()
        try:
            await init(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    probe = Probe(connect_and_prepare)
    try:
        yield PostgresDatabase(connections, probe, Listener(connector.connect, AWAY), pooled=address.pooled)
    finally:
        probe.close()
        await _close(pool, connections)


def _options(*, pooled: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
        "server_settings": {"application_name": "wingmanmatch"},
    }
    if pooled:
        # The next statement may run on another server connection, where a prepared one is unknown.
        options["statement_cache_size"] = 0
    return options


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return costs_the_connection(error.sqlstate or "")
    return isinstance(error, AWAY) and not isinstance(error, asyncpg.DataError)


async def _close(pool: asyncpg.Pool, connections: Connections) -> None:
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            await connections.give_all_back()
            await pool.close()
    except (asyncpg.PostgresError, *AWAY):
        pool.terminate()


async def _become_service(connection: asyncpg.Connection) -> None:
    # By statement: a session pooler may refuse or drop what the first message of a connection asks for.
    await connection.execute(
        f"set role {SERVICE_ROLE}; set jit = off;"
        f" set statement_timeout = {_milliseconds(STATEMENT_TIMEOUT)};"
        f" set lock_timeout = {_milliseconds(LOCK_TIMEOUT)}"
    )
    await _speak_json(connection)


async def _speak_json(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        for name in JSON_TEXT_TYPES:
            await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=_to_json, decoder=orjson.loads, format="text"
        )


async def _keep(connection: asyncpg.Connection) -> None:
    """Return a connection to the pool as it is: no call leaves anything behind that a reset would have to clear."""


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


async def _call(connection: asyncpg.Connection, function: str, parameters: dict[str, Any]) -> Any:
    return await connection.fetchval(_statement(function, tuple(parameters)), *parameters.values())


async def _call_soon(connection: asyncpg.Connection, function: str, parameters: dict[str, Any], left: float) -> Any:
    """Call for somebody who waits `left` more seconds; the limit of locks is set in the same statement."""
    statement = _statement(function, tuple(parameters), hurried=True)
    return await connection.fetchval(statement, *parameters.values(), str(_milliseconds(_lock_timeout(left))))


async def _call_as(
    connection: asyncpg.Connection, role: str, function: str, parameters: dict[str, Any], left: float
) -> Any:
    statement_timeout = max(LEAST_LOCK_TIMEOUT, min(STATEMENT_TIMEOUT, left))
    try:
        await connection.execute(
            f"begin; set local role {role};"
            f" set local statement_timeout = {_milliseconds(statement_timeout)};"
            f" set local lock_timeout = {_milliseconds(_lock_timeout(left))}"
        )
        result = await _call(connection, function, parameters)
        await connection.execute("commit")
    except BaseException as error:
        if not _is_lost(error):
            with suppress(Exception):
                await connection.execute("rollback")
        raise
    return result


def _lock_timeout(left: float) -> float:
    return max(LEAST_LOCK_TIMEOUT, min(LOCK_TIMEOUT, left / WAITS))


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@cache
def _statement(function: str, names: tuple[str, ...], *, hurried: bool = False) -> str:
    assert all(name.isidentifier() for name in (function, *names))
    arguments = ", ".join(f"{name} => ${position}" for position, name in enumerate(names, 1))
    statement = f"select public.{function}({arguments})"
    if hurried:
        # A subquery with a volatile function is computed before what selects from it. It holds for this statement.
        statement += f" from (select set_config('lock_timeout', ${len(names) + 1}, true)) as hurry"
    return statement


class _domain_errors:  # noqa: N801 - reads as a statement; a generator-based context manager costs ten times as much
    """Turn what asyncpg raises during a call into what `Database.call` promises."""

    __slots__ = ("_function",)

    def __init__(self, function: str) -> None:
        self._function = function

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncpg.PostgresError):
            # The text of asyncpg's own error quotes rows.
            raise call_error(
                self._function, error.sqlstate or "", error.message or "", error.detail, error.hint
            ) from None
        if isinstance(error, NoConnectionFree):
            raise overloaded() from None
        if isinstance(error, asyncpg.DataError):
            # A parameter that has no place in its type: the text quotes it.
            raise CallFailed(self._function, "22000", "") from None
        if isinstance(error, AWAY):
            raise unavailable() from error
