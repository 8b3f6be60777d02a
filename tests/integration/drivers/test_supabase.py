"""What becomes of a call by REST when the interface, the network or a key is not as it should be."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from aiohttp import web

from support.databases import execute
from support.edge import failure_of
from support.postgrest import (
    ANONYMOUS_KEY,
    SERVICE_KEY,
    Behaviour,
    PostgrestServer,
    answering,
    babbling,
    dropping,
    serving_rest,
    stalling,
)
from support.probes import sleeping
from support.server import serving_application, supabase_settings
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch_server import errors
from wingmanmatch_server.drivers.database import CallFailed
from wingmanmatch_server.drivers.embedded import EmbeddedEngines
from wingmanmatch_server.drivers.supabase import SupabaseDatabase, open_supabase

GATEWAY_DOWN = '{"code": "PGRST001", "details": null, "hint": null, "message": "Database client error"}'
AWAY: dict[str, Behaviour] = {
    "the connection drops": dropping,
    "what answers is not HTTP": babbling,
    "PostgREST has lost the database": answering(503, GATEWAY_DOWN),
    "the gateway fails in HTML": answering(502, "<h1>Bad gateway</h1>", "text/html"),
    "the gateway fails in other JSON": answering(500, '{"error": "x"}'),
    "the gateway fails without a word": answering(520, ""),
    "the project is paused": answering(540, "", "text/plain"),
    "it is another web site": answering(200, "<h1>Welcome</h1>", "text/html"),
    "it is another web site without the page": answering(404, "<h1>Not found</h1>", "text/html"),
    "it has moved": answering(301, "", "text/html", Location="http://127.0.0.1:1/"),
    "the JSON is cut": answering(200, '{"role": "serv'),
    "the answer is empty": answering(200, ""),
}


@pytest.fixture
async def rest(probed_dsn: str) -> AsyncIterator[PostgrestServer]:
    """The interface, in order."""
    async with serving_rest(probed_dsn) as rest:
        yield rest


@pytest.fixture
async def database(rest: PostgrestServer) -> AsyncIterator[SupabaseDatabase]:
    """The driver, impatient."""
    async with open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY, read_timeout=0.3) as database:
        yield database


@pytest.mark.parametrize("behaviour", AWAY.values(), ids=AWAY)
async def test_outage_is_unavailable_and_passes(
    rest: PostgrestServer, database: SupabaseDatabase, behaviour: Behaviour
) -> None:
    """Whatever fails between here and the function is Unavailable, is asked for once, and works again afterwards."""
    drain(rest.arrived)
    rest.misbehave = behaviour
    with pytest.raises(errors.Unavailable) as caught:
        await database.call("probe_role")
    assert (caught.value.reason, caught.value.retry_after) == ("DATABASE_UNAVAILABLE", 1.0)
    assert rest.arrived.qsize() == 1
    rest.misbehave = None
    assert await database.call("probe_role") == "service_role"


async def test_nothing_answers(rest: PostgrestServer, database: SupabaseDatabase) -> None:
    """Calls that get no answer ask, once for all, whether anything answers; if nothing does they are Unavailable."""
    drain(rest.arrived)
    rest.misbehave = stalling
    outcomes = await asyncio.gather(*(database.call("probe_role") for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [errors.Unavailable] * 5
    assert [await rest.arrived.get() for _ in range(6)] == ["probe_role"] * 5 + ["health"]
    rest.misbehave = None
    assert await database.call("probe_role") == "service_role"


async def test_no_connection_free_is_no_outage(rest: PostgrestServer, database: SupabaseDatabase) -> None:
    """PostgREST without a free connection to the database is busy, not gone."""
    rest.misbehave = answering(504, GATEWAY_DOWN.replace("001", "003"))
    with pytest.raises(errors.ResourceExhausted) as caught:
        await database.call("probe_role")
    assert (caught.value.reason, caught.value.retry_after) == ("OVERLOADED", 1.0)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_key_is_told_to_the_operator(
    rest: PostgrestServer, database: SupabaseDatabase, status: int
) -> None:
    """A key that is refused while running makes calls Unavailable and writes what to look at."""
    rest.misbehave = answering(status, '{"message": "Invalid API key"}')
    with structlog.testing.capture_logs() as logged, pytest.raises(errors.Unavailable):
        await database.call("probe_role")
    assert [(entry["event"], entry["log_level"], entry["status"]) for entry in logged] == [
        ("supabase_key_refused", "error", status)
    ]


@pytest.mark.parametrize(("service_key", "anonymous_key"), [("sb_secret_old", ANONYMOUS_KEY), (SERVICE_KEY, "eyJold")])
async def test_each_key_is_tried_at_the_start(rest: PostgrestServer, service_key: str, anonymous_key: str) -> None:
    """A wrong key of either kind ends the start, and is in no log and no error."""
    with structlog.testing.capture_logs() as logged, pytest.raises(errors.Unavailable) as caught:
        async with open_supabase(rest.url, service_key, anonymous_key):
            pass
    assert [entry["event"] for entry in logged] == ["supabase_key_refused"]
    for key in (service_key, anonymous_key):
        assert key not in f"{logged}{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


async def test_keys_are_nowhere_to_be_seen(
    rest: PostgrestServer, database: SupabaseDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the driver nor the libraries below it show a key, in a log at any level or in an error."""
    caplog.set_level(logging.DEBUG)
    shown = [repr(database), str(vars(database))]
    with structlog.testing.capture_logs() as logged:
        await database.call("probe_role")
        for behaviour in (dropping, answering(401, "{}"), answering(500, "x"), answering(400, '{"code": "PGRST102"}')):
            rest.misbehave = behaviour
            with pytest.raises((errors.Unavailable, CallFailed)) as caught:
                await database.call("probe_role")
            shown.append(f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}")
    shown += [caplog.text, str(logged)]
    assert not [text for text in shown if SERVICE_KEY in text or ANONYMOUS_KEY in text]


