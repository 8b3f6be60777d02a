"""Health beside clients that stall and a loop that is blocked."""

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from support.http2 import DATA, INITIAL_WINDOW_SIZE, connected, prefixed, setting
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import NOT_SERVING, PROCESS_NAMES, SERVICE, SERVING, Health
from wingmanmatch_server.telemetry.loop import loop_lag, watch_loop


async def test_stalled_watcher_does_not_hold_up_the_end() -> None:
    """A watcher whose window is shut keeps no other and no check from NOT_SERVING, and the server not from its end."""
    health = Health((*PROCESS_NAMES, "a.Service"))
    application = Application([health.handler()], health, CollectorRegistry())
    async with (
        listening(application, "127.0.0.1:0") as (server, port),
        connected(f"127.0.0.1:{port}", settings=setting(INITIAL_WINDOW_SIZE, 0)) as stalled,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await stalled.ping()
        request = health_pb2.HealthCheckRequest(service="a.Service")
        for _ in range(50):
            stalled.send(DATA, 1, stalled.open(f"/{SERVICE}/Watch"), prefixed(request.SerializeToString()))
        await stalled.ping()
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(request, timeout=20)
        assert (await watch.read()).status == SERVING
        assert len(health._watchers) == 51
        health.drain()
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        assert (await stub.Check(request, timeout=20)).status == NOT_SERVING
        async with asyncio.timeout(10):
            await server.stop(0.5)
            while health._watchers:  # cancelled, but it takes them a moment
                await asyncio.sleep(0.01)


async def test_blocked_loop_fails_its_probe_and_shows_in_the_metrics() -> None:
    """A process whose loop does not turn does not answer `liveness`, and tells afterwards for how long it did not."""
    health, registry = Health(PROCESS_NAMES), CollectorRegistry()
    application = Application([health.handler()], health, registry)
    watching = asyncio.create_task(watch_loop(loop_lag(registry), time.monotonic))
    async with listening(application, "127.0.0.1:0") as (_, port):
        await asyncio.sleep(0)
        probing = asyncio.create_task(asyncio.to_thread(probe, port))
        await asyncio.sleep(0.3)
        blocked = time.monotonic()
        while time.monotonic() - blocked < 1.5:
            time.sleep(0.1)  # noqa: ASYNC251 - the fault
        assert await probing == ["OK", "DEADLINE_EXCEEDED", "OK"]
        while not registry.get_sample_value("wingmanmatch_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.01)
    watching.cancel()
    assert (registry.get_sample_value("wingmanmatch_event_loop_lag_seconds_sum") or 0) > 1


def probe(port: int) -> list[str]:
    """Ask for `liveness` as a prober outside the process does: before, during and after the fault."""
    request, codes = health_pb2.HealthCheckRequest(service="liveness"), []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for patience, pause in ((20.0, 0.5), (0.3, 0.0), (20.0, 0.0)):
            try:
                stub.Check(request, timeout=patience)
                codes.append("OK")
            except grpc.RpcError as error:
                codes.append(error.code().name)
            time.sleep(pause)
    return codes
