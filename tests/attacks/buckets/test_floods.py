"""Streams that need no credential, or whose request never comes, kept open by the thousand."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.credentials import ENTRY, KEY
from support.edge import MATCHING
from support.http2 import Connection, connected
from support.served import Served, served
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/"
PATH = f"/{MATCHING.full_name}/GetProfile"
PUBLIC = "/wingmanmatch.challenge.v1.ChallengeService/ListChallenges"
CANCELLED = str(grpc.StatusCode.CANCELLED.value[0])
EXHAUSTED = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
TOO_LATE = str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
MB = 1 << 20
CONNECTIONS, STREAMS = 60, 100
CREDENTIAL = (("authorization", f"Bearer {KEY}"),)


@pytest.fixture(scope="module")
def server(admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in a process of its own, at the shipped limits."""
    folder: Path = tmp_path_factory.mktemp("flooded")
    settings = {"DATABASE_URL": admin_dsn, "REDIS_URL": f"{engines.redis_url}?db=6", "API_KEYS": ENTRY.line()}
    with (folder / "said").open("w") as log, served(folder, log=log, **settings) as server:
        yield server
        assert server.interrupt() == 0


async def flood(stack: AsyncExitStack, server: Served, path: str, count: int = CONNECTIONS) -> list[Connection]:
    """Open as many streams of a method as so many connections may, by headers alone; return the connections."""
    attackers = [await stack.enter_async_context(connected(server.grpc)) for _ in range(count)]
    await asyncio.gather(*(each.ping() for each in attackers))
    for each in attackers:
        for _ in range(STREAMS):
            each.open(path)
    return attackers


async def statuses(attackers: list[Connection], count: int) -> list[str]:
    """Return the statuses of the first streams to end, of which there must be so many."""
    found: list[str] = []

    async def read(connection: Connection) -> None:
        async for status in connection.statuses():
            found.append(status)  # noqa: PERF401 - others look at the list meanwhile

    readers = [asyncio.create_task(read(each)) for each in attackers]
    try:
        async with asyncio.timeout(60):
            while len(found) < count:
                await asyncio.sleep(0.05)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    return found


async def serves(server: Served) -> bool:
    """Tell whether the server answers a load balancer."""
    async with grpc.aio.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_reflection_is_not_held_open(server: Served) -> None:
    """Of 6,000 streams from one address 20 stay; the others are refused, and cost no memory to speak of."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    async with AsyncExitStack() as stack:
        attackers = await flood(stack, server, REFLECTION)
        ended = set(await statuses(attackers, CONNECTIONS * STREAMS - 20))
        assert await serves(server)
        assert (process.memory_info().rss - before) / MB < 60
    # gRPC itself cancels some of so many calls that come at once.
    assert EXHAUSTED in ended
    assert ended <= {EXHAUSTED, CANCELLED}


async def test_watching_is_bounded_by_address(server: Served) -> None:
    """Of 1,000 watchers from one address 200 stay for as long as they like; others are refused."""
    async with AsyncExitStack() as stack:
        attackers = [await stack.enter_async_context(connected(server.grpc)) for _ in range(10)]
        await asyncio.gather(*(each.ping() for each in attackers))
        for each in attackers:
            for _ in range(STREAMS):
                each.call(f"{HEALTH}Watch")
        assert await statuses(attackers, 800) == [EXHAUSTED] * 800
        assert await serves(server)


@pytest.mark.slow
async def test_headers_alone_do_not_hold_a_stream(server: Served) -> None:
    """A request that does not come is waited for 15 to 20 s, without a deadline of the client's.

    Whoever has a key holds 256 streams longer than that, until their connections end.
    """
    paths = [REFLECTION, f"{HEALTH}Check", f"{HEALTH}Watch", f"{HEALTH}List", PUBLIC]
    async with AsyncExitStack() as stack:
        attackers = [await stack.enter_async_context(connected(server.grpc)) for _ in range(4)]
        await asyncio.gather(*(each.ping() for each in attackers))
        began = time.monotonic()
        for path in paths:
            attackers[0].open(path)
        for each in attackers[1:]:
            for _ in range(STREAMS):
                each.open(PATH, headers=CREDENTIAL)
        expected = len(paths) + 3 * STREAMS - 256
        assert await statuses(attackers, expected) == [TOO_LATE] * expected
        assert 15 <= time.monotonic() - began < 25
