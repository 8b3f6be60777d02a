"""Supabase's REST interface as the server uses it, in front of the real PostgreSQL.

Follows PostgREST's documentation, and Supabase's of the gateway before it; each place that relies on one says so. It
can be told to misbehave: `misbehave` takes the next requests away from it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import jwt
from aiohttp import web

SERVICE_KEY = "sb_secret_only-for-tests"
ANONYMOUS_KEY = "sb_publishable_only-for-tests"
JWT_SECRET = "a-secret-for-tests-that-is-long-enough-for-hs256"
POOL_SIZE = 10
ACQUIRE_TIMEOUT = 5  # seconds; by default PostgREST waits ten

# Documentation, "Errors", and for 21000 and 57P01 the source, Error.hs: the first pattern that matches decides; all
# others are 400.
STATUS_OF_SQLSTATE = (
    ("08", 503), ("09", 500), ("0L", 403), ("0P", 403), ("21000", 500), ("23503", 409), ("23505", 409),
    ("25006", 405), ("25", 500), ("28", 403), ("2D", 500), ("38", 500), ("39", 500), ("3B", 500), ("40", 500),
    ("53400", 500), ("53", 503), ("54", 500), ("55", 500), ("57P01", 503), ("57", 500), ("58", 500), ("F0", 500),
    ("HV", 500), ("P0001", 400), ("P0", 500), ("XX", 500), ("42883", 404), ("42P01", 404), ("42P17", 500),
)  # fmt: skip

# What the schema cache knows of the functions: those of one exposed schema, with named parameters.
SCHEMA = """
select p.proname as name, p.provolatile = 'v' as writes, p.prorettype = 'void'::regtype as void,
    coalesce(p.proargnames[:p.pronargs], '{}') as names, p.pronargdefaults as defaults,
    array(select format_type(t.type, null) from unnest(p.proargtypes) with ordinality t (type, n) order by n) as types
