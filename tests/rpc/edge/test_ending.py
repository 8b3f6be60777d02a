"""How calls end before they are answered: deadlines and clients that leave."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from support.edge import Edge, failure_of, serving
from wingmanmatch.matching.v1 import matching_service_pb2, matching_service_pb2_grpc
from wingmanmatch_server.interceptors.chain import Call, Proceed
from wingmanmatch_server.interceptors.deadline import Deadline
from wingmanmatch_server.interceptors.policy import Method

USER = "7b2f0c5e-52a8-4d0b-9a53-8d6d9ef0a001"
REQUEST = matching_service_pb2.GetMatchRequest(match_id=USER, user_id=USER)


class Waits:
    """Answers nothing until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.task_at_end: Any = None

    async def get_match(self, _request: Any, _call: Call) -> Any:
        """Wait for ever."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def watch_matches(self, _request: Any, _call: Call) -> AsyncIterator[Any]:
        """Send messages for as long as there is room, and note which task ends this one."""
        task = asyncio.current_task()
        try:
            while True:
                yield matching_service_pb2.WatchMatchesResponse(resume_token="x" * 500)
                self.started.set()
        finally:
            self.task_at_end = asyncio.current_task() is task
            self.ended.set()


class ShortDeadline(Deadline):
    """The deadline interceptor under a policy of 50 ms."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """Bind with the shorter default."""
        return super().bind(replace(method, default_deadline=0.05), proceed)


def with_short_deadline(edge: Edge) -> list[Any]:
    """Return the edge with a default deadline of 50 ms."""
    return [ShortDeadline() if isinstance(each, Deadline) else each for each in edge.interceptors()]


async def test_default_deadline_ends_a_call_without_one() -> None:
    """A call whose client set no deadline ends at the policy's."""
    edge, waits = Edge(), Waits()
    async with serving(waits, edge=edge, interceptors=with_short_deadline(edge)):
        failure = await failure_of(matching_service_pb2_grpc.MatchingServiceStub(edge.channel).GetMatch(REQUEST))
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert waits.ended.is_set()
    assert edge.handled("GetMatch", "DEADLINE_EXCEEDED") == 1


async def test_clients_deadline_cancels_the_work() -> None:
    """At the client's own deadline the work is cancelled, and counted as overdue."""
    async with serving(waits := Waits()) as edge:
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        failure = await failure_of(stub.GetMatch(REQUEST, timeout=0.1))
        await asyncio.wait_for(waits.ended.wait(), 5)
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert edge.handled("GetMatch", "DEADLINE_EXCEEDED") == 1


async def test_clients_cancellation_cancels_the_work() -> None:
    """When the client gives up, so does the server, and counts it as cancelled."""
    async with serving(waits := Waits()) as edge:
        call = matching_service_pb2_grpc.MatchingServiceStub(edge.channel).GetMatch(REQUEST)
        await asyncio.wait_for(waits.started.wait(), 5)
        call.cancel()
        await asyncio.wait_for(waits.ended.wait(), 5)
    assert edge.handled("GetMatch", "CANCELLED") == 1


async def test_stream_ends_in_its_own_task_when_the_client_leaves() -> None:
    """A stream's clean-up runs in the task that ran the stream, whether it was writing or waiting."""
    async with serving(waits := Waits()) as edge:
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        call = stub.WatchMatches(matching_service_pb2.WatchMatchesRequest(user_id=USER))
        await call.read()
        call.cancel()
        await asyncio.wait_for(waits.ended.wait(), 5)
    assert waits.task_at_end
    assert edge.handled("WatchMatches", "CANCELLED") == 1


async def test_no_deadline_is_longer_than_the_greatest() -> None:
    """A client that would wait for an hour is answered when the server's own patience ends."""
    edge, waits = Edge(), Waits()
    async with serving(waits, edge=edge, interceptors=edge.replaced(Deadline(0.05))):
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        failure = await failure_of(stub.GetMatch(REQUEST, timeout=3600))
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert waits.ended.is_set()


async def test_streams_without_an_end_outlive_the_greatest_deadline() -> None:
    """Streams that stay open by design are not calls that take too long."""

    class Watches:
        async def watch_matches(self, _request: Any, call: Call) -> AsyncIterator[Any]:
            yield matching_service_pb2.WatchMatchesResponse(resume_token="first")
            await asyncio.sleep(0.2)
            yield matching_service_pb2.WatchMatchesResponse(resume_token=str(call.context.time_remaining()))

    edge = Edge()
    async with serving(Watches(), edge=edge, interceptors=edge.replaced(Deadline(0.05))):
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        call = stub.WatchMatches(matching_service_pb2.WatchMatchesRequest(user_id=USER))
        assert [message.resume_token async for message in call] == ["first", "None"]


@pytest.mark.parametrize("clients", [5.0, None])
async def test_inner_timeout_is_not_the_calls_deadline(clients: float | None) -> None:
    """A TimeoutError of something inside is a defect, not the caller's deadline."""

    class TimesOut:
        async def get_match(self, _request: Any, _call: Call) -> Any:
            raise TimeoutError

    async with serving(TimesOut()) as edge:
        stub = matching_service_pb2_grpc.MatchingServiceStub(edge.channel)
        failure = await failure_of(stub.GetMatch(REQUEST, timeout=clients))
    assert failure.code is grpc.StatusCode.INTERNAL
