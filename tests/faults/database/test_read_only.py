"""A database that answers and refuses changes: its disk is nearly full, or what answers is a standby."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

from support.postgres_pair import DATABASE, SUPERUSER, PostgresServer, primary_and_standby
from support.requests import TIMEOUT
from support.served import start
from support.server import serving_application
from support.stubs import Stubs, open_stubs
from support.tcp_proxy import TcpProxy, proxied
from support.timeline import READ, WRITE, Timeline, codes, steady
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

RECOVERY = 3.0  # seconds
CHECKED_WITHIN = 7.0  # seconds: the server looks at its dependencies every five
SERVICE = "wingmanmatch.matching.v1.MatchingService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

Pair = tuple[PostgresServer, PostgresServer]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A primary and its standby."""
    async with primary_and_standby() as pair:
        yield pair


async def becomes(client: Stubs, status: int, health: int) -> list[str]:
    """Wait until the report and the health of a service say so; return the breakers that are not closed."""
    async with asyncio.timeout(CHECKED_WITHIN):
        while True:
            report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=TIMEOUT)
            answer = await client.health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=TIMEOUT)
            if (report.status, answer.status) == (status, health):
                closed = system_pb2.CIRCUIT_BREAKER_STATE_CLOSED
                return [each.name for each in report.circuit_breakers if each.state != closed]
            await asyncio.sleep(0.05)


def assert_only_changes_failed(timeline: Timeline, since: float, back: float) -> None:
    """Fail unless reads went on, changes were refused with when to come back, and work again soon after `back`."""
    failed = timeline.failures()
    print(
        f"\n{len(timeline.calls)} calls, failed {dict(codes(failed))}, last {timeline.last_failure(back):.2f} s after"
    )
    assert not timeline.failures(until=since)
    assert set(codes(failed)) == {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
    assert {call.kind for call in failed} == {WRITE}
    assert all(call.says_when for call in failed)
    assert {call.code for call in timeline.of(READ, since, back)} == {"OK"}
    assert timeline.last_failure(back) <= RECOVERY
    assert timeline.of(WRITE, since=back + timeline.last_failure(back))


@pytest.mark.slow
async def test_reads_go_on(pair: Pair, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """With `default_transaction_read_only` on, as hosts do when a disk fills up, everything says so until it is off."""
    primary, _ = pair
    timeline = Timeline()
    with (tmp_path / "said").open("w") as log:
        settings = {"DATABASE_URL": primary.dsn, "REDIS_URL": engines.redis_url, "ENABLE_RATE_LIMITING": "false"}
        server = await asyncio.to_thread(start, tmp_path / "server", log=log, **settings)
    async with open_stubs(server.grpc) as client, steady(timeline, [client], callers=4):
        await becomes(client, system_pb2.SYSTEM_STATUS_HEALTHY, SERVING)
        assert await asyncio.to_thread(is_open, server.metrics) == 0
        since = time.monotonic()
        await primary.make_read_only()
        opened = await becomes(client, system_pb2.SYSTEM_STATUS_UNHEALTHY, NOT_SERVING)
        assert await asyncio.to_thread(is_open, server.metrics) == 1
        await asyncio.sleep(2)
        back = time.monotonic()
        await primary.make_read_only(on=False)
        await becomes(client, system_pb2.SYSTEM_STATUS_HEALTHY, SERVING)
        await asyncio.sleep(1)
        assert await asyncio.to_thread(is_open, server.metrics) == 0
    server.interrupt()
    assert server.process.stdout
    server.process.stdout.close()
    assert opened == ["database_writes"]
    assert_only_changes_failed(timeline, since, back)


@pytest.mark.slow
async def test_standby_behind_rest(pair: Pair, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """Where PostgREST has ended up at a standby, which refuses transactions that write, it is the same."""
    primary, standby = pair
    timeline = Timeline()

    async def lead_to(proxy: TcpProxy, server: PostgresServer) -> float:
        proxy.target = server.port
        proxy.cut()
        return time.monotonic()

    async with proxied(primary.port) as proxy:
        dsn = f"postgresql://{SUPERUSER}@127.0.0.1:{proxy.port}/{DATABASE}"
        async with (
            serving_application(
                dsn, engines.redis_url, tmp_path, transport="rest", enable_rate_limiting=False
            ) as client,
            steady(timeline, [client], callers=4),
        ):
            await becomes(client, system_pb2.SYSTEM_STATUS_HEALTHY, SERVING)
            await asyncio.sleep(1)
            since = await lead_to(proxy, standby)
            opened = await becomes(client, system_pb2.SYSTEM_STATUS_UNHEALTHY, NOT_SERVING)
            await asyncio.sleep(2)
            back = await lead_to(proxy, primary)
            await becomes(client, system_pb2.SYSTEM_STATUS_HEALTHY, SERVING)
            await asyncio.sleep(1)
    assert opened == ["database_writes"]
    assert_only_changes_failed(timeline, since, back)


def is_open(metrics: str) -> float:
    """Return what the metrics say of the breaker that stands before changes."""
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    (value,) = (
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "wingmanmatch_circuit_open" and sample.labels == {"dependency": "database_writes"}
    )
    return value
