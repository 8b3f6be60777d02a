"""A primary fails and its standby takes over: under an address with both hosts, and behind one address."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.postgres_pair import DATABASE, SUPERUSER, PostgresServer, primary_and_standby
from support.server import serving_application
from support.tcp_proxy import proxied
from support.timeline import WRITE, Timeline, accepts_writes, codes, seconds_to_deliver, steady
from wingmanmatch.system.v1 import system_pb2, system_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

RECOVERY = 3.0  # seconds
PROMOTED_AFTER = 3.6
PROMOTE = "select pg_promote(wait => false)"

Pair = tuple[PostgresServer, PostgresServer]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A primary and its standby."""
    async with primary_and_standby() as pair:
        yield pair


@pytest.mark.slow
async def test_standby_is_promoted(pair: Pair, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """With both hosts in the address the server finds the new primary within three seconds of its promotion."""
    primary, standby = pair
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    dsn = f"postgresql://{SUPERUSER}@{hosts}/{DATABASE}?target_session_attrs=read-write"
    timeline = Timeline()
    async with (
        serving_application(dsn, engines.redis_url, tmp_path, enable_rate_limiting=False) as client,
        steady(timeline, [client], callers=4),
    ):
        await asyncio.sleep(1)
        killed = time.monotonic()
        await asyncio.to_thread(primary.kill)
        await asyncio.sleep(PROMOTED_AFTER - (time.monotonic() - killed))
        promoted = asyncio.create_task(accepts_writes(standby.dsn))
        await standby.execute(PROMOTE)
        back = await promoted
        delivered = await seconds_to_deliver(client, standby.dsn)
        async with asyncio.timeout(90):
            while time.monotonic() - back < 5 or timeline.failures(time.monotonic() - 3):
                await asyncio.sleep(0.1)
    failed = codes(timeline.failures())
    print(f"\n{len(timeline.calls)} calls, failed {dict(failed)}, promoted after {back - killed:.1f} s")
    print(f"last failure {timeline.last_failure(back):.2f} s after, email {delivered:.2f}")
    assert not timeline.failures(until=killed)
    assert {code for code, _ in failed} == {"UNAVAILABLE"}
    assert timeline.last_failure(back) <= RECOVERY
    assert delivered <= RECOVERY


@pytest.mark.slow
async def test_failover_behind_one_address(pair: Pair, engines: EmbeddedEngines, tmp_path: Path) -> None:
    """On connections to a demoted primary changes are refused, and work three seconds after the address moved."""
    primary, standby = pair
    timeline = Timeline()
    async with proxied(primary.port) as proxy:
        dsn = f"postgresql://{SUPERUSER}@127.0.0.1:{proxy.port}/{DATABASE}"
        async with (
            serving_application(dsn, engines.redis_url, tmp_path, enable_rate_limiting=False) as client,
            steady(timeline, [client], callers=4),
        ):
            await asyncio.sleep(1)
            demoted = time.monotonic()
            await primary.make_read_only()
            await standby.execute(PROMOTE)
            await accepts_writes(standby.dsn)
            await asyncio.sleep(PROMOTED_AFTER)
            report = await client.system.GetStatus(system_service_pb2.GetStatusRequest(), timeout=5)
            back, proxy.target = time.monotonic(), standby.port
            delivered = await seconds_to_deliver(client, standby.dsn)
            async with asyncio.timeout(30):
                while time.monotonic() - back < 5 or timeline.failures(time.monotonic() - 3):
                    await asyncio.sleep(0.1)
    failed = codes(timeline.failures())
    print(f"\n{len(timeline.calls)} calls, failed {dict(failed)}, last {timeline.last_failure(back):.2f} s after")
    print(f"email {delivered:.2f} s after")
    assert delivered <= RECOVERY
    assert not timeline.failures(until=demoted)
    assert set(failed) == {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
    assert {call.kind for call in timeline.failures()} == {WRITE}
    assert all(call.says_when for call in timeline.failures())
    assert report.status == system_pb2.SYSTEM_STATUS_UNHEALTHY
    assert timeline.last_failure(back) <= RECOVERY
    assert timeline.of(WRITE, since=back + RECOVERY)
