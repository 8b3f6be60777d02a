"""Streams of events outlive what serves them: servers that are killed, and a database that goes away for a while."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from support.databases import execute, fresh_database
from support.requests import TIMEOUT, invite, join_pair
from support.served import Served, served
from support.stubs import Stubs, open_stubs
from wingmanmatch.matching.v1 import matching_pb2, matching_service_pb2
from wingmanmatch_server.drivers.embedded import EmbeddedEngines

ROUNDS = 4


@pytest.fixture
async def dsn(admin_dsn: str) -> AsyncIterator[str]:
    """A database that the servers of a test share."""
    async with fresh_database(admin_dsn) as dsn:
        yield dsn


@pytest.fixture
def servers(dsn: str, engines: EmbeddedEngines, tmp_path: Path) -> Iterator[list[Served]]:
    """Two servers on one database."""
    options = {"DATABASE_URL": dsn, "REDIS_URL": engines.redis_url, "ENABLE_RATE_LIMITING": "false"}
    with ExitStack() as stack:
        yield [stack.enter_context(served(tmp_path / name, **options)) for name in ("one", "other")]


def watch(client: Stubs, user_id: str, resume_token: str = "") -> "grpc.aio.UnaryStreamCall":
    """Open a stream."""
    request = matching_service_pb2.WatchMatchesRequest(user_id=user_id, resume_token=resume_token)
    return client.matching.WatchMatches(request, timeout=60)


async def next_event(call: "grpc.aio.UnaryStreamCall") -> matching_service_pb2.WatchMatchesResponse:
    """Return the next message that has an event."""
    async with asyncio.timeout(TIMEOUT):
        while not (message := await call.read()).HasField("event"):
            pass
    return message


async def cancel(client: Stubs, match: matching_pb2.Match) -> None:
    """Withdraw an invitation."""
    request = matching_service_pb2.CancelMatchRequest(match_id=match.id, user_id=match.requester_id)
    await client.matching.CancelMatch(request, timeout=TIMEOUT)


async def test_killed_server_costs_no_event(servers: list[Served]) -> None:
    """A reader whose server is killed goes on at another, and has every event once."""
    one, other = servers
    async with open_stubs(one.grpc) as doomed, open_stubs(other.grpc) as safe:
        requester, invitee = await join_pair(safe)
        call = watch(doomed, invitee)
        await call.read()
        match = await invite(safe, requester, invitee)
        message = await next_event(call)
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait(10)
        await cancel(safe, match)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        resumed = watch(safe, invitee, message.resume_token)
        assert message.event.kind == matching_pb2.MATCH_EVENT_KIND_REQUESTED
        assert (await next_event(resumed)).event.kind == matching_pb2.MATCH_EVENT_KIND_CANCELLED
        resumed.cancel()


async def test_lost_connections_cost_no_event(servers: list[Served], dsn: str) -> None:
    """While the database keeps cutting every connection, also that which listens, streams live on and miss nothing."""
    _, server = servers
    async with open_stubs(server.grpc) as client:
        requester, invitee = await join_pair(client)
        call = watch(client, invitee)
        await call.read()
        match = await invite(client, requester, invitee)
        for turn in range(ROUNDS):
            await execute(dsn, CUT)
            state = ("CANCELLED", "EXPIRED")[turn % 2]
            await execute(dsn, f"update matches set state = '{state}' where id = '{match.id}'")
        kinds = [(await next_event(call)).event.kind for _ in range(ROUNDS + 1)]
        call.cancel()
    flips = [matching_pb2.MATCH_EVENT_KIND_CANCELLED, matching_pb2.MATCH_EVENT_KIND_EXPIRED]
    assert kinds == [matching_pb2.MATCH_EVENT_KIND_REQUESTED, *(flips * ROUNDS)[:ROUNDS]]


CUT = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""
