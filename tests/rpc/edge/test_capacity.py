"""Calls beyond what the process takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.edge import MATCHING, Edge, channel_to, failure_of
from support.http2 import connected
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.bootstrap import Application
from wingmanmatch_server.interceptors.capacity import Capacity
from wingmanmatch_server.interceptors.chain import Call, service_handler
from wingmanmatch_server.serving import listening
from wingmanmatch_server.system.health import PROCESS_NAMES, Health

USER = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
CALL = matching_service_pb2.GetMatchRequest(match_id=USER, user_id=USER)
WATCH = matching_service_pb2.WatchMatchesRequest(user_id=USER)
LIMIT = 3


class Waits:
    """Answers when it may."""

    def __init__(self) -> None:
        self.began = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Answer."""
        self.began.release()
        await self.may_answer.wait()
        return matching_service_pb2.GetMatchResponse()

    async def watch_matches(self, _request: Any, _call: Call) -> AsyncIterator[Any]:
        """Send one message, and end when it may."""
        yield matching_service_pb2.WatchMatchesResponse()
        await self.may_answer.wait()


@pytest.fixture
def edge() -> Edge:
    """An edge that admits LIMIT calls, and as many streams."""
    return Edge()


def application_of(edge: Edge, waits: Waits) -> Application:
    """Return what serves it, with health."""
    handler = service_handler(MATCHING, waits, edge.replaced(Capacity(LIMIT, LIMIT)))
    health = Health(PROCESS_NAMES)
    return Application([handler, health.handler()], health, edge.registry)


@asynccontextmanager
async def full(edge: Edge, waits: Waits) -> AsyncIterator[tuple[grpc.aio.Channel, list[Any]]]:
    """Serve, take every place of calls, and yield a channel and the calls that have them."""
    async with channel_to(application_of(edge, waits)) as channel:
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        calls = [stub.GetMatch(CALL, timeout=20) for _ in range(LIMIT)]
        for _ in calls:
            await waits.began.acquire()
        yield channel, calls


async def test_call_too_many_is_refused_at_once(edge: Edge) -> None:
    """It never waits for a place, and says when to come back; those under way are answered, and places come free."""
    async with full(edge, waits := Waits()) as (channel, calls):
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        failure = await failure_of(stub.GetMatch(CALL, timeout=20))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert failure.detail(error_details_pb2.RetryInfo).retry_delay.seconds == 1
        waits.may_answer.set()
        await asyncio.gather(*calls)
        await stub.GetMatch(CALL, timeout=20)
    assert edge.handled("GetMatch", "OK") == LIMIT + 1


async def test_health_has_room_always(edge: Edge) -> None:
    """A server that is full is not a broken one."""
    async with full(edge, Waits()) as (channel, calls):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for call in calls:
            call.cancel()


async def test_streams_have_places_of_their_own(edge: Edge) -> None:
    """Open streams keep no call out, nor calls a stream; a stream too many is refused, and one that ends makes room."""
    async with full(edge, waits := Waits()) as (channel, calls):
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        streams = [stub.WatchMatches(WATCH, timeout=20) for _ in range(LIMIT)]
        for stream in streams:
            assert await stream.read() is not grpc.aio.EOF
        assert (await failure_of(stub.WatchMatches(WATCH, timeout=20).read())).reason == "OVERLOADED"
        streams[0].cancel()
        async with asyncio.timeout(20):
            while not edge.handled("WatchMatches", "CANCELLED"):
                await asyncio.sleep(0.01)
        assert await stub.WatchMatches(WATCH, timeout=20).read() is not grpc.aio.EOF
        waits.may_answer.set()
        await asyncio.gather(*calls)


async def test_cancelled_calls_give_their_places_back(edge: Edge) -> None:
    """However calls end, their places are free again."""
    async with full(edge, waits := Waits()) as (channel, calls):
        for call in calls:
            call.cancel()
        async with asyncio.timeout(20):
            while edge.handled("GetMatch", "CANCELLED") != LIMIT:
                await asyncio.sleep(0.01)
        waits.may_answer.set()
        await matching_service_pb2_grpc.MatchingServiceStub(channel).GetMatch(CALL, timeout=20)


async def test_headers_alone_take_no_place(edge: Edge) -> None:
    """Fifty calls whose requests never come keep nobody out; gRPC's own limit would count them."""
    waits = Waits()
    waits.may_answer.set()
    async with (
        listening(application_of(edge, waits), "127.0.0.1:0") as (_, port),
        connected(f"127.0.0.1:{port}") as attacker,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for _ in range(50):
            attacker.open(f"/{MATCHING.full_name}/GetMatch", end=True)
        await attacker.ping()
        stub = matching_service_pb2_grpc.MatchingServiceStub(channel)
        for _ in range(2 * LIMIT):
            await stub.GetMatch(CALL, timeout=20)
