"""The database over Supabase's REST interface, PostgREST.

A call is one request and one transaction, a read-only one if the function is declared stable or immutable. PostgREST
runs it to its end, or to the role's statement timeout, even if the caller goes away.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import aiohttp
import httpx
import orjson
import structlog
from httpx_aiohttp import AiohttpTransport
from supabase import AsyncClient, AsyncClientOptions, PostgrestAPIError, acreate_client

from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import HEALTH
from wingmanmatch_server.drivers.database_errors import (
    RETRY_AFTER,
    CallFailed,
    call_error,
    meaning_of,
    too_slow,
    unavailable,
)

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 20
READ_TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0
# This transport counts the time to connect as waiting for the pool.
POOL_TIMEOUT = CONNECT_TIMEOUT + 1.0
# Shorter than gateways keep an idle connection, so that a request rarely meets one that is just being closed.
KEEPALIVE = 30.0
PING_TIMEOUT = 2.0
# A function that writes, and changes nothing for this owner.
WRITE, NOBODY = "release_notifications", "probe"
SQLSTATE_LENGTH = 5
UNKNOWN_FUNCTION = "PGRST202"
REFUSED = (401, 403)
TOO_MANY = 429
SERVER_ERROR = 500
NO_CONTENT = 204

# The library raises without a status and takes any text for an answer, so the response itself is kept for each task.
_response: ContextVar[httpx.Response] = ContextVar("supabase_response")


class _NoAnswer(Exception):
    """The request was sent, and no answer came in time."""


class SupabaseDatabase:
    """`drivers.database.Database` over two clients, one for each key."""

    def __init__(self, service: AsyncClient, anonymous: AsyncClient) -> None:
        """Both clients' responses go through `keep_response`."""
        self._service = service
        self._anonymous = anonymous
        self._asking: asyncio.Task[float] | None = None

    async def call(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call`."""
        return await self._call(self._service, function, parameters)

    async def call_as_anonymous(self, function: str, /, **parameters: Any) -> Any:
        """See `Database.call_as_anonymous`."""
        return await self._call(self._anonymous, function, parameters)

    async def ping(self) -> float:
        """See `Database.ping`."""
        return await _ping(self._service)

    async def ping_as_anonymous(self) -> float:
        """See `Database.ping_as_anonymous`."""
        return await _ping(self._anonymous)

    async def probe(self) -> None:
        """See `Database.probe`: gives back what an owner holds that does not exist, a change of nothing."""
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await _call(self._service, WRITE, {"p_owner": NOBODY})
        except (TimeoutError, _NoAnswer):
            raise unavailable() from None

    async def replace_connections(self) -> None:
        """See `Database.replace_connections`; the connections to PostgreSQL are PostgREST's."""

    async def _call(self, client: AsyncClient, function: str, parameters: dict[str, Any]) -> Any:
        try:
            return await _call(client, function, parameters)
        except _NoAnswer:
            pass
        # A slow statement and an interface that is gone look alike from here: the one answers a ping meanwhile.
        await self._still_there()
        raise too_slow()

    async def _still_there(self) -> None:
        """Ask once for all calls that wait to know. Raises errors.Unavailable if nothing answers."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self.ping())
            self._asking.add_done_callback(lambda asking: asking.cancelled() or asking.exception())
        await asyncio.shield(self._asking)

    async def listen(self, _channel: str, _callback: Callable[[], None]) -> Callable[[], Awaitable[None]] | None:
        """See `Database.listen`; REST cannot."""
        return None

    async def follow(
        self, _channel: str, _callback: Callable[[str | None], None]
    ) -> Callable[[], Awaitable[None]] | None:
        """See `Database.follow`; REST cannot."""
        return None


@asynccontextmanager
async def open_supabase(
    url: str,
    service_key: str,
    anonymous_key: str,
    *,
    max_connections: int = MAX_CONNECTIONS,
    read_timeout: float = READ_TIMEOUT,
    pool_timeout: float = POOL_TIMEOUT,
) -> AsyncIterator[SupabaseDatabase]:
    """Open the project at `url`; at most `max_connections` calls are under way, the others wait `pool_timeout` seconds.

    Raises errors.Unavailable if it does not answer, or not to both keys.
    """
    limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=KEEPALIVE)
    timeout = httpx.Timeout(read_timeout, connect=CONNECT_TIMEOUT, pool=pool_timeout)
    # A call on it costs half to a fifth of what one on httpx's own costs: benchmarks/transports.py.
    transport = AiohttpTransport(limits=limits, client=lambda: _session(limits))
    async with httpx.AsyncClient(
        timeout=timeout, transport=transport, event_hooks={"response": [keep_response]}
    ) as http:
        database = SupabaseDatabase(await _client(url, service_key, http), await _client(url, anonymous_key, http))
        await database.ping()
        await database.ping_as_anonymous()
        yield database


async def keep_response(response: httpx.Response) -> None:
    """Keep the response for the call of this task."""
    _response.set(response)


def _session(limits: httpx.Limits) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=limits.max_connections or 0, keepalive_timeout=KEEPALIVE)
    # Calls of different people share the session, so it remembers nothing.
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def _client(url: str, key: str, http: httpx.AsyncClient) -> AsyncClient:
    options = AsyncClientOptions(
        httpx_client=http, auto_refresh_token=False, persist_session=False, postgrest_client_retry=False
    )
    return await acreate_client(url, key, options=options)


async def _ping(client: AsyncClient) -> float:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PING_TIMEOUT):
            await _call(client, HEALTH, {})
    except (TimeoutError, _NoAnswer):
        raise unavailable() from None
    return time.perf_counter() - started


async def _call(client: AsyncClient, function: str, parameters: dict[str, Any]) -> Any:
    assert function.isidentifier()
    try:
        await client.rpc(function, parameters).execute()
    except PostgrestAPIError as error:
        failure: Exception = _failure(function, _response.get(), error)
    except httpx.ReadTimeout:
        failure = _NoAnswer()
    except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError):
        failure = unavailable()
    else:
        return _result(function, _response.get())
    # Here no other error is under way: theirs quote rows and lead to requests, which hold keys.
    raise failure


def _result(function: str, response: httpx.Response) -> Any:
    if response.status_code == NO_CONTENT:
        return None
    if response.headers.get("content-type", "").startswith("application/json"):
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            pass
    log.error("supabase_answer_not_understood", function=function, status=response.status_code)
    raise unavailable()


def _failure(function: str, response: httpx.Response, error: PostgrestAPIError) -> errors.DomainError | CallFailed:
    """Return what an answer of status 400 or more means. Whatever is not about the call itself is an outage."""
    code, status = error.code or "", response.status_code
    if len(code) == SQLSTATE_LENGTH or meaning_of(code):
        detail = error.details if isinstance(error.details, str) else None
        return call_error(function, code, error.message or "", detail, error.hint)
    if status == TOO_MANY:
        return _throttled(response.headers)
    if code == UNKNOWN_FUNCTION:
        # Also until PostgREST has read the schema again after a migration, so the same call may succeed later.
        log.error("supabase_function_unknown", function=function)
        message = "the database lacks a function of this version; `wingmanmatch migrate` creates it"
        return errors.Unavailable("DATABASE_UNAVAILABLE", message, retry_after=RETRY_AFTER)
    if status in REFUSED:
        log.error("supabase_key_refused", function=function, status=status, code=code)
    elif code.startswith("PGRST") and status < SERVER_ERROR:
        return CallFailed(function, code, "")
    else:
        log.warning("supabase_failed", function=function, status=status, code=code)
    return unavailable()


def _throttled(headers: Mapping[str, str]) -> errors.ResourceExhausted:
    seconds = headers.get("retry-after", "")
    retry_after = float(seconds) if seconds.isdecimal() else RETRY_AFTER
    message = "the database takes no more calls for now"
    return errors.ResourceExhausted("DATABASE_UNAVAILABLE", message, retry_after=retry_after)
