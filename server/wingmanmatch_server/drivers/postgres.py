"""The database over PostgreSQL's own protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import asyncpg
import orjson
import structlog

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import domain_error, unavailable

log = structlog.get_logger(__name__)

# How a database that is away shows itself besides an SQLSTATE. asyncpg answers a connection that dies in mid-reply with
# InternalClientError, an Exception of its own.
AWAY = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
COMMAND_TIMEOUT = 5.0
CONNECT_TIMEOUT = 3.0
RECONNECT_DELAY = 1.0
# What reaches a function must be what the REST transport would send, so JSON's types stand for PostgreSQL's.
JSON_TEXT_TYPES = ("uuid", "timestamptz")


class PostgresDatabase:
    """`drivers.database.Database` on a pool of connections, each set to the service role."""

    def __init__(self, pool: asyncpg.Pool, connect: Callable[[], Awaitable[Any]]) -> None:
        self._pool = pool
        self._connect = connect

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        with _domain_errors():
            return await self._pool.fetchval(_statement(function, tuple(parameters)), *parameters.values())

    async def ping(self) -> float:
        """See `Database.ping`."""
        started = time.perf_counter()
        with _domain_errors():
            await self._pool.fetchval("select 1")
        return time.perf_counter() - started

    async def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], Awaitable[None]]:
        """See `Database.listen`; holds one connection outside the pool and replaces it when it is lost."""
        task = asyncio.create_task(self._keep_listening(channel, callback))

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        return stop

    async def _keep_listening(self, channel: str, callback: Callable[[], None]) -> None:
        while True:
            try:
                await self._listen_until_lost(channel, callback)
            except (asyncpg.PostgresError, *AWAY) as error:
                log.warning("listen_failed", channel=channel, error=type(error).__name__)
            await asyncio.sleep(RECONNECT_DELAY)

    async def _listen_until_lost(self, channel: str, callback: Callable[[], None]) -> None:
        connection = await self._connect()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(channel, lambda *_: callback())
            callback()
            await lost.wait()
        finally:
            connection.terminate()


@asynccontextmanager
async def open_postgres(dsn: str, *, max_connections: int = 20) -> AsyncIterator[PostgresDatabase]:
    """Open a pool of at most `max_connections` on `dsn`. Raises errors.Unavailable if nothing answers there."""
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
        "server_settings": {"application_name": "wingmanmatch", "role": "service_role", "jit": "off"},
    }
    with _domain_errors():
        # A call is one implicit transaction and leaves nothing on the connection that a reset would have to clear.
        pool = await asyncpg.create_pool(
            dsn, min_size=1, max_size=max_connections, init=_speak_json, reset=_keep, **options
        )
    try:
        yield PostgresDatabase(pool, lambda: asyncpg.connect(dsn, **options))
    finally:
        await _close(pool)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), COMMAND_TIMEOUT)
    except (asyncpg.PostgresError, *AWAY):
        pool.terminate()


async def _speak_json(connection: asyncpg.Connection) -> None:
    for name in JSON_TEXT_TYPES:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_to_json, decoder=orjson.loads, format="text")


async def _keep(connection: asyncpg.Connection) -> None:
    """Return a connection to the pool as it is."""


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


@cache
def _statement(function: str, names: tuple[str, ...]) -> str:
    assert all(name.isidentifier() for name in (function, *names))
    arguments = ", ".join(f"{name} => ${position}" for position, name in enumerate(names, 1))
    return f"select public.{function}({arguments})"


class _domain_errors:  # noqa: N801 - reads as a statement; a generator-based context manager costs ten times as much
    """Turn what asyncpg raises into the domain's errors; a defect of ours passes as it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncpg.PostgresError):
            mapped = domain_error(error.sqlstate or "", error.message or "", error.detail, error.hint)
            if mapped is not None:
                raise mapped from error
        elif isinstance(error, AWAY) and not isinstance(error, errors.DomainError):
            raise unavailable() from error
