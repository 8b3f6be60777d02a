"""How a server ends, and how its connections do."""

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from support.edge import MATCHING, Edge
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.connections import ConnectionLimits
from wingmanmatch_server.interceptors.chain import service_handler
from wingmanmatch_server.interceptors.in_flight import InFlight
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import Health

REQUEST = matching_service_pb2.GetProfileRequest(user_id="0d4a4d5e-6b4c-4f57-8f53-6f4b1f1c9d11")


def application_of(implementation: object) -> Application:
    """Return what serves an implementation as the server does, calls counted."""
    in_flight = InFlight()
    handler = service_handler(MATCHING, implementation, [in_flight, *Edge().interceptors()])
    return Application([handler], Health(()), CollectorRegistry(), in_flight=in_flight)


async def test_stop_waits_for_handlers_that_clean_up() -> None:
    """A handler cancelled by the end of the server has cleaned up once the server has ended; gRPC would not wait."""
    began, cleaned = asyncio.Event(), asyncio.Event()

    class Cleaning:
        async def get_profile(self, _request: Any, _call: Any) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.3)
                cleaned.set()

    async with listening(application_of(Cleaning()), "127.0.0.1:0") as (_, port):
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        call = matching_service_pb2_grpc.MatchingServiceStub(channel).GetProfile(REQUEST)
        await began.wait()
    assert cleaned.is_set()
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    await channel.close()


async def test_old_connections_are_replaced() -> None:
    """A connection past its age is told to go: a client that never stops calling connects anew and no call fails."""
    peers = set()

    class Peers:
        async def get_profile(self, _request: Any, call: Any) -> matching_service_pb2.GetProfileResponse:
            peers.add(call.context.peer())
            return matching_service_pb2.GetProfileResponse()

    application = application_of(Peers())
    async with (
        listening(application, "127.0.0.1:0", limits=ConnectionLimits(max_age=0.3)) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(30),
    ):
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        while len(peers) < 3:
            await stub.GetProfile(REQUEST, timeout=10)


def test_end_by_force() -> None:
    """A process that does not end in time, its event loop blocked, ends with status 1 and says so."""
    code = "import time; from wingmanmatch_server.serving import end_within; end_within(0.2); time.sleep(60)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == "wingmanmatch: not stopped after 0.2 s, ended by force\n"
