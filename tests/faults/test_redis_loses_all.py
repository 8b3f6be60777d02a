"""The whole server while its Redis is gone, and when it comes back empty."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from support.databases import fresh_database
from support.edge import failure_of
from support.limiters import Served, serving_limits
from support.requests import TIMEOUT, join
from support.valkey import OwnValkey, own_valkey
from wingmanmatch.session.v1 import session_service_pb2
from wingmanmatch.system.v1 import system_pb2, system_service_pb2

USER = "0d4a4d5e-6b4c-4f57-8f53-6f4b1f1c9d11"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    with own_valkey(tmp_path) as valkey:
        yield valkey


async def becomes(served: Served, word: int) -> set[str]:
    """Wait until the server says that it is so; return the names of what is away."""
    async with asyncio.timeout(30):
        while True:
            report = await served.client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
            if report.status == word:
                return {each.name for each in report.dependencies if not each.healthy}
            await asyncio.sleep(0.05)


async def create(served: Served) -> str:
    """Open a session and return its token."""
    request = session_service_pb2.CreateSessionRequest(user_id=USER)
    return str((await served.client.session.CreateSession(request, timeout=TIMEOUT)).token)


async def test_flushed(admin_dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """Data and scripts that are gone end sessions and fill buckets, and disturb nothing."""
    async with fresh_database(admin_dsn) as dsn, serving_limits(dsn, valkey.url, tmp_path) as served:
        token = await create(served)
        await valkey.flush()
        get = served.client.session.GetSession
        failure = await failure_of(get(session_service_pb2.GetSessionRequest(token=token), timeout=TIMEOUT))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SESSION_NOT_FOUND")
        await get(session_service_pb2.GetSessionRequest(token=await create(served)), timeout=TIMEOUT)
        await join(served.client)
        assert await becomes(served, system_pb2.SYSTEM_STATUS_HEALTHY) == set()


async def test_report_of_an_outage(admin_dsn: str, valkey: OwnValkey, tmp_path: Path) -> None:
    """Redis and the rate limiter are unavailable while Redis is, and the rest works; then all is well by itself."""
    async with fresh_database(admin_dsn) as dsn, serving_limits(dsn, valkey.url, tmp_path) as served:
        await becomes(served, system_pb2.SYSTEM_STATUS_HEALTHY)
        shown = served.application.registry.get_sample_value("wingmanmatch_circuit_open", {"dependency": "redis"})
        assert shown == 0
        valkey.kill()
        for _ in range(5):
            await join(served.client)
            assert (await failure_of(create(served))).code is grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(30):
            while await becomes(served, system_pb2.SYSTEM_STATUS_DEGRADED) != {"redis", "rate_limiter"}:
                await asyncio.sleep(0.05)
        for name in ("redis", "rate_limiter"):
            assert served.sample("wingmanmatch_circuit_open", dependency=name) == 1
        valkey.start()
        await becomes(served, system_pb2.SYSTEM_STATUS_HEALTHY)
        await create(served)
