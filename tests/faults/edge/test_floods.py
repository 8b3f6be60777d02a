"""Floods at the port of a real server: its memory stays bounded, others are served, and all is as before afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import grpc
import psutil
import pytest

from support.edge import MATCHING
from support.http2 import DATA, RST_STREAM, Connection, connected, prefixed
from support.served import Served, served
from wingmanmatch.system.v1 import system_pb2, system_service_pb2, system_service_pb2_grpc
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

pytestmark = pytest.mark.timeout(180)

PATH = f"/{MATCHING.full_name}/GetProfile"
UNHURRIED = 5.0  # seconds: far above what a call takes on a busy machine, far below a stall
MB = 1 << 20
CANCEL = (8).to_bytes(4)


@pytest.fixture(scope="module")
def server(admin_dsn: str, engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in a process of its own."""
    folder = tmp_path_factory.mktemp("flooded")
    settings = {
        "DATABASE_URL": admin_dsn,
        "REDIS_URL": engines.redis_url,
        "ENABLE_RATE_LIMITING": "false",
        "MAX_CONNECTION_AGE": "3",
        "MAX_DEADLINE": "1",
    }
    with (folder / "said").open("w") as log, served(folder, log=log, **settings) as server:
        yield server
        assert server.interrupt() == 0


@pytest.fixture
async def memory(server: Served) -> AsyncIterator["Memory"]:
    """The server's memory, before and during a test; afterwards the server must be well."""
    await status(server)
    yield Memory(server.process.pid)
    assert await status(server) == system_pb2.SYSTEM_STATUS_HEALTHY


class Memory:
    """By how much a process has grown."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss

    @property
    def grown(self) -> float:
        """The growth in MB."""
        return (self._process.memory_info().rss - self._before) / MB


async def status(server: Served) -> int:
    """Return how the server says it is, on a connection of its own; fail if it keeps its caller waiting."""
    async with grpc.aio.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = system_service_pb2_grpc.SystemServiceStub(channel)
        started = time.perf_counter()
        report = await stub.GetStatus(system_service_pb2.GetStatusRequest(), timeout=20)
        assert time.perf_counter() - started < UNHURRIED
        return int(report.status)


async def flooded(server: Served, connections: list[Connection]) -> None:
    """Return when the server has taken in all that the connections were sent, others being served meanwhile."""
    await asyncio.gather(*(each.writer.drain() for each in connections))
    await status(server)
    # One that is past its age may be closed by now, which is as good.
    await asyncio.gather(*(each.ping() for each in connections), return_exceptions=True)


async def test_thousand_idle_connections(server: Served, memory: Memory) -> None:
    """A thousand connections that do nothing, half of them silent from the first, cost some kilobytes each."""
    async with AsyncExitStack() as stack:
        for number in range(1000):
            await stack.enter_async_context(connected(server.grpc, greet=number % 2 == 0))
        await status(server)
        assert memory.grown < 100


async def test_headers_without_requests(server: Served, memory: Memory) -> None:
    """Two thousand calls that never send a request, on twenty connections, hold no place and end with them."""
    async with AsyncExitStack() as stack:
        attackers = [await stack.enter_async_context(connected(server.grpc)) for _ in range(20)]
        await asyncio.gather(*(attacker.ping() for attacker in attackers))
        for attacker in attackers:
            for _ in range(100):
                attacker.open(PATH, end=True)
        await flooded(server, attackers)
        assert memory.grown < 150
        await asyncio.gather(*(attacker.ended() for attacker in attackers))


async def test_requests_that_never_end(server: Served, memory: Memory) -> None:
    """A thousand requests that claim a megabyte and stop after some hundred bytes have nothing kept free for them."""
    async with AsyncExitStack() as stack:
        attackers = [await stack.enter_async_context(connected(server.grpc)) for _ in range(10)]
        await asyncio.gather(*(attacker.ping() for attacker in attackers))
        for attacker in attackers:
            for _ in range(100):
                stream = attacker.open(PATH)
                attacker.send(DATA, 0, stream, prefixed(bytes(600), declared=MB))
        await flooded(server, attackers)
        assert memory.grown < 100


async def test_rapid_resets(server: Served, memory: Memory) -> None:
    """Twenty thousand calls that are taken back as soon as they are made cost no memory to speak of."""
    async with connected(server.grpc) as attacker:
        reading = asyncio.create_task(attacker.ended())
        for number in range(20_000):
            attacker.send(RST_STREAM, 0, attacker.call(PATH), CANCEL)
            if number % 500 == 0:
                await attacker.writer.drain()
            if reading.done():  # sent away
                break
        await status(server)
        assert memory.grown < 100
        reading.cancel()


async def test_watchers_that_never_read(server: Served, memory: Memory) -> None:
    """A thousand watchers of health that read nothing cost little, and end with their connections."""
    async with AsyncExitStack() as stack:
        lazy = [await stack.enter_async_context(connected(server.grpc)) for _ in range(10)]
        await asyncio.gather(*(each.ping() for each in lazy))
        for each in lazy:
            for _ in range(100):
                each.call("/grpc.health.v1.Health/Watch")
        await flooded(server, lazy)
        assert memory.grown < 100
        await asyncio.gather(*(each.ended() for each in lazy))