from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
"""

ROLE_SETTINGS = "select rolname, rolconfig from pg_roles where rolconfig is not null"

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Function:
    """A function as the schema cache has it."""

    name: str
    types: Mapping[str, str]
    required: frozenset[str]
    writes: bool
    void: bool

    def accepts(self, given: set[str]) -> bool:
        """Return whether it can be called with just these parameters."""
        return self.required <= given <= self.types.keys()

    def statement(self, given: list[str]) -> str:
        """Return the call with parameters out of one JSON object, converted as JSON is to each type."""
        call = f"public.{self.name}({', '.join(f'{name} => body.{name}' for name in given)})"
        source = f" from json_to_record($1::json) as body ({self._record(given)})" if given else ""
        return f"select {call}{source}" if self.void else f"select coalesce(to_json({call}), 'null')::text{source}"

    def _record(self, given: list[str]) -> str:
        return ", ".join(f"{name} {self.types[name]}" for name in given)


class RequestFailed(Exception):
    """An answer that is an error of PostgREST's form."""

    def __init__(self, status: int, code: str | None, message: str, details: str | None, hint: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": hint, "message": message}


@dataclass
class PostgrestServer:
    """The server. `arrived` has a function's name for each request, `abandoned` for each that a client gave up."""

    pool: asyncpg.Pool
    url: str = ""
    misbehave: Behaviour | None = None
    arrived: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    abandoned: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    functions: list[Function] = field(default_factory=list)
    role_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    schema_loaded: asyncio.Event = field(default_factory=asyncio.Event)
    running: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def load_schema(self, *_notification: object) -> None:
        """Read the functions that can be called from now on."""
        # Documentation, "Schema Cache": requests wait until it is loaded.
        self.functions = [_function(row) for row in await self.pool.fetch(SCHEMA)]
        self.role_settings = {
            row["rolname"]: dict(setting.split("=", 1) for setting in row["rolconfig"])
            for row in await self.pool.fetch(ROLE_SETTINGS)
        }
        self.schema_loaded.set()

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        """Answer POST and GET of /rest/v1/rpc/<function>."""
        name = request.match_info["function"]
        self.arrived.put_nowait(name)
        try:
            if self.misbehave:
                return await self.misbehave(request)
            return await self.answer(request)
        except asyncio.CancelledError:
            self.abandoned.put_nowait(name)
            raise
        except RequestFailed as failed:
            return web.json_response(failed.body, status=failed.status)

    async def root(self, request: web.Request) -> web.Response:
        """Answer GET of /rest/v1/ with the beginning of an OpenAPI document."""
        try:
            _claims(request)
        except RequestFailed as failed:
            return web.json_response(failed.body, status=failed.status)
        await self.schema_loaded.wait()
        paths: dict[str, Any] = {f"/rpc/{function.name}": {} for function in self.functions}
        return web.json_response({"swagger": "2.0", "basePath": "/", "paths": paths})

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as PostgREST does, whatever `misbehave` says. Raises RequestFailed."""
        claims = _claims(request)
        arguments = dict(request.query) if request.method == "GET" else await _body(request)
        await self.schema_loaded.wait()
        function = self._find(request.match_info["function"], arguments)
        # Observed by its maintainers: a client that goes away does not end the statement.
        work = asyncio.create_task(self._transaction(request.method, claims, function, arguments))
        self.running.add(work)
        work.add_done_callback(self._end)
        result = await asyncio.shield(work)
        # Documentation, "Functions as RPC": a function without a result answers 204 without a body.
        return web.Response(status=204) if function.void else web.json_response(text=result)

    def _end(self, work: "asyncio.Task[Any]") -> None:
        self.running.discard(work)
        if not work.cancelled():
            work.exception()  # nobody asks for that of an abandoned request

    def _find(self, name: str, arguments: Mapping[str, Any]) -> Function:
        found = [each for each in self.functions if each.name == name and each.accepts(set(arguments))]
        if not found:
            shown = f"public.{name}({', '.join(arguments)})" if arguments else f"public.{name} without parameters"
            message = f"Could not find the function {shown} in the schema cache"
            raise RequestFailed(404, "PGRST202", message, f"Searched for the function {shown}.", None)
        if len(found) > 1:
            raise RequestFailed(300, "PGRST203", f"Could not choose the best candidate function: {name}", None, None)
        return found[0]

    async def _transaction(
        self, method: str, claims: Mapping[str, Any], function: Function, arguments: Mapping[str, Any]
    ) -> str:
        # Documentation, "Transactions": read-only for GET, and for POST too unless the function is volatile.
        readonly = method == "GET" or not function.writes
        try:
            async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                return await self._run(connection, claims, function, arguments, readonly=readonly)
        except TimeoutError:
            raise RequestFailed(504, "PGRST003", "Timed out acquiring connection", None, None) from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise RequestFailed(503, "PGRST001", "Database connection error", type(error).__name__, None) from None
        except asyncpg.PostgresError as error:
            raise _postgres_error(error, claims["role"]) from None

    async def _run(
        self,
        connection: asyncpg.Connection,
        claims: Mapping[str, Any],
        function: Function,
        arguments: Mapping[str, Any],
        *,
        readonly: bool,
    ) -> str:
        # Source of hasql-transaction: the mode is always named, so that a default of the server's does not count, and
        # a standby refuses a transaction that is to write.
        await connection.execute(f"begin isolation level read committed {'read only' if readonly else 'read write'}")
        try:
            await connection.execute(
                "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true),"
                " set_config('search_path', 'public', true)",
                claims["role"],
                json.dumps(dict(claims)),
            )
            # Documentation, "Impersonated Role Settings".
            for name, value in self.role_settings.get(claims["role"], {}).items():
                await connection.execute("select set_config($1, $2, true)", name, value)
            body = [json.dumps(arguments)] if arguments else []
            result: str = await connection.fetchval(function.statement(list(arguments)), *body)
            await connection.execute("commit")
        except BaseException:
            with suppress(Exception):
                await connection.execute("rollback")
            raise
        return result


@asynccontextmanager
async def serving_rest(dsn: str, port: int = 0) -> AsyncIterator[PostgrestServer]:
    """Serve the database of `dsn` on a port of its own."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=POOL_SIZE) as pool:
        listener = await asyncpg.connect(dsn)
        server = PostgrestServer(pool)
        await server.load_schema()
        # Documentation, "Listener": the payload says what to reload.
        await listener.add_listener("pgrst", server.load_schema)
        application = web.Application()
        application.router.add_route("GET", "/rest/v1/", server.root)
        for method in ("GET", "POST"):
            application.router.add_route(method, "/rest/v1/rpc/{function}", server.rpc)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield server
        finally:
            await runner.cleanup()
            for work in server.running:
                work.cancel()
            await asyncio.gather(*server.running, return_exceptions=True)
            listener.terminate()


def answering(status: int, text: str, content_type: str = "application/json", **headers: str) -> Behaviour:
    """Answer whatever is asked with this."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=content_type, headers=headers)

    return answer


async def stalling(_request: web.Request) -> web.Response:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def dropping(request: web.Request) -> web.Response:
    """Close the connection without a word."""
    assert request.transport
    request.transport.abort()
    return web.Response()


async def babbling(request: web.Request) -> web.Response:
    """Answer what is not HTTP."""
    assert request.transport
    request.transport.write(b"220 mail.example.org ESMTP\r\n\r\n")
    return await stalling(request)


def user_token(user_id: str, **claims: Any) -> str:
    """Return the token of a person who is signed in."""
    return jwt.encode({"sub": user_id, "role": "authenticated", "aud": "authenticated"} | claims, JWT_SECRET)


def _claims(request: web.Request) -> Mapping[str, Any]:
    """Return whom the request is of, as the gateway and PostgREST work it out together. Raises RequestFailed."""
    # Documentation, "API keys": the gateway wants a key, and turns a key in the other header into its role's token.
    roles = {SERVICE_KEY: "service_role", ANONYMOUS_KEY: "anon"}
    key = request.headers.get("apikey")
    if key is None:
        raise RequestFailed(401, None, "No API key found in request", None, None)
    if key not in roles:
        hint = "Double check your Supabase `anon` or `service_role` API key."
        raise RequestFailed(401, None, "Invalid API key", None, hint)
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return {"role": roles[key]} if bearer in {"", key} else _user(bearer)


def _user(token: str) -> Mapping[str, Any]:
    # Documentation, "Errors", group 3.
    try:
        claims = jwt.decode(token, JWT_SECRET, algorithms=["HS256"], options={"verify_aud": False})
    except jwt.ExpiredSignatureError:
        raise RequestFailed(401, "PGRST303", "JWT expired", None, None) from None
    except jwt.InvalidTokenError:
        raise RequestFailed(401, "PGRST301", "No suitable key or wrong key type", None, None) from None
    return {"role": "anon"} | claims


async def _body(request: web.Request) -> dict[str, Any]:
    with suppress(json.JSONDecodeError):
        body = json.loads(await request.text())
        if isinstance(body, dict):
            return body
    raise RequestFailed(400, "PGRST102", "Empty or invalid json", None, None)


def _function(row: asyncpg.Record) -> Function:
    names = list(row["names"])
    required = frozenset(names[: len(names) - row["defaults"]])
    types = dict(zip(names, row["types"], strict=False))
    assert all(re.fullmatch(r"\w+", name) for name in (row["name"], *names))
    return Function(row["name"], types, required, row["writes"], row["void"])


def _postgres_error(error: asyncpg.PostgresError, role: str) -> RequestFailed:
    code = error.sqlstate or ""
    status = next((status for prefix, status in STATUS_OF_SQLSTATE if code.startswith(prefix)), 400)
    if code == "42501":
        status = 401 if role == "anon" else 403
    return RequestFailed(status, code, error.message or "", error.detail, error.hint)
