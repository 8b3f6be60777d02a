"""The standard health service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from support.edge import channel_to, failure_of
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import PROCESS_NAMES, Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health() -> Health:
    """The health of a process with one service."""
    return Health((*PROCESS_NAMES, "a.Service"))


@pytest.fixture
async def stub(health: Health) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    """A stub of a server with that health."""
    application = Application([health.handler()], health, CollectorRegistry())
    async with channel_to(application) as channel:
        yield health_pb2_grpc.HealthStub(channel)


async def statuses(call: Any) -> list[int]:
    """Return what a watcher still hears until its stream ends."""
    heard = []
    while (message := await call.read()) is not grpc.aio.EOF:
        heard.append(message.status)
    return heard


def about(name: str) -> health_pb2.HealthCheckRequest:
    """Return the question about a name."""
    return health_pb2.HealthCheckRequest(service=name)


async def test_check_and_list(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    """Each name has its own status, and an unknown one is NOT_FOUND."""
    health.set("a.Service", serving=False)
    listed = await stub.List(health_pb2.HealthListRequest(), timeout=5)
    assert (await stub.Check(about("a.Service"), timeout=5)).status == NOT_SERVING
    assert (await stub.Check(about(""), timeout=5)).status == SERVING
    assert {name: each.status for name, each in listed.statuses.items()} == {
        "": SERVING,
        "liveness": SERVING,
        "readiness": SERVING,
        "a.Service": NOT_SERVING,
    }
    assert (await failure_of(stub.Check(about("b.Service"), timeout=5))).code is grpc.StatusCode.NOT_FOUND


async def test_watch_tells_each_change_once(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    """A watcher hears the present status at once and every other as it comes; setting it again tells nothing."""
    call = stub.Watch(about("a.Service"), timeout=5)
    heard = [(await call.read()).status]
    health.set("a.Service", serving=True)
    health.set("a.Service", serving=False)
    heard.append((await call.read()).status)
    health.set("a.Service", serving=True)
    heard.append((await call.read()).status)
    assert heard == [SERVING, NOT_SERVING, SERVING]


async def test_watch_of_an_unknown_name_waits_for_it(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    """As the protocol says, an unknown service may be watched until it is known."""
    call = stub.Watch(about("late.Service"), timeout=5)
    assert (await call.read()).status == UNKNOWN
    health.set("late.Service", serving=True)
    assert (await call.read()).status == SERVING


async def test_drain_is_final_and_ends_the_streams(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    """Every name becomes NOT_SERVING for good; watchers hear it and their streams end well."""
    calls = [stub.Watch(about(name), timeout=5) for name in ("", "a.Service")]
    for call in calls:
        assert (await call.read()).status == SERVING
    health.drain()
    health.set("a.Service", serving=True)
    for call in calls:
        assert await statuses(call) == [NOT_SERVING]
        assert await call.code() is grpc.StatusCode.OK
    assert (await stub.Check(about("a.Service"), timeout=5)).status == NOT_SERVING


async def test_thousands_of_watchers(health: Health) -> None:
    """Two thousand watchers all hear a change, and their streams all end when the server drains."""
    application = Application([health.handler()], health, CollectorRegistry())
    async with listening(application, "127.0.0.1:0") as (_, port), AsyncExitStack() as stack:
        calls = []
        for _ in range(20):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            stub = health_pb2_grpc.HealthStub(await stack.enter_async_context(channel))
            calls += [stub.Watch(about("a.Service"), timeout=60) for _ in range(100)]
        assert {message.status for message in await asyncio.gather(*(call.read() for call in calls))} == {SERVING}
        health.set("a.Service", serving=False)
        assert {message.status for message in await asyncio.gather(*(call.read() for call in calls))} == {NOT_SERVING}
        health.drain()
        assert await asyncio.gather(*map(statuses, calls)) == [[]] * len(calls)
        assert {await call.code() for call in calls} == {grpc.StatusCode.OK}
        assert not health._watchers


async def test_a_watcher_that_does_not_read_holds_up_nobody(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    """Thousands of changes that one watcher never reads do not keep another, or a check, from the truth."""
    lazy, eager = stub.Watch(about("a.Service"), timeout=10), stub.Watch(about("a.Service"), timeout=10)
    assert (await eager.read()).status == SERVING
    for change in range(5000):
        health.set("a.Service", serving=change % 2 == 1)
        if change % 100 == 0:
            await asyncio.sleep(0)
    health.drain()
    assert (await stub.Check(about("a.Service"), timeout=5)).status == NOT_SERVING
    assert (await statuses(eager))[-1] == NOT_SERVING
    lazy.cancel()
