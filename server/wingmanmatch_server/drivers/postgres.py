"""The database over PostgreSQL's own protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import orjson

from wingmanmatch_server.drivers.database import HEALTH, call_error, unavailable
from wingmanmatch_server.drivers.postgres_connections import Connections
from wingmanmatch_server.drivers.postgres_listener import Listener

# How a database that is away shows itself besides an SQLSTATE. asyncpg answers a connection that dies in mid-reply with
# InternalClientError, an Exception of its own.
AWAY = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
COMMAND_TIMEOUT = 5.0
CONNECT_TIMEOUT = 3.0
# What reaches a function must be what the REST transport would send, so JSON's types stand for PostgreSQL's.
JSON_TEXT_TYPES = ("uuid", "timestamptz")
TRANSACTION_POOLER_PORT = "6543"
SERVICE_ROLE = "service_role"


class PostgresDatabase:
    """`drivers.database.Database` on a pool of connections, each set to the service role.

    Behind a transaction pooler a session's role would reach other clients, so there each call is a transaction that
    sets its own, at three round trips instead of one, and nothing can listen.
    """

    def __init__(self, connections: Connections, listener: Listener, *, pooled: bool) -> None:
        """`pooled` says that a transaction pooler is between."""
        self._connections = connections
        self._listener = listener
        self._pooled = pooled

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        with _domain_errors(function):
            if self._pooled:
                return await self._connections.run(_call_as, SERVICE_ROLE, function, parameters)
            return await self._connections.run(_call, function, parameters)

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        with _domain_errors(function):
            return await self._connections.run(_call_as, "anon", function, parameters)

    async def ping(self) -> float:
        """See `Database.ping`."""
        started = time.perf_counter()
        await self.call(HEALTH)
        return time.perf_counter() - started

    async def ping_as_anonymous(self) -> float:
        """See `Database.ping_as_anonymous`."""
        started = time.perf_counter()
        await self.call_as_anonymous(HEALTH)
        return time.perf_counter() - started

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


def behind_transaction_pooler(dsn: str) -> bool:
    """Return whether a DSN leads to a transaction pooler.

    It does at port 6543, as Supabase's, and with `pooler=transaction` among its parameters. A session pooler is like
    the database itself.
    """
    parts = urlsplit(dsn)
    parameters = dict(parse_qsl(parts.query))
    port = parameters.get("port") or str(parts.port)
    return parameters.get("pooler") == "transaction" or port == TRANSACTION_POOLER_PORT


@asynccontextmanager
async def open_postgres(
    dsn: str, *, max_connections: int = 20, acquire_timeout: float = COMMAND_TIMEOUT
) -> AsyncIterator[PostgresDatabase]:
    """Open a pool of at most `max_connections` on `dsn`, whose user must be able to become the service role.

    A call waits `acquire_timeout` seconds for one of them to come free. Raises errors.Unavailable if nothing
    answers there, and asyncpg.PostgresError if it is no database of ours.
    """
    pooled = behind_transaction_pooler(dsn)
    dsn = without_pooler(dsn)
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
        "server_settings": {"application_name": "wingmanmatch"},
    }
    if pooled:
        # The next statement may run on another server connection, where a prepared one is unknown.
        options["statement_cache_size"] = 0
    init = _speak_json if pooled else _become_service
    try:
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=max_connections, init=init, reset=_keep, **options)
    except AWAY as error:
        raise unavailable() from error
    connections = Connections(pool, acquire_timeout=acquire_timeout)
    try:
        listener = Listener(lambda: asyncpg.connect(dsn, **options), AWAY)
        yield PostgresDatabase(connections, listener, pooled=pooled)
    finally:
        await _close(pool, connections)


async def _close(pool: asyncpg.Pool, connections: Connections) -> None:
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            await connections.give_all_back()
            await pool.close()
    except (asyncpg.PostgresError, *AWAY):
        pool.terminate()


def without_pooler(dsn: str) -> str:
    """Return the DSN without the parameter that is ours, which asyncpg would hand on to the server."""
    parts = urlsplit(dsn)
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in parameters if name != "pooler"]
    return dsn if kept == parameters else parts._replace(query=urlencode(kept)).geturl()


async def _become_service(connection: asyncpg.Connection) -> None:
    # By statement: a session pooler may refuse or drop what the first message of a connection asks for.
    await connection.execute(f"set role {SERVICE_ROLE}; set jit = off")
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


async def _call_as(connection: asyncpg.Connection, role: str, function: str, parameters: dict[str, Any]) -> Any:
    try:
        await connection.execute(f"begin; set local role {role}")
        result = await _call(connection, function, parameters)
        await connection.execute("commit")
    except BaseException:
        with suppress(Exception):
            await connection.execute("rollback")
        raise
    return result


@cache
def _statement(function: str, names: tuple[str, ...]) -> str:
    assert all(name.isidentifier() for name in (function, *names))
    arguments = ", ".join(f"{name} => ${position}" for position, name in enumerate(names, 1))
    return f"select public.{function}({arguments})"


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
        if isinstance(error, AWAY):
            raise unavailable() from error