@pytest.mark.parametrize(
    ("header", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, 1.0), ({"Retry-After": "soon"}, 1.0)]
)
async def test_throttling_is_passed_on(
    rest: PostgrestServer, database: SupabaseDatabase, header: dict[str, str], seconds: float
) -> None:
    """A 429 is no outage: it says when to come back."""
    rest.misbehave = answering(429, '{"message": "slow down"}', **header)
    with pytest.raises(errors.ResourceExhausted) as caught:
        await database.call("probe_role")
    assert caught.value.retry_after == seconds


async def test_function_that_postgrest_does_not_know_yet(rest: PostgrestServer, probed_dsn: str) -> None:
    """A function made after the schema was read is away, which the log says, until PostgREST is told to read again."""
    async with open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY) as database:
        await execute(probed_dsn, "create function probe_new() returns jsonb language sql as $$ select '1'::jsonb $$")
        with structlog.testing.capture_logs() as logged, pytest.raises(errors.Unavailable):
            await database.call("probe_new")
        assert [entry["event"] for entry in logged] == ["supabase_function_unknown"]
        rest.schema_loaded.clear()
        await execute(probed_dsn, "notify pgrst, 'reload schema'")
        assert await database.call("probe_new") == 1
        with pytest.raises(errors.Unavailable):
            await database.call("probe_echo", p_unknown=1)


async def test_deadline_reaches_the_interface(rest: PostgrestServer) -> None:
    """When a call's time is over its request is given up, long before the driver's own patience ends."""
    async with open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY) as database:
        rest.misbehave = stalling
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.call("probe_role")
        async with asyncio.timeout(1):
            assert await rest.abandoned.get() == "probe_role"


async def test_deadline_of_the_rpc_reaches_the_interface(
    rest: PostgrestServer, engines: EmbeddedEngines, tmp_path: Path
) -> None:
    """A client's deadline ends the request to Supabase that its RPC waits for."""
    async with serving_application(None, engines.redis_url, tmp_path, **supabase_settings(rest.url)) as client:
        rest.misbehave = stalling_on("get_profile", rest)
        request = matching_service_pb2.GetProfileRequest(user_id="00000000-0000-4000-8000-000000000001")
        failure = await failure_of(client.matching.GetProfile(request, timeout=0.3))
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(2):
            assert await rest.abandoned.get() == "get_profile"


