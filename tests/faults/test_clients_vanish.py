"""Clients whose connection breaks in the middle: nothing of theirs goes on, and nothing is half done."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from support.databases import fresh_database
from support.http2 import DATA, connected
from support.limiters import Served, serving_limits, until
from support.requests import TIMEOUT, join, join_pair
from wingmanmatch.matching.v1 import matching_service_pb2
from wingmanmatch.system.v1 import system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

SERVICE = "/wingmanmatch.matching.v1.MatchingService"
WAITING = "select count(*) from pg_locks where relation = 'matches'::regclass and not granted"


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture
async def served(dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> AsyncIterator[Served]:
    """A server on it."""
    async with serving_limits(dsn, engines.redis_url, tmp_path, enable_rate_limiting=False) as served:
        yield served


async def test_stream_ends_with_its_client(served: Served) -> None:
    """A hundred streams whose connection is cut off are gone, and count as cancelled."""
    user_id = (await join(served.client)).user_id
    request = matching_service_pb2.WatchMatchesRequest(user_id=user_id).SerializeToString()
    async with connected(served.address) as client:
        for _ in range(100):
            stream = client.call(f"{SERVICE}/WatchMatches", request)
        await client.until(lambda got: got.type == DATA and got.stream == stream)
        await until(lambda: served.sample("matching_watch_streams") == 100)
        client.writer.transport.abort()
    await until(lambda: served.sample("matching_watch_streams") == 0)
    await until(lambda: served.sample("wingmanmatch_rpcs_in_flight") == 0)
    labels = {"grpc_method": "WatchMatches", "grpc_service": SERVICE[1:], "grpc_code": "CANCELLED"}
    assert served.sample("grpc_server_handled_total", **labels) == 100


async def test_call_ends_with_its_client(served: Served, dsn: str) -> None:
    """Thirty changes whose client vanishes are undone; their connections serve on, and no failure is counted."""
    pairs = [await join_pair(served.client) for _ in range(30)]
    sql = await asyncpg.connect(dsn)
    try:
        async with connected(served.address) as client, sql.transaction():
            await sql.execute("lock table matches in access exclusive mode")
            for requester, invitee in pairs:
                request = matching_service_pb2.RequestMatchRequest(user_id=requester, candidate_user_id=invitee)
                client.call(f"{SERVICE}/RequestMatch", request.SerializeToString())
            while await sql.fetchval(WAITING) < 10:  # as many as one function may have
                await asyncio.sleep(0.01)
            client.writer.transport.abort()
            await until(lambda: served.sample("wingmanmatch_rpcs_in_flight") == 0)
        assert await sql.fetchval("select count(*) from matches") == 0
        asked = [matching_service_pb2.GetProfileRequest(user_id=user_id) for pair in pairs for user_id in pair]
        await asyncio.gather(*(served.client.matching.GetProfile(each, timeout=TIMEOUT) for each in asked))
    finally:
        await sql.close()
    report = await served.client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
    assert {breaker.name: breaker.failure_count for breaker in report.circuit_breakers}["database"] == 0