async def test_statement_outlives_the_caller(
    rest: PostgrestServer, database: SupabaseDatabase, probed_dsn: str
) -> None:
    """A request that is given up still runs to its end in the database: slow, since others are answered meanwhile."""
    with pytest.raises(errors.DeadlineExceeded):
        await database.call("probe_sleep", p_seconds=0.6)
    assert await rest.abandoned.get() == "probe_sleep"
    await sleeping(probed_dsn, at_least=1)
    await sleeping(probed_dsn, at_most=0)


async def test_connections_run_out(rest: PostgrestServer) -> None:
    """With all connections busy a call is Unavailable after its time to wait, and the next one finds them free."""
    async with open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY, max_connections=2, pool_timeout=0.1) as database:
        drain(rest.arrived)
        busy = [asyncio.create_task(database.call("probe_sleep", p_seconds=0.4)) for _ in range(2)]
        for _ in busy:
            await rest.arrived.get()
        with pytest.raises(errors.Unavailable):
            await database.call("probe_role")
        assert rest.arrived.empty()
        await asyncio.gather(*busy)
        assert await database.call("probe_role") == "service_role"


async def test_connections_are_kept(rest: PostgrestServer, database: SupabaseDatabase) -> None:
    """Calls of both roles, one after the other, share one connection."""
    peers = set()

    async def note(request: web.Request) -> web.Response:
        assert request.transport
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    rest.misbehave = note
    for _ in range(5):
        await database.call("health")
        await database.call_as_anonymous("health")
    assert len(peers) == 1


async def test_nothing_is_carried_from_call_to_call(rest: PostgrestServer, database: SupabaseDatabase) -> None:
    """A cookie that one call was given goes with no other, and each call has its own key in both headers."""
    seen: list[Any] = []

    async def bake(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((headers.get("cookie"), headers["apikey"], headers["authorization"]))
        return web.json_response({}, headers={"Set-Cookie": "person=ann; Path=/"})

    rest.misbehave = bake
    await asyncio.gather(*(call("health") for call in [database.call, database.call_as_anonymous] * 10))
    expected = {(None, key, f"Bearer {key}") for key in (SERVICE_KEY, ANONYMOUS_KEY)}
    assert (len(seen), set(seen)) == (20, expected)


async def test_interface_restarts(probed_dsn: str) -> None:
    """Calls fail while the interface is down, and the same driver works once it is back."""
    async with serving_rest(probed_dsn) as first:
        port = int(first.url.rpartition(":")[2])
        opened = open_supabase(first.url, SERVICE_KEY, ANONYMOUS_KEY)
        database = await opened.__aenter__()
    try:
        with pytest.raises(errors.Unavailable):
            await database.call("probe_role")
        async with serving_rest(probed_dsn, port):
            assert await database.call("probe_role") == "service_role"
    finally:
        await opened.__aexit__(None, None, None)


async def test_stable_function_cannot_write(probed_dsn: str) -> None:
    """PostgREST runs a function declared stable in a read-only transaction: a wrong declaration fails at once."""
    await execute(
        probed_dsn,
        "create function probe_liar() returns jsonb language plpgsql stable as $$ begin"
        " perform public.probe_write('liar'); return '{}'; end $$",
    )
    async with serving_rest(probed_dsn) as rest, open_supabase(rest.url, SERVICE_KEY, ANONYMOUS_KEY) as database:
        with pytest.raises(errors.Unavailable) as caught:
            await database.call("probe_liar")
    assert caught.value.evidence is errors.Evidence.REFUSES_WRITES


async def test_rest_cannot_listen(database: SupabaseDatabase) -> None:
    """Whoever wants notifications is told to poll."""
    assert await database.listen("notifications", lambda: None) is None


def stalling_on(function: str, rest: PostgrestServer) -> Behaviour:
    """Never answer to one function, and as usual to others."""

    async def answer(request: web.Request) -> web.StreamResponse:
        stall = request.match_info["function"] == function
        return await (stalling(request) if stall else rest.answer(request))

    return answer


def drain(queue: "asyncio.Queue[str]") -> None:
    """Empty a queue."""
    while not queue.empty():
        queue.get_nowait()
